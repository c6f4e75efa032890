#!/bin/sh
# The same scripts below the mount and on the file system under ROOT: whatever they print must be the same. Where it
# is not, FUSE or the contract is why, and differences.expected says so. A case is a script of differences/.
set -eu
cd "$(dirname "$0")/../.."
. tests/testbed/external.sh

if [ "$1" = prepare ]; then
    sh tests/testbed/packages.sh mke2fs=e2fsprogs fallocate=util-linux chattr=e2fsprogs python3=python3-minimal
    exit
fi

start_mount differences
: >"$work/run"
: >"$work/failed"
: >"$work/bare"

# told DIRECTORY SCRIPT: what it prints, its complaints too, and how it ends. Its $0 stays out of that.
told() {
    mkdir "$1/own"
    (
        cd "$1/own"
        umask 022
        LC_ALL=C timeout -k 10 60 sh -s 2>&1 <"$2" || echo "exit $?"
    )
    rm -rf "$1/own"
}

for script in tests/external/differences/*.sh; do
    case=$(basename "$script" .sh)
    echo "$case" >>"$work/run"
    script=$(readlink -f "$script")
    told "$bare" "$script" >"$work/there"
    told "$below" "$script" >"$work/here"
    cmp -s "$work/there" "$work/here" && continue
    echo "$case, < on the file system under ROOT, > below the mount:"
    diff "$work/there" "$work/here" || true
    echo "$case" >>"$work/failed"
done
sound=0
end_mount || sound=1
judge "$work/run" "$work/failed" "$work/bare" || sound=1
exit $sound
