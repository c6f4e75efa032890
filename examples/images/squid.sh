#!/bin/sh
# Makes a guest image for the type squid: Debian's squid. Its own configuration serves private networks.
#
#   squid.sh DEST      DEST is made; it must not be there yet. A good place is IMAGES/squid. As root, with a network
#
# Debian and Ubuntu: apt install mmdebstrap
set -eu

dest=${1:?usage: squid.sh DEST}
if [ -e "$dest" ]; then
    echo "squid.sh: $dest is there already: remove it, or name another place" >&2
    exit 1
fi
new=$dest.making.$$
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM
sh "$(dirname "$0")/debian.sh" "$new" bookworm squid

# Perl serves helpers that few use; error pages in one language do.
rm -rf "$new"/usr/share/perl* "$new"/usr/lib/*/perl* "$new"/usr/lib/*/libperl* "$new"/usr/bin/perl* \
    "$new"/usr/lib/systemd "$new"/lib/systemd
find "$new/usr/share/squid-langpack" -mindepth 1 -maxdepth 1 ! -name templates ! -name en -exec rm -rf {} +

# The user and the directories that the package's scripts would have made.
echo 'proxy:x:13:13:proxy:/bin:/usr/sbin/nologin' >>"$new/etc/passwd"
echo 'proxy:x:13:' >>"$new/etc/group"
mkdir -p "$new/var/log/squid" "$new/var/spool/squid"
chown 13:13 "$new/var/log/squid" "$new/var/spool/squid"
# Debian's allows nobody but the guest itself.
sed -i 's/^#http_access allow localnet/http_access allow localnet/' "$new/etc/squid/conf.d/debian.conf"
printf '%s\n' squid -N >"$new/etc/nfio/command"

mv "$new" "$dest"
