#!/bin/sh
# Says and installs what is missing: packages.sh COMMAND=PACKAGE ...
# On Debian and Ubuntu with apt; elsewhere it names the packages. No service is started.
set -eu

missing=
for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null 2>&1 || missing="$missing ${pair#*=}"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "missing:$missing (names of Debian's packages); install them with this machine's package manager" >&2
    exit 1
fi
echo "missing:$missing; installing with apt-get"
install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1; }
# Package lists may be absent or old: they are fetched only when the first try fails.
install || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null; }
