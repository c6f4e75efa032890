#!/bin/sh
# Random input for every parser of what tenants, operators and plugins write (tests/parsers says what must hold).
#
#   fuzz.sh prepare     with network: builds cargo-fuzz and its programs, on the stable toolchain
#   fuzz.sh quick       the parsers over their seeds and over what once broke them; needs no fuzzer
#   fuzz.sh full        every target for NFIO_FUZZ_SECONDS (60); what breaks one is to be kept in tests/parsers/kept
set -eu
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-$PWD/target}
host=$(rustc -vV | sed -n 's/^host: //p')

case "${1:-}" in
prepare)
    # libFuzzer is C++.
    sh tests/testbed/packages.sh c++=g++
    "$target/external/bin/cargo-fuzz" --version >/dev/null 2>&1 ||
        cargo install --quiet --locked --root "$target/external" cargo-fuzz
    cargo build --quiet -p nfio-parsers
    cargo test --quiet -p nfio-parsers --no-run
    cp Cargo.lock tests/fuzz/   # the versions that nfio is built with
    # Without a sanitizer no unstable flag is needed; there is no unsafe code in what is fuzzed.
    cd tests/fuzz
    CARGO_TARGET_DIR="$target/fuzz" PATH="$target/external/bin:$PATH" \
        cargo fuzz build --fuzz-dir . --sanitizer none
    ;;
quick)
    # Nine tests: one a target, one for the kept inputs, one that none is forgotten.
    said=$(cargo test --quiet --offline -p nfio-parsers --test corpora 2>&1) && code=0 || code=$?
    if [ $code -ne 0 ]; then echo "$said"; fi
    passed=$(echo "$said" | sed -n 's/^test result: .* \([0-9]*\) passed.*/\1/p')
    failed=$(echo "$said" | sed -n 's/^test result: .* \([0-9]*\) failed.*/\1/p')
    echo "fuzz: $((${passed:-0} + ${failed:-0})) cases, ${passed:-0} passed, 0 expected failures"
    exit $code
    ;;
full)
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    names=$("$target/debug/nfio-parsers" "$work")
    # One line a target, and the input that breaks it in $target/fuzz/found.
    mkdir -p "$target/fuzz/found"
    echo "$names" | xargs -P "$(nproc)" -I NAME sh -c '
        cd "$1/NAME"
        if "$2/NAME" -max_total_time="$4" -max_len=4096 -timeout=10 -rss_limit_mb=1024 \
            -artifact_prefix="$3/NAME-" . > "$1/NAME.log" 2>&1
        then echo "ok NAME: $(sed -n "s/^Done \([0-9]*\) runs.*/\1/p" "$1/NAME.log") inputs"
        else echo "failed NAME: keep the input below $3 in tests/parsers/kept/NAME/"; tail -n 30 "$1/NAME.log"
        fi' sh "$work" "$target/fuzz/$host/release" "$target/fuzz/found" "${NFIO_FUZZ_SECONDS:-60}" | tee "$work/log"
    cases=$(echo "$names" | wc -l)
    passed=$(grep -c '^ok ' "$work/log") || true
    echo "fuzz: $cases cases, $passed passed, 0 expected failures"
    [ "$passed" -eq "$cases" ]
    ;;
*)
    echo "fuzz.sh: say prepare, quick or full" >&2
    exit 2
    ;;
esac
