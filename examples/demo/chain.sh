#!/usr/bin/env bash
# `make demo-chain`: directories and links become a service chain. client -> firewall -> ids -> nat -> server, real guests
# and real packets, in namespaces of its own. Nothing is left behind but packages, the build and target/chain.svg.
set -eu
cd "$(dirname "$0")/../.."
testbed=tests/testbed

if [ "${1:-}" != --inside ]; then
    sh $testbed/packages.sh nft=nftables ip=iproute2 busybox=busybox-static ping=iputils-ping unshare=util-linux \
        mmdebstrap=mmdebstrap pkg-config=pkg-config pkg-config:libvirt=libvirt-dev
    make --no-print-directory build
    # The image of the IDS: inside there is no network to fetch its packages from.
    sh $testbed/images.sh suricata
    built=$(readlink -f "${CARGO_TARGET_DIR:-target}/release")
    export PATH="$built:$PATH"
    exec sh $testbed/enter.sh bash examples/demo/chain.sh --inside
fi

. examples/demo/shown.sh

# Ends the demo unless a text has a word.
expect() {
    case $1 in *"$2"*) ;; *) echo "demo: expected $2, got: $1" >&2; exit 1 ;; esac
}

# A command in the client's namespace, and a page fetched from there.
client() { nsenter --net=/run/netns/client "$@"; }
fetch() {
    printf 'GET %s HTTP/1.0\r\n\r\n' "$2" | client timeout 5 busybox nc 198.51.100.10 "$1" | sed 1,/^.$/d | grep .
}

repository=$PWD
target=$(readlink -f "${CARGO_TARGET_DIR:-target}")
say "A client and a server: two network namespaces that know nothing of each other."
run 'ip netns add client; ip netns add server'
run 'ip -n client address add 192.0.2.10/32 dev lo; ip -n client link set lo up'
run 'ip -n server address add 198.51.100.10/32 dev lo; ip -n server link set lo up'
mkdir -p /run/demo/www/cgi-bin
cat >/run/demo/www/cgi-bin/who <<'END'
#!/bin/sh
# The server's socket is one of IPv6: it sees addresses of IPv4 mapped.
address=${REMOTE_ADDR#*::ffff:}
printf 'Content-Type: text/plain\r\n\r\nYou are %s.\n' "${address%]}"
END
printf '#!/bin/sh\nprintf "Content-Type: text/plain\\r\\n\\r\\nThe secret.\\n"\n' >/run/demo/www/cgi-bin/secret
chmod 755 /run/demo/www/cgi-bin/*
for port in 80 81; do
    nsenter --net=/run/netns/server busybox httpd -f -p $port -h /run/demo/www &
done
fails 'fetch 80 /cgi-bin/who'

say "Three guests: directories, as ever."
run sh examples/images/busybox.sh /run/demo/images/firewall
run mkdir /run/demo/root /run/demo/mnt
run nfio mount --hypervisor Oci --module-root plugins /run/demo/root /run/demo/mnt
run cd /run/demo/mnt/nf-types
run mkdir firewall/fw-a ids/ids-a nat/nat-a
run 'for guest in firewall/fw-a ids/ids-a nat/nat-a; do echo 127.0.0.1 > $guest/machine/ip; echo /run/demo/images/firewall > $guest/machine/vm.image; done'
run "echo $target/images/suricata > ids/ids-a/machine/vm.image"
run "printf '%s\n' 'table inet filter {' '  chain forward {' '    type filter hook forward priority 0; policy accept;' '    tcp dport 81 drop' '  }' '}' > firewall/fw-a/config/nf_conf"
run "echo 'alert http any any -> any any (msg:\"secret asked for\"; http.uri; content:\"/secret\"; sid:1000001; rev:1;)' > ids/ids-a/config/nf_conf"
run "echo 'masquerade out out0' > nat/nat-a/config/nf_conf"
run 'for guest in firewall/fw-a ids/ids-a nat/nat-a; do echo activate > $guest/action; done'
run 'cat */*/status'

say "The chain: mkdir and ln -s."
run cd ../chns
run mkdir edge edge/fw edge/ids edge/nat
run 'ln -s ../../../nf-types/firewall/fw-a edge/fw/'
run 'ln -s ../../../nf-types/ids/ids-a edge/ids/'
run 'ln -s ../../../nf-types/nat/nat-a edge/nat/'
run 'ln -s fw edge/start; ln -s ../ids edge/fw/next; ln -s ../nat edge/ids/next'
run 'echo netns:client > edge/ingress; echo netns:server > edge/egress'
run 'echo activate > edge/action'
run cat edge/status
expect "$(cat edge/status)" running

say "A page comes through, and the server sees the NAT's address, not the client's:"
run 'fetch 80 /cgi-bin/who'
expect "$(fetch 80 /cgi-bin/who)" 'You are 10.204.'

say "A request that the IDS has a rule for comes through too, and raises an alert:"
run 'fetch 80 /cgi-bin/secret'
for _ in $(seq 100); do
    if grep -q 'secret asked for' ../nf-types/ids/ids-a/alerts; then break; fi
    sleep 0.1
done
run 'grep -o "\"signature\":\"[^\"]*\"" ../nf-types/ids/ids-a/alerts | sort | uniq -c'
expect "$(cat ../nf-types/ids/ids-a/alerts)" 'secret asked for'

say "The firewall lets nothing to port 81, where the same server listens:"
fails 'fetch 81 /cgi-bin/who'
run cat ../nf-types/firewall/fw-a/stats/pkt_drops
[ "$(cat ../nf-types/firewall/fw-a/stats/pkt_drops)" -gt 0 ] || { echo "demo: nothing was dropped" >&2; exit 1; }

say "What the chain has dropped as a whole; and which chains a firewall is part of:"
run "cd ..; find -L chns/edge -name pkt_drops ! -path '*/next/*' ! -path '*/start/*' | xargs cat | awk '{t+=\$1} END {print t}'"
run "find chns -lname '*/firewall/fw-a'; cd chns"
run 'head edge/totals/*'

say "The firewall is started again: its links and its rules are back before it forwards."
run 'echo restart > ../nf-types/firewall/fw-a/action; cat edge/status'
expect "$(cat edge/status)" running
run 'fetch 80 /cgi-bin/who'
fails 'fetch 81 /cgi-bin/who'

say "The chain as a picture:"
run cat edge/topology.dot
run "cp edge/topology.svg $target/chain.svg"
expect "$(cat "$target/chain.svg")" '</svg>'

say "And away again:"
run 'echo destroy > edge/action; cat edge/status'
fails 'fetch 80 /cgi-bin/who'
run 'for guest in ../nf-types/*/*/; do echo destroy > $guest/action; done'
run 'rm -r edge; rmdir ../nf-types/*/*/; find . ../nf-types -mindepth 2'
run 'cd /; nfio umount /run/demo/mnt'
kill %1 %2
cd "$repository"
say "Done. The picture: $target/chain.svg"
