#!/usr/bin/env bash
# `make demo`: a directory becomes a firewall that drops real packets. Says and installs what is missing, builds, and
# does in namespaces of its own what the README's first page tells. Nothing is left behind but packages and the build.
#
#   HYPERVISOR=Oci (the default) or Docker: on a Docker Engine of its own, the machine's is not touched
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
        *)
            echo "demo: HYPERVISOR=$hypervisor is not in this build; use HYPERVISOR=Oci or HYPERVISOR=Docker" >&2
            exit 2
            ;;
    esac
    sh $testbed/packages.sh nft=nftables ip=iproute2 busybox=busybox-static ping=iputils-ping unshare=util-linux
    make --no-print-directory build
    built=$(readlink -f "${CARGO_TARGET_DIR:-target}/release")
    export PATH="$built:$PATH"
    exec sh $testbed/enter.sh bash examples/demo/demo.sh --inside
fi

# Prints a command as a person would type it, runs it, and prints what came back.
run() {
    printf '\n$ %s\n' "$*"
    eval "$*"
}

# The same for a command that must fail: the demo ends if it succeeds.
fails() {
    printf '\n$ %s\n' "$*"
    if eval "$*"; then
        echo "demo: that was expected to fail" >&2
        exit 1
    fi
}

# Ends the demo unless the text of a file is what it should be.
expect() {
    [ "$(cat "$1")" = "$2" ] || { echo "demo: $1 is $(cat "$1"), expected $2" >&2; exit 1; }
}

say() { printf '\n# %s\n' "$*"; }

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

say "A guest image, made offline from this machine's busybox, nft and ip:"
run sh examples/images/busybox.sh /run/demo/images/firewall
image=/run/demo/images/firewall
if [ "$hypervisor" = Docker ]; then
    say "A Docker Engine of our own, and the image in it:"
    start_engine
    run "tar -C $image -c . | docker import --change 'CMD [\"/sbin/init\"]' - firewall"
    image=firewall
fi
run mkdir /run/demo/root /run/demo/mnt
run nfio mount --hypervisor $hypervisor --module-root plugins /run/demo/root /run/demo/mnt
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
if [ "$hypervisor" = Docker ]; then run docker ps --filter label=io.nfio.root; fi
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
