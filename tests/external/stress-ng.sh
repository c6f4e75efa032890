#!/bin/sh
# stress-ng, all stressors of its class filesystem, each with two workers that check what they do. A case is a stressor.
set -eu
cd "$(dirname "$0")/../.."
. tests/testbed/external.sh

case $1 in
    prepare)
        sh tests/testbed/packages.sh mke2fs=e2fsprogs stress-ng=stress-ng
        exit
        ;;
    quick) seconds=1 ;;
    full) seconds=5 ;;
esac

start_mount stress-ng
: >"$work/run"
: >"$work/failed"
: >"$work/bare"

# stress DIRECTORY STRESSOR: runs it, from within the directory as some leave files where they were started; its words into $work/words, and how it ended (stress-ng(1), EXIT STATUS) into $code.
stress() {
    code=0
    (cd "$1" && exec timeout -k 10 120 stress-ng --temp-path "$1" "--$2" 2 --timeout ${seconds}s --verify --oomable) \
        >"$work/words" 2>&1 || code=$?
}

for stressor in $(stress-ng --class 'filesystem?' | sed 's/.*: //'); do
    stress "$below" "$stressor"
    if [ $code -ne 0 ]; then
        below_code=$code
        sed 's/^/    /' "$work/words"
        stress "$bare" "$stressor"
        # 3 and 4: nothing here that it could try; 1 with these words: it might harm the machine.
        grep -q 'No stress workers invoked' "$work/words" && code=4 below_code=4
        if [ $below_code -eq $code ] && { [ $code -eq 3 ] || [ $code -eq 4 ]; }; then
            echo "not tried: $stressor"
            continue
        fi
        echo "$stressor" >>"$work/failed"
        [ $code -eq 0 ] || echo "$stressor" >>"$work/bare"
    fi
    echo "$stressor" >>"$work/run"
    # What is left behind by one is not for the next.
    find "$below" "$bare" -mindepth 1 \( -name 'tmp-stress-ng*' -o -name 'stress-*' \) -prune -exec rm -rf {} +
done
sound=0
end_mount || sound=1
judge "$work/run" "$work/failed" "$work/bare" || sound=1
exit $sound
