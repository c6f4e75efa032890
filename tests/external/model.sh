#!/bin/sh
# The reference model (tests/model): random operations on a real mount, compared with what the contract says must come
# of each. `make test` does ten thousand from one seed; this does more, from others.
#
#   model.sh prepare    builds nfio, the plugins and the suite
#   model.sh quick      as many as in `make test`, from another seed
#   model.sh full       NFIO_MODEL_OPERATIONS (200 000), from a new seed each time: NFIO_MODEL_SEED runs one again
set -eu
cd "$(dirname "$0")/../.."

case "${1:-}" in
prepare)
    sh tests/testbed/packages.sh strip=binutils
    cargo build --quiet --workspace
    cargo test --quiet -p nfio-tests --test model --no-run
    exit
    ;;
quick) export NFIO_MODEL_SEED="${NFIO_MODEL_SEED:-1000000}" ;;
full)
    export NFIO_MODEL_OPERATIONS="${NFIO_MODEL_OPERATIONS:-200000}"
    export NFIO_MODEL_SEED="${NFIO_MODEL_SEED:-$(date +%s)000}"
    ;;
*)
    echo "model.sh: say prepare, quick or full" >&2
    exit 2
    ;;
esac

said=$(mktemp)
trap 'rm -f "$said"' EXIT
{ cargo test --quiet --offline -p nfio-tests --test model -- --nocapture 2>&1 || echo failed >"$said.failed"; } | tee "$said"
passed=$(sed -n 's/^test result: .* \([0-9]*\) passed.*/\1/p' "$said")
failed=$(sed -n 's/^test result: .* \([0-9]*\) failed.*/\1/p' "$said")
echo "model: $((${passed:-0} + ${failed:-0})) cases, ${passed:-0} passed, 0 expected failures"
if [ -e "$said.failed" ]; then
    rm -f "$said.failed"
    exit 1
fi
