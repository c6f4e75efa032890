#!/bin/sh
# Thousands of instances: mounted, listed, forgotten, and under `ulimit -n 1024`. The figures that count are those of a
# release build: NFIO_PROFILE=release, for prepare too.
set -eu
cd "$(dirname "$0")/../.."

profile=${NFIO_PROFILE:-dev}
case $1 in
    prepare)
        sh tests/testbed/packages.sh nft=nftables ip=iproute2 busybox=busybox-static ping=iputils-ping
        cargo build --workspace --profile "$profile"
        exec cargo test -p nfio-tests --test scale --no-run --profile "$profile"
        ;;
    quick) : "${NFIO_SCALE_INSTANCES:=2000}" ;;
    full) : "${NFIO_SCALE_INSTANCES:=10000}" ;;
esac
export NFIO_SCALE_INSTANCES
exec cargo test --quiet -p nfio-tests --test scale --offline --profile "$profile" -- --suite scale
