#!/bin/sh
# Makes a small virtual machine for a firewall from Debian packages, none of which is installed here: Debian's kernel for
# clouds, and the userland of busybox.sh (busybox, nft, ip) with the QEMU guest agent.
#
#   vm.sh DEST      DEST is made; it must not be there yet. On Debian for x86-64, as root, with a network
#
#   DEST/vmlinuz, DEST/initrd.img    boots from memory: nothing is kept over a stop
#   DEST/disk.qcow2                  the same userland on a disk: given as the first virtio disk, it is booted instead
#
# The kernel's command line knows
#   console=ttyS0                        words of the guest go to its first serial port
#   nfio.hostname=NAME                   the guest's name
#   nfio.ethN=ADDRESS/PREFIX             an address of the N-th interface; without it: by DHCP
#   nfio.gateway=ADDRESS                 the default route, where DHCP gives none
#
# Debian and Ubuntu: apt install busybox-static nftables iproute2 qemu-system-x86 qemu-utils e2fsprogs
set -eu

dest=${1:?usage: vm.sh DEST}
here=$(cd "$(dirname "$0")" && pwd)
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

for program in busybox nft ip apt-get apt-cache dpkg-deb qemu-img mke2fs; do
    command -v "$program" >/dev/null || {
        echo "vm.sh: $program is missing: apt install busybox-static nftables iproute2 qemu-utils e2fsprogs" >&2
        exit 1
    }
done
if [ "$(id -u)" != 0 ]; then
    echo "vm.sh: the files of the guest's disk belong to its root: run it as root" >&2
    exit 1
fi
if [ -e "$dest" ]; then
    echo "vm.sh: $dest is there already: remove it, or name another place" >&2
    exit 1
fi

# Aside first, so that an image is there whole or not at all.
new=$dest.new.$$
trap 'rm -rf "$new" "$new.work"' EXIT
trap 'exit 1' HUP INT TERM
umask 022
mkdir -p "$new" "$new.work"
work=$(cd "$new.work" && pwd)
root=$work/root
packages=$work/packages

# The package of that name only points to the newest kernel.
kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*-cloud-amd64\)$/\1/p' | head -n 1)
if [ -z "$kernel" ]; then
    echo "vm.sh: apt knows no package linux-image-cloud-amd64: run apt-get update, on Debian" >&2
    exit 1
fi
version=${kernel#linux-image-}
# World-writable, so that apt's own user may write there.
mkdir -m 1777 "$work/debs"
(cd "$work/debs" && apt-get download -qq "$kernel" qemu-guest-agent)
for file in "$work"/debs/*.deb; do dpkg-deb -x "$file" "$packages"; done
modules=lib/modules/$version
# Newer releases have it below /usr.
if [ ! -e "$packages/lib" ]; then ln -s usr/lib "$packages/lib"; fi

sh "$here/busybox.sh" "$root"

agent=$packages/usr/sbin/qemu-ga
libraries=$(ldd "$agent")
if echo "$libraries" | grep 'not found' >&2; then
    echo "vm.sh: these libraries of qemu-ga are missing here: apt install qemu-system-x86" >&2
    exit 1
fi
cp "$agent" "$root/usr/sbin/qemu-ga"
echo "$libraries" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p; s/^[[:space:]]*\(\/[^ ]*\).*/\1/p' | while read -r library; do
    mkdir -p "$root${library%/*}"
    [ -e "$root$library" ] || cp -L "$library" "$root$library"
done

# What a machine of QEMU needs to be reached and to be asked to end, and what rules of nft may name: the kernel asks
# modprobe for those when a rule first does.
busybox depmod -b "$packages" "$version"
wanted='virtio_pci virtio_net virtio_blk virtio_console virtio-rng evdev button
    nf_tables nft_.* nf_nat.* nf_log_syslog nf_conntrack_netlink nfnetlink_log nfnetlink_queue'
for pattern in $wanted; do
    grep -E "/$pattern\.ko(\.xz|\.zst)?:" "$packages/$modules/modules.dep" | tr -d ':'
done | tr ' ' '\n' | sed '/^$/d' | sort -u | while read -r module; do
    # busybox names them from its own place or from the modules' directory.
    module=${module#"$modules"/}
    mkdir -p "$root/lib/modules/$version/${module%/*}"
    cp "$packages/$modules/$module" "$root/lib/modules/$version/$module"
done
cp "$packages/$modules/modules.builtin" "$root/lib/modules/$version/"
busybox depmod -b "$root" "$version"

rm -f "$root/sbin/init" "$root/sbin/shutdown"
rm -f "$root/etc/nfio/command" # The first process of a container; a machine has its own.
mkdir -p "$root/etc/acpi/PWRF" "$root/mnt"

# The initial RAM disk's first process: goes on to the disk, if there is one.
cat >"$root/init" <<'END'
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
modprobe -a virtio_pci virtio_blk virtio_net virtio_console
if [ -b /dev/vda ] && mount -t ext4 /dev/vda /mnt; then
    for place in proc sys dev; do mount --move /$place /mnt/$place; done
    exec switch_root /mnt /sbin/init
fi
exec /sbin/init
END

# The guest's first process: sets it up, takes orphans in, and ends the machine when it is asked to.
cat >"$root/sbin/init" <<'END'
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
trap '/sbin/shutdown -P' TERM
trap '/sbin/shutdown -r' INT
mkdir -p /dev/pts /dev/virtio-ports
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=1777 tmp /tmp

name=guest
gateway=
for word in $(cat /proc/cmdline); do
    case $word in
        nfio.hostname=*) name=${word#*=} ;;
        nfio.gateway=*) gateway=${word#*=} ;;
    esac
done
hostname "$name"

# The channel is found by its name: which port it gets depends on the other devices.
for port in /sys/class/virtio-ports/*; do
    if [ "$(cat "$port/name" 2>/dev/null)" = org.qemu.guest_agent.0 ]; then
        ln -s "/dev/${port##*/}" /dev/virtio-ports/org.qemu.guest_agent.0
        # Comes back when it ends: without it nobody can reach this guest.
        while :; do
            qemu-ga -m virtio-serial -p /dev/virtio-ports/org.qemu.guest_agent.0 -t /run
            sleep 1
        done &
    fi
done

ip link set lo up
asking=
for interface in /sys/class/net/eth*; do
    interface=${interface##*/}
    [ "$interface" != 'eth*' ] || continue
    address=$(tr ' ' '\n' </proc/cmdline | sed -n "s/^nfio\.$interface=//p")
    ip link set "$interface" up
    if [ -n "$address" ]; then
        ip address add "$address" dev "$interface"
    else
        # Goes on in the background, to renew the lease, and when nobody answers at once.
        udhcpc -b -S -t 5 -T 1 -A 5 -i "$interface" -x hostname:"$name" -s /etc/udhcpc.sh >/dev/null 2>&1 &
        asking="$asking $!"
    fi
done
[ -z "$asking" ] || wait $asking
[ -z "$gateway" ] || ip route add default via "$gateway"

# The power button, where there is no agent to ask.
modprobe -a evdev button
acpid -l /dev/null -p /run/acpid.pid
echo "$name is up" >/dev/console
while :; do
    sleep 86400 &
    wait $!
done
END

# The guest agent calls it too: -P off, -H off, -r again.
cat >"$root/sbin/shutdown" <<'END'
#!/bin/sh
echo "asked to end" >/dev/console
sync
# A disk is whole when nothing can write to it any more.
echo u >/proc/sysrq-trigger
case " $* " in *' -r '*) exec busybox reboot -f ;; esac
exec busybox poweroff -f
END
cat >"$root/etc/acpi/PWRF/00000080" <<'END'
#!/bin/sh
exec /sbin/shutdown -P
END
cat >"$root/etc/udhcpc.sh" <<'END'
#!/bin/sh
case $1 in
    bound | renew)
        ip address replace "$ip/${mask:-24}" dev "$interface"
        for way in $router; do ip route replace default via "$way" dev "$interface"; done
        : >/etc/resolv.conf
        for server in $dns; do echo "nameserver $server" >>/etc/resolv.conf; done
        ;;
    deconfig) ip address flush dev "$interface" scope global ;;
esac
END
chmod 755 "$root/init" "$root/sbin/init" "$root/sbin/shutdown" "$root/etc/acpi/PWRF/00000080" "$root/etc/udhcpc.sh"

cp "$packages/boot/vmlinuz-$version" "$new/vmlinuz"
# As it is: to unpack it takes an emulated machine longer than to read it.
(cd "$root" && find . | LC_ALL=C sort | busybox cpio -o -H newc -R 0:0 2>/dev/null) >"$new/initrd.img"
rm -f "$root/init"
mke2fs -q -F -t ext4 -O ^has_journal -d "$root" "$work/disk.raw" 128M
qemu-img convert -f raw -O qcow2 "$work/disk.raw" "$new/disk.qcow2"

chmod 755 "$new"
mv "$new" "$dest"
