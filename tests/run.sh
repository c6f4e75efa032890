#!/bin/sh
# The whole test suite: `make test`. Builds outside the test bed, runs inside it.
set -eu
cd "$(dirname "$0")/.."

sh tests/testbed/packages.sh nft=nftables ip=iproute2 busybox=busybox-static ping=iputils-ping python3=python3 pydoc3=python3 awk=mawk \
    unshare=util-linux setpriv=util-linux rsync=rsync vim=vim mmdebstrap=mmdebstrap dockerd=docker.io iptables=iptables \
    sshd=openssh-server ssh=openssh-client openssl=openssl mke2fs=e2fsprogs qemu-img=qemu-utils qemu-system-x86_64=qemu-system-x86 dnsmasq=dnsmasq-base \
    libvirtd=libvirt-daemon-system virsh=libvirt-clients /usr/lib/libvirt/libvirt_lxc=libvirt-daemon-driver-lxc pkg-config=pkg-config pkg-config:libvirt=libvirt-dev \
    git=git rsync=rsync stress-ng=stress-ng fio=fio
# Newer releases have docker's command in a package of its own.
sh tests/testbed/packages.sh docker=docker-cli

# One profile for host, plugins and suites. The plugins' shared objects come from `build`, the suites from `test`.
# The images of Debian packages are made meanwhile: inside there is no network.
sh tests/testbed/images.sh nginx squid suricata vm &
images=$!
cargo build --workspace
cargo test --workspace --no-run
# The same without the driver that needs a library of C.
without="-p nfio-host --no-default-features --lib"
cargo test $without --no-run
sh tests/conformance.sh prepare
wait $images
sh tests/testbed/enter.sh sh -ec 'cargo test --workspace --offline; cargo test --offline "$@"' sh $without
# Suites that nobody here wrote, in their short form.
exec sh tests/conformance.sh quick
