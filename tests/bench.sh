#!/bin/sh
# Measures side by side: `make bench`. Builds outside the test bed, runs inside it, and takes two minutes. Figures of a
# busy machine tell little.
set -eu
cd "$(dirname "$0")/.."

sh tests/testbed/packages.sh nft=nftables ip=iproute2 busybox=busybox-static find=findutils nsenter=util-linux iperf3=iperf3

# The benchmark finds host and plugins beside itself: the profile `bench` is `release`, and lies there.
cargo build --workspace --release
cargo bench --workspace --bench side_by_side --no-run
exec sh tests/testbed/enter.sh cargo bench --quiet --workspace --bench side_by_side --offline
