#!/bin/sh
# The whole test suite: `make test`. Builds outside the test bed, runs inside it.
set -eu
cd "$(dirname "$0")/.."

# What guests, their networks and users need; engines; tools that are tried on the mount, and external suites.
sh tests/testbed/packages.sh nft=nftables ip=iproute2 busybox=busybox-static ping=iputils-ping unshare=util-linux \
    setpriv=util-linux mmdebstrap=mmdebstrap mke2fs=e2fsprogs sshd=openssh-server ssh=openssh-client openssl=openssl \
    dockerd=docker.io iptables=iptables \
    libvirtd=libvirt-daemon-system virsh=libvirt-clients /usr/lib/libvirt/libvirt_lxc=libvirt-daemon-driver-lxc \
    qemu-system-x86_64=qemu-system-x86 qemu-img=qemu-utils dnsmasq=dnsmasq-base \
    pkg-config=pkg-config pkg-config:libvirt=libvirt-dev strip=binutils \
    git=git rsync=rsync vim=vim awk=mawk python3=python3 pydoc3=python3 stress-ng=stress-ng fio=fio
# Newer releases have docker's command in a package of its own.
sh tests/testbed/packages.sh docker=docker-cli

# External suites whose short form is a matter of seconds. `fuzz` takes minutes to build, and `model` is a test of cargo.
external="pjdfstest fsx stress-ng fio differences scale soak"

# One profile for host, plugins and suites. The plugins' shared objects come from `build`, the suites from `test`.
# The images of Debian packages are made meanwhile: inside there is no network.
sh tests/testbed/images.sh nginx squid suricata vm &
images=$!
cargo build --workspace
cargo test --workspace --no-run
# The same without the driver that needs a library of C.
without="-p nfio-host --no-default-features --lib"
cargo test $without --no-run
sh tests/conformance.sh prepare $external
wait $images
sh tests/testbed/enter.sh sh -ec 'cargo test --workspace --offline; cargo test --offline "$@"' sh $without
exec sh tests/conformance.sh quick $external
