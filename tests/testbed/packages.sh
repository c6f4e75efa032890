#!/bin/sh
# Says and installs what is missing: packages.sh COMMAND=PACKAGE ... pkg-config:LIBRARY=PACKAGE ...
# On Debian and Ubuntu with apt; elsewhere it names the packages. No service is started.
set -eu
# Daemons live where a user's PATH does not look.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

is_here() {
    case $1 in
        # A library to build with has no command.
        pkg-config:*) pkg-config --exists "${1#*:}" ;;
        *) command -v "$1" ;;
    esac >/dev/null 2>&1
}
missing=
for pair in "$@"; do
    is_here "${pair%%=*}" || missing="$missing ${pair#*=}"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "missing:$missing (names of Debian's packages); install them with this machine's package manager" >&2
    exit 1
fi
echo "missing:$missing; installing with apt-get"

# Packages ask this file before they start a service: "no" (101) for as long as we install.
policy=/usr/sbin/policy-rc.d
restore() {
    rm -f $policy
    if [ -e $policy.nfio ] || [ -L $policy.nfio ]; then mv $policy.nfio $policy; fi
}
trap restore EXIT
trap 'exit 1' HUP INT TERM
# One that an earlier run left, ended by SIGKILL, is not the machine's own.
if grep -qs 'nfio: no service' $policy; then rm $policy; fi
if [ -e $policy ] || [ -L $policy ]; then mv $policy $policy.nfio; fi
printf '#!/bin/sh\n# nfio: no service is started by an installation\nexit 101\n' >$policy
chmod 755 $policy

install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }
# A package that is here may be of backports, and those that are missing break with it: with the release pinned above
# all, apt takes it back to the release's version where, and only where, it is in the way.
install_of_release() {
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    [ -n "$codename" ] || return 1
    pins=$(mktemp)
    printf 'Package: *\nPin: release %s\nPin-Priority: %s\n\n' \
        "a=*-backports*" 100 "n=*-backports*" 100 "n=$codename*" 1001 >"$pins"
    # apt reads it as a user of its own.
    chmod 644 "$pins"
    install --allow-downgrades -o Dir::Etc::Preferences="$pins" -o Dir::Etc::PreferencesParts=/dev/null $missing &&
        code=0 || code=$?
    rm -f "$pins"
    return $code
}
# Package lists may be absent or old: they are fetched only when the first try fails.
install $missing 2>/dev/null || {
    apt-get update -qq
    install $missing || {
        echo "installing once more, with the versions of this release" >&2
        install_of_release
    }
}
