#!/bin/sh
# fsx, the file system exerciser: random reads, writes, maps and cuts of one file, each read checked. A case is a seed.
set -eu
cd "$(dirname "$0")/../.."
. tests/testbed/external.sh

case $1 in
    prepare)
        sh tests/testbed/packages.sh mke2fs=e2fsprogs
        crate fsx 0.3.2
        exit
        ;;
    quick) seeds=4 operations=3000 ;;
    full) seeds=12 operations=20000 ;;
esac

start_mount fsx
# All that it can do on Linux, of 1 byte at least: posix_fallocate(3) refuses none. What is advised or thrown away of the page cache must come back the same.
cat >"$work/fsx.toml" <<'END'
flen = 1048576
[opsize]
min = 1
[weights]
close_open = 2
read = 10
write = 10
mapread = 10
mapwrite = 10
invalidate = 2
truncate = 5
fsync = 1
fdatasync = 1
posix_fallocate = 3
punch_hole = 3
sendfile = 5
posix_fadvise = 3
copy_file_range = 5
END
: >"$work/run"
: >"$work/failed"
: >"$work/bare"

# exercise DIRECTORY SEED WORDS
exercise() {
    mkdir -p "$work/artifacts"
    timeout -k 10 300 fsx -q -f "$work/fsx.toml" -S "$2" -N $operations -P "$work/artifacts" "$1/fsx-$2" >"$3" 2>&1 &&
        rm -f "$1/fsx-$2"
}

for seed in $(seq $seeds); do
    echo "seed $seed" >>"$work/run"
    exercise "$below" "$seed" "$work/words" || {
        tail -n 20 "$work/words"
        echo "seed $seed" >>"$work/failed"
        exercise "$bare" "$seed" "$work/words" || echo "seed $seed" >>"$work/bare"
    }
done
echo "$operations operations in each case"
sound=0
end_mount || sound=1
judge "$work/run" "$work/failed" "$work/bare" || sound=1
exit $sound
