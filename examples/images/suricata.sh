#!/bin/sh
# Makes a guest image with Suricata 7 from packages of Debian 13 (trixie), which it fetches, in about ten seconds:
# Suricata, suricatasc, nft, ip, and busybox for the rest. It needs root.
#
#   suricata.sh DEST     DEST is made; it must not be there yet. A good place is IMAGES/suricata
#
# DEBIAN_MIRROR names another mirror than deb.debian.org.
# Debian and Ubuntu: apt install mmdebstrap debian-archive-keyring
set -eu

dest=${1:?usage: suricata.sh DEST}
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

command -v mmdebstrap >/dev/null || {
    echo "suricata.sh: mmdebstrap is missing: apt install mmdebstrap debian-archive-keyring" >&2
    exit 1
}
if [ "$(id -u)" -ne 0 ]; then
    echo "suricata.sh: the files of an image belong to root: run it as root" >&2
    exit 1
fi
if [ -e "$dest" ]; then
    echo "suricata.sh: $dest is there already: remove it, or name another place" >&2
    exit 1
fi

# Aside first, so that an image is there whole or not at all.
new=$dest.new.$$
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "${dest%/*}"

# Unpacked, not installed: no maintainer script runs, nothing is started, and what only an installation needs stays out.
mmdebstrap --mode=root --variant=extract --format=directory \
    --include=base-files,base-passwd,dash,busybox-static,suricata,nftables,iproute2 \
    trixie "$new" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}"

# Nobody reads these in a guest.
rm -rf "$new/usr/share/doc" "$new/usr/share/man" "$new/usr/share/locale" "$new/usr/share/info" \
    "$new/usr/share/lintian" "$new/var/lib/dpkg" "$new/var/lib/apt" "$new/var/cache/apt"

# busybox serves what Debian's packages do not bring. The links are relative, so that they mean the image's busybox
# also when they are looked at from outside.
"$new/usr/bin/busybox" --list-full | while read -r path; do
    case ${path##*/} in busybox | init | linuxrc) continue ;; esac
    case $path in usr/*) dir=${path%/*} ;; */*) dir=usr/${path%/*} ;; *) dir=usr/bin ;; esac
    name=${path##*/}
    [ -e "$new/usr/bin/$name" ] || [ -e "$new/usr/sbin/$name" ] || ln -s ../bin/busybox "$new/$dir/$name"
done

# What the packages' scripts would have done.
rmdir "$new/var/run"
ln -s ../run "$new/var/run"
cp "$new/usr/share/base-passwd/passwd.master" "$new/etc/passwd"
cp "$new/usr/share/base-passwd/group.master" "$new/etc/group"
mkdir -p "$new/etc/nfio" "$new/run/suricata" "$new/var/log/suricata" "$new/var/lib/suricata/rules"
printf '%s\n' suricata -c /etc/suricata/suricata.yaml --af-packet >"$new/etc/nfio/command"

chmod 755 "$new"
mv "$new" "$dest"
