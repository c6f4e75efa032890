#!/bin/sh
# pjdfstest, the POSIX file system test suite, in its Rust edition: system calls and their errnos as several users.
set -eu
cd "$(dirname "$0")/../.."
. tests/testbed/external.sh

if [ "$1" = prepare ]; then
    sh tests/testbed/packages.sh mke2fs=e2fsprogs
    crate pjdfstest 0.2.2
    exit
fi

start_mount pjdfstest
mkdir "$work/o"
mount -t tmpfs tmpfs "$work/o"
for remount in true false; do
    # Two users who are on every machine, each with a group of its own.
    cat >"$work/remount-$remount.toml" <<END
[features]
secondary_fs = "$work/o"
posix_fallocate = {}
rename_ctime = {}
stat_st_birthtime = {}
utime_now = {}
utimensat = {}
[settings]
naptime = 0.02
allow_remount = $remount
[dummy_auth]
entries = [["nobody", "$(id -gn nobody)"], ["daemon", "$(id -gn daemon)"]]
END
done

# run DIRECTORY WORDS: `name  ok`, `name  FAILED` and a line with why, for each case. The suite leaves files
# open, and what it remounts read-only may have none: those cases go first, in a run of their own.
run() {
    directory=$1 words=$2
    # Never what is mounted elsewhere too.
    if [ "$own" ] || [ "$directory" = "$below" ]; then invoke true erofs; fi
    invoke false ""
}
invoke() {
    timeout -k 10 600 pjdfstest --configuration-file "$work/remount-$1.toml" --path "$directory" $2 \
        >"$work/$words.$1" 2>&1 || [ $? -eq 1 ]
    grep -q '^Summary' "$work/$words.$1" || { tail -n 5 "$work/$words.$1"; exit 1; }
}
with() { sed -n "s/^\([a-z0-9_:]*\)  *$1\$/\1/p" "$work/$2".*; }

# What either run has tried has been tried.
run "$below" words
{ with ok words; with FAILED words; } | sort >"$work/run"
with FAILED words | sort >"$work/failed"
: >"$work/bare"
if [ -s "$work/failed" ]; then
    grep -h -A 1 'FAILED$' "$work"/words.*
    run "$bare" bare.words
    with FAILED bare.words >"$work/bare"
fi
awk '/skipped$/ && !/erofs/ { print; getline; print }' "$work/words.false"
umount "$work/o"
sound=0
end_mount || sound=1
judge "$work/run" "$work/failed" "$work/bare" || sound=1
exit $sound
