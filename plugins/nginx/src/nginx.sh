#!/bin/sh
# nginx in a guest of nfio.
name=nginx
conf=/etc/nginx/nginx.conf
access=/var/log/nginx/access.log
errors=/var/log/nginx/error.log
errors_to=/dev/stderr
farewell=TERM
# What nfio relies on. nginx refuses a configuration that says it again, and names the line.
relied_on='daemon off; master_process on;'

run() {
    exec nginx -g "$relied_on"
}

check() {
    nginx -q -t -g "$relied_on" -c "$1"
}

# The workers that take connections.
serving() {
    alive || return 0
    grep -ls "^PPid:[[:space:]]*$pid\$" /proc/[0-9]*/status | while IFS=/ read -r _ _ worker _; do
        if grep -qs 'nginx: worker process' "/proc/$worker/cmdline" &&
            ! grep -qs 'shutting down' "/proc/$worker/cmdline"; then
            echo "$worker"
        fi
    done
}

# There are workers, and none is from before.
in_force() {
    now=$(serving)
    [ -n "$now" ] || return 1
    for worker in $now; do
        ! grep -qx "$worker" "$state/before" || return 1
    done
}

stop() {
    end_by TERM
}

quit() {
    end_by QUIT
}

reopen() {
    alive || fail "nginx does not run: start comes first"
    kill -s USR1 "$pid"
}

