#!/bin/sh
# Makes a guest image for the type nginx: Debian's nginx-light.
#
#   nginx.sh DEST      DEST is made; it must not be there yet. A good place is IMAGES/nginx. As root, with a network
#
# Debian and Ubuntu: apt install mmdebstrap
set -eu

dest=${1:?usage: nginx.sh DEST}
if [ -e "$dest" ]; then
    echo "nginx.sh: $dest is there already: remove it, or name another place" >&2
    exit 1
fi
new=$dest.making.$$
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM
sh "$(dirname "$0")/debian.sh" "$new" bookworm nginx-light

# The user and the directories that the package's scripts would have made.
echo 'www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin' >>"$new/etc/passwd"
echo 'www-data:x:33:' >>"$new/etc/group"
mkdir -p "$new/var/log/nginx" "$new/var/lib/nginx" "$new/var/www/html"
chown 33:33 "$new/var/log/nginx"

cat >"$new/etc/nginx/sites-enabled/default" <<'END'
server {
    listen 80 default_server;
    listen [::]:80 default_server;
    root /var/www/html;
}
END
echo '<!DOCTYPE html><title>nginx</title><p>An instance of nginx without a configuration of its own.' \
    >"$new/var/www/html/index.html"
printf '%s\n' nginx -g 'daemon off;' >"$new/etc/nfio/command"

mv "$new" "$dest"
