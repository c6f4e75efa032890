# What the demonstrations are told with; each sources it.

# Prints a command as a person would type it, runs it, and prints what came back.
run() {
    printf '\n$ %s\n' "$*"
    eval "$*"
}

# The same for a command that must fail: the demo ends if it succeeds.
fails() {
    printf '\n$ %s\n' "$*"
    if eval "$*"; then
        echo "demo: that was expected to fail" >&2
        exit 1
    fi
}

say() { printf '\n# %s\n' "$*"; }
