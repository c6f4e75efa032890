# Below: what is the same for all daemons. Above: what the type says of its own.
#   name       the daemon
#   conf       its configuration file; nf_conf is put beside it, as `nf_conf`, and takes its place once checked
#   access     its access log: made a pipe, whose lines the guest prints with $mark before each
#   errors     its other log: made a link to $errors_to
#   farewell   the signal that ends it at once
#   run        becomes the daemon, in the foreground
#   check      judges a configuration file; its words are on stderr
#   serving    prints what changes when a configuration comes into force, one word a line
#   in_force   tells whether that has happened; $state/before holds the words from before
#
# Exit codes: 0, 2 where the configuration is at fault, 1 for the rest.
set -eu

# A tmpfs: new at every start of the guest.
state=/dev/shm/nfio
# What `access_log` is told by among all that the guest prints.
mark='access: '
# How often one looks whether something has come about: 20 s in all.
patience=400

fail() {
    echo "$1" >&2
    exit "${2:-1}"
}

alive() {
    pid=$(cat "$state/pid" 2>/dev/null) && kill -0 "$pid" 2>/dev/null
}

ended() {
    [ -e "$state/ended" ]
}

# Waits until the words after it come true; false where they do not.
await() {
    left=$patience
    until "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        sleep 0.05
    done
}

# The guest's first process. It runs the daemon once its configuration has been checked (`start`); a daemon that was
# asked to end may be started again, one that failed ends the guest.
supervise() {
    rm -rf "$state"
    mkdir -m 700 "$state"
    # Open for both here, so that neither side ever waits for the other to open it.
    mkfifo "$state/gate.new"
    exec 3<>"$state/gate.new"
    child=
    ending=
    trap 'ending=yes; [ -z "$child" ] || kill -s "$farewell" "$child" 2>/dev/null || :' TERM INT
    lead_logs_out
    mv "$state/gate.new" "$state/gate"
    while :; do
        # A process of its own reads: `wait` hears signals.
        (read -r _ <&3) &
        wait $! || :
        [ -z "$ending" ] || exit 0
        run 3<&- &
        child=$!
        echo "$child" >"$state/pid.new"
        mv "$state/pid.new" "$state/pid"
        [ -z "$ending" ] || kill -s "$farewell" "$child" 2>/dev/null || :
        while :; do
            code=0
            wait "$child" || code=$?
            # A signal to this process ends a wait too.
            kill -0 "$child" 2>/dev/null || break
        done
        child=
        echo "$code" >"$state/ended"
        rm -f "$state/pid"
        [ -z "$ending" ] || exit 0
        # Whoever is giving it a configuration sees to it.
        [ "$code" = 0 ] || kill -0 "$(cat "$state/held" 2>/dev/null)" 2>/dev/null || exit "$code"
    done
}

# Logs go where what the guest prints goes: nothing grows in the guest.
lead_logs_out() {
    mkdir -p "${access%/*}" "${errors%/*}"
    rm -f "$access" "$errors"
    ln -s "$errors_to" "$errors"
    # For all: whatever user the daemon becomes, it may have its log opened anew.
    mkfifo -m 666 "$access"
    # Open for both here, so that the daemon never waits for a reader, nor the reader ends.
    # mawk holds lines back unless it is told not to.
    at_once=
    case $(readlink -f "$(command -v awk)") in *mawk) at_once='-W interactive' ;; esac
    while :; do awk $at_once -v mark="$mark" '{ print mark $0; fflush() }' || :; done <>"$access" 3<&- &
}

# Until this process ends, a daemon that fails does not end the guest.
hold() {
    await [ -p "$state/gate" ] ||
        fail "$name is not under nfio's care: the guest's command comes from config/boot.conf; take it out there" 2
    echo $$ >"$state/held"
}

# Starts the daemon and waits until it serves.
launch() {
    rm -f "$state/ended"
    : >"$state/before"
    echo start >"$state/gate"
    await_force && return
    if ended; then
        echo "$name ended with exit code $(cat "$state/ended") right after its start; its words are in the file log" >&2
    else
        echo "$name started, but does not serve; the file log may tell why" >&2
    fi
    return 1
}

# Has the running daemon read its configuration and waits until it is in force.
renew() {
    serving >"$state/before"
    rm -f "$state/ended"
    kill -s HUP "$pid"
    await_force && return
    if ended; then
        echo "$name did not survive this configuration; its words are in the file log" >&2
    else
        echo "$name goes on with the configuration that it had; the file log may tell why" >&2
    fi
    return 1
}

# False at once where the daemon has ended.
await_force() {
    await in_force_or_ended && ! ended
}

in_force_or_ended() {
    ended || in_force
}

# Gives the daemon a configuration: `apply nf_conf`, which has been put beside the daemon's own, or `apply image`. One
# that is refused leaves everything as it was.
apply() {
    hold
    new=${conf%/*}/nf_conf
    if [ "$1" = image ]; then
        if [ -e "$conf.image" ]; then cp -p "$conf.image" "$new"; else cp -p "$conf" "$new"; fi
    fi
    check "$new" || exit 2
    if [ ! -e "$conf.image" ] && [ -e "$conf" ]; then cp -p "$conf" "$conf.image"; fi
    if [ -e "$conf" ]; then cp -p "$conf" "$conf.old"; fi
    mv "$new" "$conf"
    if alive; then
        if ! renew; then
            mv "$conf.old" "$conf"
            alive || launch
            exit 2
        fi
    elif [ "$(cat "$state/ended" 2>/dev/null)" != 0 ]; then
        # Else somebody stopped it: the configuration counts from its next start.
        launch || exit 2
    fi
    rm -f "$conf.old"
}

start() {
    hold
    if ! alive; then
        check "$conf" || exit 2
        launch || exit 1
    fi
}

reload() {
    hold
    alive || fail "$name does not run: start comes first"
    check "$conf" || exit 2
    renew || exit 1
}

# Ends the daemon by a signal and waits for it.
end_by() {
    hold
    alive || fail "$name does not run"
    kill -s "$1" "$pid"
    await ended || fail "$name has been asked to end and still serves connections"
}

"$@"
