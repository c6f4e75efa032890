#!/bin/sh
# Runs a command in namespaces of its own: network, mounts, processes. What it leaves behind ends with it: when this
# script ends, however it ends, every process, mount, bridge and address made inside is gone.
#
#   enter.sh COMMAND [ARGUMENT ...]      COMMAND sees NFIO_TESTBED=1, an empty /run and a network of its own
set -eu

if [ "${1:-}" = --inside ]; then
    shift
    mount -t tmpfs -o mode=755 tmpfs /run
    ip link set lo up
    mkdir /run/tmp
    # Not by exec: this shell stays the first process and reaps whoever loses its parent.
    TMPDIR=/run/tmp NFIO_TESTBED=1 "$@" && code=0 || code=$?
    # A frozen process (cgroup v1) cannot be ended. Ours are those that have a pid here.
    for group in /sys/fs/cgroup/freezer/nfio/*/; do
        if grep -qsv '^0$' "$group/cgroup.procs"; then echo THAWED > "$group/freezer.state"; fi
    done
    exit "$code"
fi

if [ "$(id -u)" -ne 0 ]; then
    echo "enter.sh: namespaces of one's own need root; run it with sudo" >&2
    exit 1
fi

# Ends what was frozen when SIGKILL came: only then is it ours for certain.
thaw() {
    for group in /sys/fs/cgroup/freezer/nfio/*/; do
        for pid in $(cat "$group/cgroup.procs" 2>/dev/null); do
            pending=$(sed -n 's/^ShdPnd:[[:space:]]*//p' "/proc/$pid/status" 2>/dev/null)
            if [ $((0x0${pending#0} & 0x100)) -ne 0 ]; then echo THAWED > "$group/freezer.state"; fi
        done
    done
}

# Control groups are the one thing that no namespace takes along.
sweep() {
    find /sys/fs/cgroup -depth -type d -path '*/nfio/*' -exec rmdir {} + 2>/dev/null || true
    find /sys/fs/cgroup -depth -type d -name nfio -exec rmdir {} + 2>/dev/null || true
    # Those of libvirt's containers; its own parent of all goes only where it is empty.
    find /sys/fs/cgroup -depth -type d -path '*/machine/lxc-*-root-*' -exec rmdir {} + 2>/dev/null || true
    find /sys/fs/cgroup -maxdepth 2 -depth -type d -name machine -exec rmdir {} + 2>/dev/null || true
}
trap sweep EXIT
# The end of unshare is, by --kill-child, the end of the first process inside and so of all others: when that one is
# gone, all are. Only SIGKILL ends unshare: while it waits for its child it holds the other signals off. It runs in the
# background because a shell runs traps only between commands; it still reads our terminal.
end() {
    first=$(cat "/proc/$child/task/$child/children" 2>/dev/null) || first=
    kill -KILL "$child" 2>/dev/null
    tries=0
    while [ -n "$first" ] && [ -d "/proc/${first%% *}" ] && [ $tries -lt 100 ]; do
        thaw
        sleep 0.1
        tries=$((tries + 1))
    done
    exit 130
}
trap end INT TERM HUP
unshare --net --mount --uts --ipc --pid --fork --kill-child --mount-proc --propagation private -- \
    sh "$0" --inside "$@" <&0 &
child=$!
wait "$child"
