#!/usr/bin/env bash
# `make demo`: a directory becomes a firewall that drops real packets. Says and installs what is missing, builds, and
# does in namespaces of its own what the README's first page tells. Nothing is left behind but packages and the build.
#
#   HYPERVISOR=Oci      the default
#   HYPERVISOR=Docker   on a Docker Engine of its own, the machine's is not touched
#   HYPERVISOR=Libvirt  on a virtual machine and a libvirt of its own, the machine's is not touched; Debian, with a network
set -eu
cd "$(dirname "$0")/../.."
testbed=tests/testbed
hypervisor=${HYPERVISOR:-Oci}

if [ "${1:-}" != --inside ]; then
    case $hypervisor in
        Oci) ;;
        Docker)
            sh $testbed/packages.sh dockerd=docker.io iptables=iptables
            # Newer releases have docker's command in a package of its own.
            sh $testbed/packages.sh docker=docker-cli
            ;;
        Libvirt)
            sh $testbed/packages.sh mke2fs=e2fsprogs qemu-img=qemu-utils qemu-system-x86_64=qemu-system-x86 \
                dnsmasq=dnsmasq-base libvirtd=libvirt-daemon-system virsh=libvirt-clients
            ;;
        *)
            echo "demo: there is no HYPERVISOR=$hypervisor; use Oci, Docker or Libvirt" >&2
            exit 2
            ;;
    esac
    sh $testbed/packages.sh nft=nftables ip=iproute2 busybox=busybox-static ping=iputils-ping unshare=util-linux \
        pkg-config=pkg-config pkg-config:libvirt=libvirt-dev
    make --no-print-directory build
    # Inside there is no network to fetch its packages from.
    [ "$hypervisor" != Libvirt ] || sh $testbed/images.sh vm
    built=$(readlink -f "${CARGO_TARGET_DIR:-target}/release")
    export PATH="$built:$PATH"
    exec sh $testbed/enter.sh bash examples/demo/demo.sh --inside
fi

. examples/demo/shown.sh

# Ends the demo unless the text of a file is what it should be.
expect() {
    [ "$(cat "$1")" = "$2" ] || { echo "demo: $1 is $(cat "$1"), expected $2" >&2; exit 1; }
}

# Starts a Docker Engine that ends with these namespaces: its state lies below /run, which is ours alone.
start_engine() {
    engine=/run/demo/engine
    mkdir -p $engine /etc/docker
    mount -t tmpfs tmpfs /etc/docker
    echo '{}' > $engine/daemon.json
    unset DOCKER_HOST DOCKER_CONTEXT
    export DOCKER_CONFIG=$engine/client
    PATH=$PATH:/usr/sbin:/sbin dockerd --data-root $engine/data --exec-root $engine/exec --pidfile $engine/pid \
        --config-file $engine/daemon.json --cgroup-parent /nfio -H unix:///var/run/docker.sock >$engine/log 2>&1 &
    for _ in $(seq 300); do
        if docker version >/dev/null 2>&1; then return; fi
        kill -0 $! 2>/dev/null || break
        sleep 0.1
    done
    echo "demo: the Docker Engine does not come up:" >&2
    tail -n 20 $engine/log >&2
    exit 1
}

# Starts a libvirt that ends with these namespaces; what it keeps of QEMU's abilities takes seconds to find out and stays
# in target/.
start_libvirt() {
    state=/run/demo/libvirt
    cache=$(dirname "$built")/libvirt-cache
    mkdir -p $state/lib $state/log $state/etc "$cache" /var/lib/libvirt /var/log/libvirt /etc/libvirt /var/cache/libvirt
    printf '%s\n' 'user = "root"' 'group = "root"' 'dynamic_ownership = 0' 'remember_owner = 0' \
        'security_driver = "none"' 'stdio_handler = "file"' 'namespaces = []' 'cgroup_controllers = []' >$state/etc/qemu.conf
    echo 'auth_unix_rw = "none"' >$state/etc/libvirtd.conf
    mount --bind $state/lib /var/lib/libvirt
    mount --bind $state/log /var/log/libvirt
    mount --bind $state/etc /etc/libvirt
    mount --bind "$cache" /var/cache/libvirt
    mount -t sysfs sysfs /sys # This network's: libvirt looks for bridges there.
    PATH=$PATH:/usr/sbin:/sbin libvirtd >$state/words 2>&1 &
    for _ in $(seq 300); do
        if virsh -q version >/dev/null 2>&1; then return; fi
        kill -0 $! 2>/dev/null || break
        sleep 0.1
    done
    echo "demo: libvirt does not come up:" >&2
    tail -n 20 $state/words >&2
    exit 1
}

# The network of its guests: a bridge with DHCP.
start_network() {
    cat >/run/demo/network.xml <<'END'
<network>
  <name>default</name>
  <bridge name='virbr-demo' stp='off' delay='0'/>
  <ip address='10.97.0.1' netmask='255.255.255.0'><dhcp><range start='10.97.0.10' end='10.97.0.250'/></dhcp></ip>
</network>
END
    virsh -q net-define /run/demo/network.xml
    virsh -q net-start default
}

options=
built=${CARGO_TARGET_DIR:-target}/release
if [ "$hypervisor" = Libvirt ]; then
    say "A libvirt of our own, and a virtual machine of Debian's kernel, busybox, nft and the QEMU guest agent:"
    start_libvirt
    run start_network
    image=$(readlink -f "${CARGO_TARGET_DIR:-target}/images/vm")
    run "ls -sh $image"
    mkdir -p /run/demo
    # An unmodified kernel does not boot with the KVM of every machine that this runs on.
    printf '%s\n' '[libvirt]' 'layers = "/run/demo/layers"' 'accelerator = "qemu"' >/run/demo/nfio.toml
    options='--config /run/demo/nfio.toml'
else
    say "A guest image, made offline from this machine's busybox, nft and ip:"
    run sh examples/images/busybox.sh /run/demo/images/firewall
    image=/run/demo/images/firewall
fi
if [ "$hypervisor" = Docker ]; then
    say "A Docker Engine of our own, and the image in it:"
    start_engine
    run "tar -C $image -c . | docker import --change 'CMD [\"/sbin/init\"]' - firewall"
    image=firewall
fi
run mkdir /run/demo/root /run/demo/mnt
run nfio mount --hypervisor $hypervisor $options --module-root plugins /run/demo/root /run/demo/mnt
run cd /run/demo/mnt/nf-types
run ls

say "A directory becomes a firewall:"
run mkdir firewall/fw-a
run cd firewall/fw-a
run cat status
run 'echo 127.0.0.1 > machine/ip'
run "echo $image > machine/vm.image"
run 'echo activate > action'
run cat status
expect status running
case $hypervisor in
    Docker) run docker ps --filter label=io.nfio.root ;;
    Libvirt) run virsh list ;;
esac
run cat machine/vm.ip
run 'ping -c 2 -W 1 $(cat machine/vm.ip)'
run 'cat stats/rx_bytes stats/pkt_drops'

say "A rule, and a reload; the kernel of the guest now drops pings:"
run "printf '%s\n' 'table inet filter {' '  chain input {' '    type filter hook input priority 0; policy accept;' '    icmp type echo-request drop' '  }' '}' > config/nf_conf"
run 'echo reload > action'
before=$(cat stats/pkt_drops)
fails 'ping -c 2 -W 1 $(cat machine/vm.ip)'
run cat stats/pkt_drops
[ "$(cat stats/pkt_drops)" -gt "$before" ] || { echo "demo: pkt_drops did not grow" >&2; exit 1; }
run cat stats/rules

say "Whatever goes wrong says so, and how to mend it:"
fails 'echo frobnicate > action'
run cat last_error

say "Pause, stop, start: the rule still holds:"
run 'echo pause > action'
run cat status
expect status paused
run 'echo unpause > action'
run 'echo stop > action'
run cat status
expect status exited
run 'echo start > action'
run cat status
expect status running
fails 'ping -c 1 -W 1 $(cat machine/vm.ip)'

say "And away again:"
run 'echo destroy > action'
run cat status
expect status undeployed
run 'cd ..; rmdir fw-a; ls'
run 'cd /; nfio umount /run/demo/mnt'
say "Done."
