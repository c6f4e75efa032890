#!/bin/sh
# Thousands of instances: mounted, listed, forgotten, and under `ulimit -n 1024`.
set -eu
cd "$(dirname "$0")/../.."

case $1 in
    quick) export NFIO_SCALE_INSTANCES="${NFIO_SCALE_INSTANCES:-2000}" ;;
    full) export NFIO_SCALE_INSTANCES="${NFIO_SCALE_INSTANCES:-10000}" ;;
esac
exec sh tests/scale/suite.sh scale "$1"
