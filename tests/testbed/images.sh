#!/bin/sh
# Makes the guest images that need packages of Debian, before the test bed takes the network away:
#
#   images.sh NAME ...      makes target/images/NAME by examples/images/NAME.sh
#
# An image is kept until its recipe changes, or debian.sh or busybox.sh, which recipes share. Several are made side by side.
set -eu
cd "$(dirname "$0")/../.."

images=${CARGO_TARGET_DIR:-target}/images
mkdir -p "$images"

make_image() {
    recipe=examples/images/$1.sh
    hash=$(cat "$recipe" examples/images/debian.sh examples/images/busybox.sh | sha256sum | cut -d ' ' -f 1)
    if [ -d "$images/$1" ] && [ "$(cat "$images/$1.recipe" 2>/dev/null)" = "$hash" ]; then return; fi
    echo "making the image $1 ($recipe)"
    rm -rf "$images/$1" "$images/$1.recipe"
    sh "$recipe" "$images/$1" >"$images/$1.log" 2>&1 || {
        echo "images.sh: $recipe failed:" >&2
        tail -n 20 "$images/$1.log" >&2
        return 1
    }
    echo "$hash" >"$images/$1.recipe"
}

making=
for name in "$@"; do
    make_image "$name" &
    making="$making $!"
done
failed=0
for pid in $making; do wait "$pid" || failed=1; done
exit $failed
