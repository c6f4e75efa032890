#!/bin/sh
# fio writes blocks that carry checksums, by each way into the kernel, and reads them back. A case is a job.
set -eu
cd "$(dirname "$0")/../.."
. tests/testbed/external.sh

case $1 in
    prepare)
        sh tests/testbed/packages.sh mke2fs=e2fsprogs fio=fio
        exit
        ;;
    quick) size=8m ;;
    full) size=64m ;;
esac

start_mount fio
: >"$work/run"
: >"$work/failed"
: >"$work/bare"

# job DIRECTORY NAME OPTION ...: what was written is read back at once, and again by another fio, which has the kernel
# drop what it keeps of the file first (fio's `invalidate`).
job() {
    directory=$1
    shift 2
    set -- "$@" --name=verify --directory="$directory" --size=$size --verify=crc32c --verify_fatal=1 --verify_dump=0 \
        --allow_file_create=1 --thread --minimal --aux-path="$work"
    timeout -k 10 300 fio "$@" --do_verify=1 >"$work/words" 2>&1 &&
        timeout -k 10 300 fio "$@" --verify_only >>"$work/words" 2>&1 || return 1
    rm -f "$directory"/verify.*
}

# try NAME OPTION ...
try() {
    echo "$1" >>"$work/run"
    job "$below" "$@" && return
    tail -n 20 "$work/words"
    echo "$1" >>"$work/failed"
    rm -f "$below"/verify.*
    job "$bare" "$@" || echo "$1" >>"$work/bare"
    rm -f "$bare"/verify.*
}

try "sequential, pwrite" --rw=write --bs=128k --ioengine=psync
try "random, pwrite" --rw=randwrite --bs=4k --ioengine=psync
try "random, odd block sizes" --rw=randwrite --bsrange=1k-64k --bs_unaligned=1 --ioengine=psync
try "random, pwritev" --rw=randwrite --bs=16k --ioengine=pvsync
try "random, mmap" --rw=randwrite --bs=4k --ioengine=mmap
try "random, O_DIRECT" --rw=randwrite --bs=4k --ioengine=psync --direct=1
try "random, libaio and O_DIRECT, 16 at a time" --rw=randwrite --bs=4k --ioengine=libaio --iodepth=16 --direct=1
try "random, O_SYNC" --rw=randwrite --bs=64k --ioengine=psync --sync=1
try "random, fsync at each 16th" --rw=randwrite --bs=16k --ioengine=psync --fsync=16
try "sequential, fallocate first" --rw=write --bs=64k --ioengine=psync --fallocate=posix
try "mixed reads and writes, 4 jobs" --rw=randrw --bs=4k --ioengine=psync --numjobs=4
echo "$size in each case"
sound=0
end_mount || sound=1
judge "$work/run" "$work/failed" "$work/bare" || sound=1
exit $sound
