//! Several instances at a node, and several ways, share the load by flow: a connection stays with who has seen its first
//! packet, there and back.

use super::{SERVER, ends, running};
use nfio_tests::{Instance, Mounted};

/// Passes what belongs to connections whose first packet it has seen, and nothing else.
const STATEFUL: &str = "table inet filter {
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname \"in*\" ct state new accept
  }
}
";

#[test]
fn instances_of_a_node_share_the_connections_and_each_keeps_its_own() {
    let mounted = Mounted::new();
    let (client, server) = ends();
    let (first, last) = (running(&mounted, "first"), running(&mounted, "last"));
    let shared: Vec<Instance> = ["a", "b", "c"].map(|name| running(&mounted, name)).into();
    for firewall in &shared {
        firewall.put("config/nf_conf", STATEFUL);
        firewall.act("reload");
    }
    let [a, b, c] = &shared[..] else { unreachable!("three") };
    let chain = mounted.chain(
        "edge",
        [&client.end(), &server.end()],
        &[("in", &[&first], &["mid"]), ("mid", &[a, b, c], &["out"]), ("out", &[&last], &[])],
    );
    chain.act("activate");
    let _server = server.serve(80);
    let before: Vec<u64> = shared.iter().map(|fw| fw.counter("rx_bytes")).collect();
    let script = format!(
        "import socket\nfor n in range(60):\n  s = socket.create_connection(('{SERVER}', 80), timeout=5)\n  \
         assert s.recv(64)\n  s.close()\n"
    );
    // Were one of them to come back another way, it would be dropped.
    client.sh(&format!("python3 -c \"{script}\""));
    for (firewall, before) in shared.iter().zip(before) {
        assert!(firewall.counter("rx_bytes") - before > 1000, "{} has its share", firewall.name());
        assert_eq!(firewall.counter("pkt_drops"), 0, "{}", firewall.name());
    }

    // One of them goes: the others take its share, and the chain says so.
    a.act("stop");
    assert_eq!(chain.status(), "degraded: mid (firewall/a is exited)");
    client.sh(&format!("python3 -c \"{script}\""));
    a.act("start");
    assert_eq!(chain.status(), "running");
    let before = a.counter("rx_bytes");
    client.sh(&format!("python3 -c \"{script}\""));
    assert!(a.counter("rx_bytes") > before, "it has its share again");
}

#[test]
fn several_next_links_are_several_ways_that_join_again() {
    let mounted = Mounted::new();
    let (client, server) = ends();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| running(&mounted, name));
    for firewall in [&b, &c] {
        firewall.put("config/nf_conf", STATEFUL);
        firewall.act("reload");
    }
    let chain = mounted.chain(
        "edge",
        [&client.end(), &server.end()],
        &[
            ("split", &[&a], &["left", "right"]),
            ("left", &[&b], &["join"]),
            ("right", &[&c], &["join"]),
            ("join", &[&d], &[]),
        ],
    );
    chain.act("activate");
    let _server = server.serve(80);
    let before = [&b, &c].map(|fw| fw.counter("rx_bytes"));
    for _ in 0..24 {
        assert!(client.asks(SERVER, 80).is_some());
    }
    for (firewall, before) in [&b, &c].into_iter().zip(before) {
        assert!(firewall.counter("rx_bytes") > before, "{} is one of the ways", firewall.name());
    }
}
