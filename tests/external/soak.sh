#!/bin/sh
# Work of all kinds for ten minutes (quick: 20 s), in which descriptors, threads and memory of nfio stay flat. Where
# they do not, because a plugin leaks, it must be found.
set -eu
cd "$(dirname "$0")/../.."

case $1 in
    quick) export NFIO_SOAK_SECONDS="${NFIO_SOAK_SECONDS:-20}" ;;
    full) export NFIO_SOAK_SECONDS="${NFIO_SOAK_SECONDS:-600}" ;;
esac
exec sh tests/scale/suite.sh soak "$1"
