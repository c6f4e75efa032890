#!/bin/sh
# Makes the ground of a guest image from Debian packages: their files (no script of theirs runs), busybox for a shell
# and the usual tools, root and nobody. The recipes beside it build on that: see nginx.sh.
#
#   debian.sh DEST SUITE PACKAGE ...      DEST is made; it must not be there yet. As root, with a network
#
# DEBIAN_MIRROR names another mirror than the one that this machine's apt knows for the suite.
# Debian and Ubuntu: apt install mmdebstrap
set -eu

dest=${1:?usage: debian.sh DEST SUITE PACKAGE ...}
suite=${2:?usage: debian.sh DEST SUITE PACKAGE ...}
shift 2
packages=busybox-static
for package in "$@"; do packages=$packages,$package; done

command -v mmdebstrap >/dev/null || {
    echo "debian.sh: mmdebstrap is missing: apt install mmdebstrap" >&2
    exit 1
}
if [ "$(id -u)" != 0 ]; then
    echo "debian.sh: an image has files of several users: run it as root" >&2
    exit 1
fi
if [ -e "$dest" ]; then
    echo "debian.sh: $dest is there already: remove it, or name another place" >&2
    exit 1
fi

# Aside first, so that an image is there whole or not at all.
new=$dest.new.$$
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM
umask 022
mmdebstrap --quiet --mode=root --variant=extract --include="$packages" --format=directory "$suite" "$new" \
    ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"}

# What only people, package managers and scripts read, and what mmdebstrap took over from this machine.
rm -rf "$new"/usr/share/doc "$new"/usr/share/man "$new"/usr/share/locale "$new"/usr/share/lintian "$new"/usr/share/bug \
    "$new"/usr/lib/*/gconv "$new"/var/lib/apt "$new"/var/lib/dpkg "$new"/var/cache/apt "$new"/var/log/apt \
    "$new"/etc/apt "$new"/etc/dpkg "$new"/etc/fstab "$new"/etc/hostname "$new"/etc/resolv.conf "$new"/etc/rc?.d

mkdir -p "$new/bin" "$new/usr/bin" "$new/usr/sbin" "$new/etc/nfio" "$new/var/log" "$new/run" "$new/root" "$new/proc" "$new/sys" "$new/dev"
rm -rf "$new/var/run"
ln -s ../run "$new/var/run"
"$new/bin/busybox" --list | while read -r name; do
    # What the packages bring is the real one.
    for dir in bin sbin usr/bin usr/sbin; do
        if [ -e "$new/$dir/$name" ] || [ -L "$new/$dir/$name" ]; then continue 2; fi
    done
    ln -s busybox "$new/bin/$name"
done

cat >"$new/etc/passwd" <<'END'
root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
END
cat >"$new/etc/group" <<'END'
root:x:0:
nogroup:x:65534:
END

chmod 755 "$new"
mv "$new" "$dest"
