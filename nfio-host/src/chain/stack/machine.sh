# What a chain has done in a virtual machine, by its agent: the lines on stdin, in their order.
#
#   report                prints the kernel parameters that matter, a line each: path below /proc/sys, a colon, value
#   ip ARGUMENTS          ip(8) does that; such lines are gathered, as each process takes its time
#   rule NAME TABLE       what comes in by NAME is routed by TABLE; one that is there stays
#   unrule NAME TABLE     the reverse
#   flush TABLE           no route is left in TABLE
#   link NAME ADDRESS     the interface of that hardware address, which is about to appear, is called NAME
#   set PATH VALUE        a kernel parameter; one of an interface that is gone is none any more
#
# Exit code 2: what stderr says is for whoever made the machine.
set -u

refuse() {
    echo "$1" >&2
    exit 2
}

done_by_ip() {
    [ -n "$batch" ] || return 0
    printf '%s' "$batch" | "$ip" -4 -batch - || exit 1
    batch=
}

gather() {
    batch="$batch$*
"
}

has_rule() {
    [ -n "$rules" ] || rules="$("$ip" -4 rule show)
"
    case $rules in
        *" iif $1 lookup $2"[!0-9]* | *" iif $1 [detached] lookup $2"[!0-9]*) return 0 ;;
    esac
    return 1
}

# The name of the device with the hardware address $1.
named() {
    for place in /sys/class/net/*; do
        if [ -e "$place/device" ] && [ "$(cat "$place/address" 2>/dev/null)" = "$1" ]; then
            echo "${place##*/}"
            return 0
        fi
    done
    return 1
}

report() {
    cd /proc/sys || exit 1
    # Not by read, which takes them byte by byte: the kernel tells the first one alone.
    grep -s . net/ipv4/fib_multipath_hash_* net/ipv4/ip_forward net/ipv4/conf/*/rp_filter
}

rename() {
    tries=0
    until name=$(named "$2"); do
        tries=$((tries + 1))
        [ $tries -lt 200 ] || refuse "the interface $2, just plugged in, has not appeared: its kernel needs virtio-net and PCI hot plugging"
        sleep 0.05 2>/dev/null || sleep 1
    done
    [ "$name" != "$1" ] || return 0
    [ ! -e "/sys/class/net/$1" ] || refuse "has an interface called $1 already that is not the chain's: rename it"
    "$ip" link set dev "$name" down && "$ip" link set dev "$name" name "$1" || exit 1
}

pref=$1
batch=
rules=
# By its path: busybox' shell may take its own ip for that name, which knows neither batches nor several ways.
ip=
IFS=:
for place in $PATH /usr/sbin /sbin; do
    [ -x "$place/ip" ] || continue
    case $("$place/ip" -V 2>/dev/null) in *iproute2*) ip=$place/ip && break ;; esac
done
unset IFS
[ -n "$ip" ] || refuse "has no ip of iproute2, which chains need in a virtual machine: take an image that has it"
while read -r word first second rest; do
    case $word in
        ip) gather "$first $second $rest" ;;
        rule) has_rule "$first" "$second" || gather "rule add pref $pref iif $first lookup $second" ;;
        unrule) if has_rule "$first" "$second"; then gather "rule del pref $pref iif $first lookup $second"; fi ;;
        flush) if "$ip" -4 route show table "$first" 2>/dev/null | grep -q .; then gather "route flush table $first"; fi ;;
        report)
            done_by_ip
            (report)
            ;;
        link)
            done_by_ip
            rename "$first" "$second"
            ;;
        set)
            done_by_ip
            if [ -e "/proc/sys/$first" ]; then echo "$second" >"/proc/sys/$first" || exit 1; fi
            ;;
    esac
done
done_by_ip
