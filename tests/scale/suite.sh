#!/bin/sh
# One suite of `tests/scale`: `suite.sh scale|soak prepare|quick|full`. It stands here because each script in
# tests/external/ is a suite. The figures that count are those of a release build: NFIO_PROFILE=release, for prepare too.
set -eu
cd "$(dirname "$0")/../.."

profile=${NFIO_PROFILE:-dev}
if [ "$2" = prepare ]; then
    sh tests/testbed/packages.sh nft=nftables ip=iproute2 busybox=busybox-static ping=iputils-ping
    cargo build --workspace --profile "$profile"
    exec cargo test -p nfio-tests --test scale --no-run --profile "$profile"
fi
exec cargo test --quiet -p nfio-tests --test scale --offline --profile "$profile" -- --suite "$1"
