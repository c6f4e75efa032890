#!/bin/sh
# squid in a guest of nfio.
name=squid
conf=/etc/squid/squid.conf
access=/var/log/squid/access.log
# squid says on stderr what it would say there (`-d 1`).
errors=/var/log/squid/cache.log
errors_to=/dev/null
# Squid takes 30 s over TERM, whether anybody is connected or not.
farewell=INT

run() {
    # A guest that was killed leaves its pid, and in the next one that may be anybody's.
    rm -f /run/squid.pid
    # Makes the directories of a cache on disk, where the configuration names one.
    squid -N -z -f "$conf" >/dev/null 2>&1 || :
    exec squid -N -d 1 -f "$conf"
}

check() {
    said=$(squid -N -k parse -f "$1" 2>&1) && return
    words=$(printf '%s\n' "$said" | sed -n '/FATAL\|ERROR\|unrecognized/s/^[^|]*| *//p')
    printf '%s\n' "${words:-$said}" >&2
    return 1
}

# The sockets that listen: squid opens them anew with every configuration.
serving() {
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | while read -r _ _ _ tcp_state _ _ _ _ _ inode _; do
        if [ "$tcp_state" = 0A ]; then echo "$inode"; fi
    done
}

# There is one that was not there before.
in_force() {
    for socket in $(serving); do
        grep -qx "$socket" "$state/before" || return 0
    done
    return 1
}

