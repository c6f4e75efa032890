#!/bin/sh
# Builds libfuse's passthrough_hp, to which `make bench` compares: the example of Debian's source package of fuse3, in
# the version of the library that is installed. Prints where it is. Outside the test bed, with network.
set -eu

here=${CARGO_TARGET_DIR:-target}/floor
mkdir -p "$here"
here=$(cd "$here" && pwd)
version=$(dpkg-query -W -f '${source:Version}' libfuse3-dev)
binary=$here/$version/passthrough_hp
if [ -x "$binary" ]; then
    echo "$binary"
    exit 0
fi

# Sources are fetched with lists of their own: the machine's own configuration seldom has them, and stays as it is.
. /etc/os-release
case $ID in
    ubuntu) mirror=http://archive.ubuntu.com/ubuntu keyring=ubuntu-archive-keyring ;;
    *) mirror=http://deb.debian.org/debian keyring=debian-archive-keyring ;;
esac
rm -rf "$here"
mkdir -p "$here/lists/partial" "$here/$version"
cd "$here/$version"
suites="$VERSION_CODENAME $VERSION_CODENAME-updates"
case $version in *~bpo*) suites="$suites $VERSION_CODENAME-backports" ;; esac
for suite in $suites; do
    echo "deb-src [signed-by=/usr/share/keyrings/$keyring.gpg] $mirror $suite main"
done >"$here/sources.list"
apt() {
    apt-get -qq -o Dir::Etc::SourceList="$here/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$here/lists" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root "$@" >&2
}
apt update
apt source --download-only "fuse3=$version"
tar -xf fuse3_*.orig.tar.*z --strip-components=1
g++ -O2 -std=c++17 -w example/passthrough_hp.cc $(pkg-config --cflags --libs fuse3) -o "$here/passthrough_hp.new"
# What is needed is the program alone.
rm -rf "$here/lists" "$here/$version"
mkdir "$here/$version"
mv "$here/passthrough_hp.new" "$here/$version/passthrough_hp"
echo "$here/$version/passthrough_hp"
