#!/bin/sh
# Makes a guest image for the type ids: Suricata 7 of Debian 13 (trixie), suricatasc, nft and ip.
#
#   suricata.sh DEST     DEST is made; it must not be there yet. A good place is IMAGES/suricata. As root, with a network
#
# DEBIAN_MIRROR names another mirror than deb.debian.org.
# Debian and Ubuntu: apt install mmdebstrap debian-archive-keyring
set -eu

dest=${1:?usage: suricata.sh DEST}
if [ -e "$dest" ]; then
    echo "suricata.sh: $dest is there already: remove it, or name another place" >&2
    exit 1
fi
new=$dest.making.$$
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM
# base-files brings the links from /bin to /usr/bin, where trixie has its programs.
DEBIAN_MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian} \
    sh "$(dirname "$0")/debian.sh" "$new" trixie base-files suricata nftables iproute2

# What the package's scripts would have made.
mkdir -p "$new/run/suricata" "$new/var/log/suricata" "$new/var/lib/suricata/rules"
printf '%s\n' suricata -c /etc/suricata/suricata.yaml --af-packet >"$new/etc/nfio/command"

mv "$new" "$dest"
