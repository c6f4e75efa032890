# What the suites in tests/external/ have in common; they source it from the top of the checkout.
#
# Outside the test bed: crate NAME VERSION installs a tool of crates.io into target/external/.
# Inside: start_mount mounts the built nfio for all users, with ROOT on an ext4 of its own where loop devices are to be
# had, else in target/ (then $own is empty); $below is an instance's config/, $bare a directory beside ROOT on the same
# file system, $work a place for lists. end_mount tells whether nfio came through whole. judge compares what failed to NAME.expected.

target=$(readlink -f "${CARGO_TARGET_DIR:-target}")
PATH=$PATH:$target/external/bin:/usr/sbin:/sbin

crate() {
    # cargo sees by itself that this version is there; `--locked`: with the dependencies that its authors tried.
    cargo install --quiet --locked --root "$target/external" --target-dir "$target/external/build" \
        "$1" --version "=$2"
    rm -rf "$target/external/build"
}

start_mount() {
    suite=$1
    # Short names: the path of a socket has room for 107 bytes.
    work=$(mktemp -d /run/XXXXXX)
    disk=$work/d mount=$work/m
    mkdir "$disk" "$mount" "$work/plugins"
    chmod 755 "$work" "$disk" "$mount"
    image=$target/external/$suite.ext4
    mkdir -p "$target/external"
    rm -f "$image"
    own=yes
    # The image has no name any more once it is mounted: it goes with the last who uses it.
    if truncate -s 4G "$image" && mke2fs -q -t ext4 "$image" && mount -o loop "$image" "$disk" 2>/dev/null; then
        rm -f "$image"
    else
        own=
        rm -rf "$image" "$target/external/$suite.root"
        mkdir "$target/external/$suite.root"
        mount --bind "$target/external/$suite.root" "$disk"
    fi
    echo "ROOT is on $(stat -f -c %T "$disk")"
    mkdir "$disk/root" "$disk/bare"
    bare=$disk/bare
    cp "$target"/debug/libfirewall.so "$work/plugins"
    "$target/debug/nfio" mount --hypervisor Oci --module-root "$work/plugins" -o allow_other "$disk/root" "$mount"
    daemon=$(cat "$disk/root/.nfio/lock")
    mkdir "$mount/nf-types/firewall/i"
    below=$mount/nf-types/firewall/i/config
    descriptors=$(count_descriptors)
}

count_descriptors() { find "/proc/$daemon/fd" -mindepth 1 | wc -l; }
count_threads() { find "/proc/$daemon/task" -mindepth 1 -maxdepth 1 | wc -l; }

# Fails where nfio has ended, panicked, lost count of its descriptors, or does not answer or unmount.
end_mount() {
    sound=0
    complain() { echo "$suite: $*"; sound=1; }
    log=$disk/root/.nfio/log
    if grep -i panic "$log"; then complain "nfio panicked"; fi
    if kill -0 "$daemon" 2>/dev/null; then
        tries=0
        # The kernel closes and forgets in its own time.
        until [ "$(count_descriptors)" -le "$descriptors" ] || [ $tries -ge 100 ]; do
            sleep 0.1
            tries=$((tries + 1))
        done
        now=$(count_descriptors)
        [ "$now" -le "$descriptors" ] || complain "nfio holds $now descriptors, $descriptors before"
        [ "$(timeout 10 cat "$below/../status")" = undeployed ] || complain "nfio does not answer"
    else
        complain "nfio has ended"
        cat "$log"
    fi
    timeout 90 "$target/debug/nfio" umount "$mount" || complain "nfio does not unmount"
    tries=0
    until umount "$disk" 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || { complain "ROOT stays in use"; break; }
        sleep 0.1
    done
    rm -rf "$target/external/$suite.root"
    return $sound
}

# judge RUN FAILED BARE: files with a case a line: all that were run, those that failed below the mount, and those of
# them that fail on the file system under ROOT too. Ends with the suite's last line; fails on anything unexpected. What
# is expected is so of ext4: on another file system, a success is only told.
judge() {
    expected=tests/external/$suite.expected
    [ -e "$expected" ] || expected=/dev/null
    awk -F '\t' -v suite="$suite" -v own="$own" -v expected="$expected" -v failed="$2" -v bare="$3" '
        BEGIN {
            while ((getline < expected) > 0) if ($0 !~ /^#/ && NF > 1) reason[$1] = $2
            while ((getline < failed) > 0) fails[$0] = 1
            while ((getline < bare) > 0) elsewhere[$0] = 1
        }
        {
            cases++
            if (!($0 in fails)) {
                if ($0 in reason) print "unexpected success: " $0 " (" reason[$0] ")"
                if ($0 in reason && own) wrong++; else passed++
            } else if ($0 in reason) {
                print "expected: " $0 ": " reason[$0]
                foreseen++
            } else if ($0 in elsewhere) {
                print "expected: " $0 ": fails in the same way on the file system under ROOT"
                foreseen++
            } else {
                print "unexpected failure: " $0
                wrong++
            }
        }
        END {
            printf "%s: %d cases, %d passed, %d expected failures\n", suite, cases, passed, foreseen
            exit wrong > 0 || cases == 0
        }' "$1"
}
