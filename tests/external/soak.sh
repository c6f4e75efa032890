#!/bin/sh
# Work of all kinds for ten minutes (quick: 20 s), in which descriptors, threads and memory of nfio stay flat. Where
# they do not, because a plugin leaks, it must be found.
set -eu
cd "$(dirname "$0")/../.."

profile=${NFIO_PROFILE:-dev}
case $1 in
    prepare)
        sh tests/testbed/packages.sh nft=nftables ip=iproute2 busybox=busybox-static ping=iputils-ping
        cargo build --workspace --profile "$profile"
        exec cargo test -p nfio-tests --test scale --no-run --profile "$profile"
        ;;
    quick) : "${NFIO_SOAK_SECONDS:=20}" ;;
    full) : "${NFIO_SOAK_SECONDS:=600}" ;;
esac
export NFIO_SOAK_SECONDS
exec cargo test --quiet -p nfio-tests --test scale --offline --profile "$profile" -- --suite soak
