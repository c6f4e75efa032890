//! A NAT between two networks: real connections cross it, and each server tells whom it sees.

use nfio_tests::{Instance, Mounted, errno, eventually, first_process};
use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

/// A server's answer: the address of its client.
const WHO: &str = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n%s\\n' \"$REMOTE_ADDR\"\n";

const SERVER: &str = "\
command = [\"httpd\", \"-f\", \"-p\", \"80\", \"-h\", \"/srv\"]
[[file]]
source = \"who\"
target = \"/srv/cgi-bin/who\"
mode = 0o755
";

/// Addresses in the outer network: the NAT's and the outer server's.
const NAT: &str = "192.0.2.1";
const OUTER: &str = "192.0.2.2";

/// Two web servers that are clients too, and the NAT between them. The inner one is on nfio's bridge; the outer one is
/// on a link of its own with the NAT and would answer the inner network by way of that, translated or not.
struct Networks {
    nat: Instance,
    inner: Instance,
    outer: Instance,
    // Dropped last: it destroys the guests.
    _mounted: Mounted,
}

impl Networks {
    #[track_caller]
    fn new() -> Self {
        let mounted = Mounted::new();
        let nat = mounted.made("nat", "nat-a");
        nat.act("activate");
        let (inner, outer) = (server(&mounted, "inner"), server(&mounted, "outer"));
        let netns = |instance| first_process(&mounted.guest(instance)).to_string();
        let (near, far) = (netns(&nat), netns(&outer));
        let link = format!("ip link add wan netns {near} type veth peer wan netns {far}");
        let done = Command::new("sh").args(["-c", &link]).output().expect("sh");
        assert!(done.status.success(), "{link}: {}", String::from_utf8_lossy(&done.stderr));
        nat.run(&format!("ip address add {NAT}/24 dev wan && ip link set wan up"));
        outer.run("ip link set eth0 down");
        outer.run(&format!("ip address add {OUTER}/24 dev wan && ip link set wan up"));
        outer.run(&format!("ip route add 10.203.0.0/16 via {NAT}"));
        inner.run(&format!("ip route add 192.0.2.0/24 via {}", nat.address()));
        Self { nat, inner, outer, _mounted: mounted }
    }

    #[track_caller]
    fn configure(&self, nf_conf: &str) {
        self.nat.put("config/nf_conf", nf_conf);
        self.nat.act("reload");
        assert_eq!(self.translations(), 0, "since configure");
    }

    #[track_caller]
    fn translations(&self) -> u64 {
        self.nat.counter("translations")
    }
}

/// A guest that serves.
#[track_caller]
fn server(mounted: &Mounted, name: &str) -> Instance {
    let server = mounted.firewall(name);
    server.put("config/who", WHO);
    server.put("config/boot.conf", SERVER);
    server.act("activate");
    eventually("the server listens", || seen(&server, "127.0.0.1", 80) == "127.0.0.1");
    server
}

/// Makes one connection and answers whom the server sees; empty: it did not come about.
#[track_caller]
fn seen(client: &Instance, server: &str, port: u16) -> String {
    // Not wget: Debian's static busybox crashes when it looks up the port of http.
    let request = "printf 'GET /cgi-bin/who HTTP/1.0\\r\\n\\r\\n'";
    let answer = client.run(&format!("({request} | timeout 20 nc {server} {port} | tail -n 1) 2>/dev/null"));
    // The server's socket is one of IPv6: it sees addresses of IPv4 mapped.
    answer.trim_start_matches("[").trim_start_matches("::ffff:").trim_end_matches("]").to_owned()
}

#[test]
fn a_masquerade_hides_the_client_and_each_connection_is_counted_once() {
    let net = Networks::new();
    let inner = net.inner.address().to_string();
    assert_eq!(seen(&net.inner, OUTER, 80), inner, "without a NAT");
    net.configure("masquerade out wan\n");
    for connections in 1..=3 {
        assert_eq!(seen(&net.inner, OUTER, 80), NAT);
        assert_eq!(net.translations(), connections);
    }
    assert_eq!(seen(&net.nat, OUTER, 80), NAT, "the guest's own");
    assert_eq!(net.translations(), 3, "which needs no translation");
    net.configure("");
    assert_eq!(seen(&net.inner, OUTER, 80), inner, "an emptied nf_conf takes the NAT away");
}

#[test]
fn a_forward_reaches_the_server_behind_it_which_sees_the_client() {
    let net = Networks::new();
    let (nat, inner) = (net.nat.address().to_string(), net.inner.address());
    net.configure(&format!(
        "masquerade out wan from 10.203.0.0/16\nforward tcp 8080 to {inner}:80\nforward tcp 80-81 on wan to {inner}\n"
    ));
    assert_eq!(seen(&net.outer, NAT, 8080), OUTER);
    assert_eq!(net.translations(), 1);
    assert_eq!(seen(&net.outer, NAT, 80), OUTER, "a range keeps its ports");
    assert_eq!(net.translations(), 2);
    assert_eq!(seen(&net.inner, &nat, 80), "", "what did not come in there is not forwarded");
    assert_eq!(net.translations(), 2);
    // By way of the guest and back: forwarded, and masqueraded so that the answer comes back through it.
    assert_eq!(seen(&net.inner, &nat, 8080), nat);
    assert_eq!(net.translations(), 4);
    // Somebody else's port of that number is somebody else's: this one is closed.
    assert_eq!(seen(&net.inner, OUTER, 8080), "");
    assert_eq!(net.translations(), 5, "masqueraded alone");
}

#[test]
fn ipv6_is_translated_alike() {
    let net = Networks::new();
    let (nat, outer, inner) = ("2001:db8:2::1", "2001:db8:2::2", "2001:db8:1::2");
    // By its path: the shell of the image prefers busybox's own ip, which does not know nodad.
    let add = |guest: &Instance, address: &str, device| {
        guest.run(&format!("/usr/sbin/ip address add {address}/64 dev {device} nodad"));
    };
    add(&net.nat, "2001:db8:1::1", "eth0");
    add(&net.nat, nat, "wan");
    add(&net.outer, outer, "wan");
    add(&net.inner, inner, "eth0");
    net.inner.run("ip -6 route add 2001:db8:2::/64 via 2001:db8:1::1");
    net.configure(&format!(
        "masquerade out wan from 2001:db8:1::/64\nforward tcp 8080 on wan to [{inner}]:80\n"
    ));
    assert_eq!(seen(&net.inner, outer, 80), nat);
    assert_eq!(net.translations(), 1);
    assert_eq!(seen(&net.outer, nat, 8080), outer);
    assert_eq!(net.translations(), 2);
}

#[test]
fn with_one_interface_a_masquerade_of_everything_makes_a_forward_work() {
    let mounted = Mounted::new();
    let nat = mounted.made("nat", "nat-a");
    let server = server(&mounted, "server");
    nat.put("config/nf_conf", &format!("masquerade\nforward tcp 8080 to {}:80\n", server.address()));
    nat.act("activate");
    let client = mounted.firewall("client");
    client.act("activate");
    let address = nat.address().to_string();
    assert_eq!(seen(&client, &address, 8080), address);
    nat.act("restart");
    assert_eq!(nat.counter("translations"), 0);
    assert_eq!(seen(&client, &address, 8080), address, "and again after a restart");
    assert_eq!(nat.counter("translations"), 2, "one forward, one masquerade");
}

#[test]
fn datagrams_and_their_answers_are_one_connection_however_many_they_are() {
    let mounted = Mounted::new();
    let nat = mounted.made("nat", "nat-a");
    nat.act("activate");
    let client = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    client.connect((nat.address(), 5353)).expect("connect");
    // Both ends are ours: the host's address on the bridge.
    let server = UdpSocket::bind((client.local_addr().expect("an address").ip(), 0)).expect("a socket");
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
    }
    let target = server.local_addr().expect("an address");
    nat.put("config/nf_conf", &format!("masquerade\nforward udp 5353 to {target}\n"));
    nat.act("reload");
    let mut buffer = [0; 16];
    for _ in 0..3 {
        client.send(b"question").expect("send");
        let (length, peer) = server.recv_from(&mut buffer).expect("the question");
        assert_eq!((&buffer[..length], peer.ip()), (&b"question"[..], nat.address()));
        server.send_to(b"answer", peer).expect("send");
        let length = client.recv(&mut buffer).expect("the answer");
        assert_eq!(&buffer[..length], b"answer");
    }
    assert_eq!(nat.counter("translations"), 2, "one forward, one masquerade");
}

#[test]
fn a_refused_nf_conf_leaves_the_running_nat_as_it_was() {
    let net = Networks::new();
    net.configure("masquerade out wan\n");
    assert_eq!(seen(&net.inner, OUTER, 80), NAT);
    let rules = net.nat.get("stats/rules");
    for (nf_conf, told) in [
        ("masquerade out wan\nforward tcp http to 10.0.0.1\n", "nf_conf:2: \"http\" is no port"),
        ("masquerade out wan; flush ruleset\n", "nf_conf:1: \"wan;\" is no interface"),
        ("table ip x {\n  chain c {\n    masqerade\n  }\n}\n", "nf_conf:3:"),
    ] {
        net.nat.put("config/nf_conf", nf_conf);
        assert_eq!(errno(net.nat.try_act("reload")), libc::EINVAL, "{nf_conf}");
        let error = net.nat.get("last_error");
        assert!(error.contains("error: VNFConfigurationError\n") && error.contains(told), "{error}");
        assert_eq!(net.nat.get("stats/rules"), rules, "counters and all");
    }
    assert_eq!(seen(&net.inner, OUTER, 80), NAT);
    assert_eq!(net.translations(), 2);
}

#[test]
fn a_plain_ruleset_does_the_same_and_is_counted_without_counters_of_its_own() {
    let net = Networks::new();
    net.configure(&format!(
        "flush ruleset
table ip mine {{
    chain out {{
        type nat hook postrouting priority srcnat
        oifname wan ct status dnat accept
        oifname wan masquerade
    }}
    chain in {{
        type nat hook prerouting priority dstnat
        iifname wan tcp dport 8080 dnat to {}:80
    }}
}}
",
        net.inner.address()
    ));
    assert_eq!(seen(&net.inner, OUTER, 80), NAT);
    assert_eq!(net.translations(), 1);
    assert_eq!(seen(&net.outer, NAT, 8080), OUTER);
    assert_eq!(net.translations(), 2);
    // Lines of our own take the place of the ruleset.
    net.configure("masquerade from 10.203.0.0/16\n");
    assert_eq!(seen(&net.outer, NAT, 8080), "");
    assert_eq!(seen(&net.inner, OUTER, 80), NAT);
    assert_eq!(net.translations(), 1);
}
