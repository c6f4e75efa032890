#!/bin/sh
# External suites over a real mount: `make conformance`. Each is a script tests/external/NAME.sh that is run three ways:
# `prepare` outside the test bed, where there is a network; `quick` or `full` inside, where there is none. Its last line
# is `NAME: N cases, P passed, E expected failures`; what is expected to fail, and why, stands in NAME.expected, a case, a
# tab and the reason a line.
#
#   conformance.sh [NAME ...]             builds, prepares, runs the full suites
#   conformance.sh prepare [NAME ...]     prepares alone
#   conformance.sh quick|full [NAME ...]  runs alone
set -eu
cd "$(dirname "$0")/.."

step=all
case ${1:-} in
    prepare | quick | full | --inside)
        step=$1
        shift
        ;;
esac

prepare() {
    for name in "$@"; do sh "tests/external/$name.sh" prepare; done
}

# Runs suites one after the other, each to its end, and says at last what they came to.
run() {
    form=$1
    shift
    words=/run/conformance
    mkdir $words
    failed=
    for name in "$@"; do
        printf '\n=== %s (%s)\n' "$name" "$form"
        # Its exit status goes past the pipe.
        { sh "tests/external/$name.sh" "$form" 2>&1 || echo $? >"$words/$name.failed"; } | tee "$words/$name"
        grep -q "^$name: [0-9]* cases, [0-9]* passed, [0-9]* expected failures" "$words/$name" ||
            echo "conformance: $name ended without its last line" | tee "$words/$name.failed"
        [ ! -e "$words/$name.failed" ] || failed="$failed $name"
    done
    printf '\n=== external suites (%s)\n' "$form"
    for name in "$@"; do
        grep "^$name: [0-9]* cases" "$words/$name" | tail -n 1 || echo "$name: no result"
    done | tee $words/results
    awk '/ cases, / { cases += $2; passed += $4; expected += $6 }
        END { printf "total: %d cases, %d passed, %d expected failures\n", cases, passed, expected }' $words/results
    if [ -n "$failed" ]; then
        echo "conformance: failed:$failed" >&2
        return 1
    fi
}

if [ $step = --inside ]; then
    run "$@"
    exit
fi
if [ $# -eq 0 ]; then
    for script in tests/external/*.sh; do set -- "$@" "$(basename "$script" .sh)"; done
fi
case $step in
    prepare) prepare "$@" ;;
    quick | full) exec sh tests/testbed/enter.sh sh tests/conformance.sh --inside $step "$@" ;;
    all)
        sh tests/testbed/packages.sh unshare=util-linux ip=iproute2 pkg-config=pkg-config pkg-config:libvirt=libvirt-dev
        cargo build --workspace
        prepare "$@"
        exec sh tests/testbed/enter.sh sh tests/conformance.sh --inside full "$@"
        ;;
esac
