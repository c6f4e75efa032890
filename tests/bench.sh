#!/bin/sh
# Measures side by side: `make bench`. Builds outside the test bed, runs inside it; the measuring itself takes less than
# twelve minutes on four cores. Figures of a busy machine tell little.
set -eu
cd "$(dirname "$0")/.."

sh tests/testbed/packages.sh nft=nftables ip=iproute2 busybox=busybox-static find=findutils nsenter=util-linux \
    iperf3=iperf3 dockerd=docker.io iptables=iptables openssl=openssl g++=g++ xz=xz-utils pkg-config=pkg-config \
    pkg-config:fuse3=libfuse3-dev
# Newer releases have docker's command in a package of its own.
sh tests/testbed/packages.sh docker=docker-cli
NFIO_FLOOR=$(sh tests/benches/floor.sh)
export NFIO_FLOOR

# The benchmark finds host and plugins beside itself: the profile `bench` is `release`, and lies there.
cargo build --workspace --release
cargo bench --workspace --bench side_by_side --no-run
exec sh tests/testbed/enter.sh cargo bench --quiet --workspace --bench side_by_side --offline
