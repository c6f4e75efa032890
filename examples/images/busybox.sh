#!/bin/sh
# Makes a guest image without a network, in about a second: busybox, nft, ip and the libraries that they need.
#
#   busybox.sh DEST      DEST is made; it must not be there yet. A good place is IMAGES/box
#
# Debian and Ubuntu: apt install busybox-static nftables iproute2
set -eu

dest=${1:?usage: busybox.sh DEST}
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

for program in busybox nft ip; do
    command -v "$program" >/dev/null || {
        echo "busybox.sh: $program is missing: apt install busybox-static nftables iproute2" >&2
        exit 1
    }
done
if [ -e "$dest" ]; then
    echo "busybox.sh: $dest is there already: remove it, or name another place" >&2
    exit 1
fi

# Aside first, so that an image is there whole or not at all.
new=$dest.new.$$
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$new/bin" "$new/sbin" "$new/usr/bin" "$new/usr/sbin" "$new/etc/nfio" "$new/root" "$new/var/log" \
    "$new/proc" "$new/sys" "$new/dev"
mkdir -m 1777 "$new/tmp"
ln -s ../run "$new/var/run"
mkdir "$new/run"

cp "$(command -v busybox)" "$new/bin/busybox"
"$new/bin/busybox" --list-full | while read -r path; do
    # What busybox itself is, and what the real programs below bring.
    case ${path##*/} in busybox | nft | ip | init | linuxrc) continue ;; esac
    case $path in */*) dir=${path%/*} ;; *) dir=bin ;; esac
    mkdir -p "$new/$dir"
    # Relative, so that a link means the image's busybox also when it is looked at from outside.
    case $dir in
        usr/*) ln -sf ../../bin/busybox "$new/$path" ;;
        bin) ln -sf busybox "$new/$path" ;;
        *) ln -sf ../bin/busybox "$new/$path" ;;
    esac
done

for program in nft ip; do
    file=$(command -v "$program")
    rm -f "$new/usr/sbin/$program"
    cp -L "$file" "$new/usr/sbin/$program"
    ldd "$file" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p; s/^[[:space:]]*\(\/[^ ]*\).*/\1/p' | while read -r library; do
        mkdir -p "$new${library%/*}"
        [ -e "$new$library" ] || cp -L "$library" "$new$library"
    done
done

cat >"$new/etc/passwd" <<'END'
root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
END
cat >"$new/etc/group" <<'END'
root:x:0:
nogroup:x:65534:
END

# The guest's first process: says that it is there, takes orphans in, ends when it is asked to. The name is
# freed first: nothing here may ever be written through a link.
rm -f "$new/sbin/init"
cat >"$new/sbin/init" <<'END'
#!/bin/sh
trap 'echo "asked to end"; exit 0' TERM INT
echo "$(hostname) is up"
while :; do
    sleep 86400 &
    wait $!
done
END
chmod 755 "$new/sbin/init"
echo /sbin/init >"$new/etc/nfio/command"

chmod 755 "$new"
mv "$new" "$dest"
