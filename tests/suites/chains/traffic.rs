//! Packets go the way that the links draw, there and back.

use super::{CLIENT, SERVER, ends, running, without};
use nfio_tests::{Mounted, state_of};
use std::process::Command;

#[test]
fn packets_pass_every_node_there_and_back_and_rules_hold() {
    let mounted = Mounted::new();
    let (client, server) = ends();
    let (a, b, nat) = (running(&mounted, "a"), running(&mounted, "b"), mounted.made("nat", "nat"));
    b.put("config/nf_conf", &without(81));
    b.act("reload");
    nat.put("config/nf_conf", "masquerade out out0\n");
    nat.act("activate");
    let before = (client.state(), server.state(), b.run(&state_of()));
    let chain = mounted.chain(
        "edge",
        [&client.end(), &server.end()],
        &[("first", &[&a], &["second"]), ("second", &[&b], &["last"]), ("last", &[&nat], &[])],
    );
    assert_eq!(chain.status(), "undeployed");
    assert!(!client.reaches(SERVER));
    chain.act("activate");
    assert_eq!((chain.status().as_str(), chain.get("last_error").as_str()), ("running", ""));

    let _servers = (server.serve(80), server.serve(81));
    let received = |instance: &nfio_tests::Instance| instance.counter("rx_bytes");
    let counted = [&a, &b, &nat].map(received);
    let seen = client.asks(SERVER, 80).expect("an answer");
    assert!(seen.starts_with("10.204.") && seen != CLIENT, "the server sees the NAT: {seen}");
    assert_eq!(nat.counter("translations"), 1);
    for (instance, before) in [&a, &b, &nat].into_iter().zip(counted) {
        assert!(received(instance) > before, "{} saw it", instance.name());
    }
    assert_eq!(client.asks(SERVER, 81), None, "the second node drops it");
    assert!(b.counter("pkt_drops") >= 1);
    let drops = [&a, &b].map(|fw| fw.counter("pkt_drops")).iter().sum::<u64>() + nat.counter("pkt_drops");
    assert_eq!(chain.get("totals/drops"), drops.to_string());
    let total = |name: &str| chain.get(&format!("totals/{name}")).parse::<u64>().expect("a number");
    assert!(total("ingress_bytes") > total("egress_bytes") && total("egress_bytes") > 0);

    chain.act("destroy");
    assert_eq!(chain.status(), "undeployed");
    assert_eq!((client.state(), server.state(), b.run(&state_of())), before, "exactly what was made is gone");
    assert!(!client.reaches(SERVER));
    // A chain can be activated again.
    chain.act("running");
    assert!(client.asks(SERVER, 80).is_some());
    chain.act("undeployed");
}

#[test]
fn an_interface_and_a_bridge_are_ends_too() {
    let mounted = Mounted::new();
    let (client, server) = ends();
    let a = running(&mounted, "a");
    let script = format!(
        "echo 1 > /proc/sys/net/ipv4/ip_forward
         ip link add lan9 type veth peer name up9 netns {0}
         ip link add wan9 type bridge && ip link add port9 master wan9 type veth peer name up9 netns {1}
         ip link set port9 up
         ip address add 192.0.2.1/24 dev lan9 && ip link set lan9 up
         ip address add 198.51.100.1/24 dev wan9 && ip link set wan9 up",
        client.end().trim_start_matches("netns:"),
        server.end().trim_start_matches("netns:"),
    );
    let sh = |script: &str| {
        let done = Command::new("sh").args(["-ec", script]).output().expect("sh");
        assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("UTF-8")
    };
    sh(&script);
    client.sh("ip address add 192.0.2.10/24 dev up9; ip link set up9 up; ip route add default via 192.0.2.1");
    server.sh(
        "ip address add 198.51.100.10/24 dev up9; ip link set up9 up; ip route add default via 198.51.100.1",
    );
    let _server = server.serve(80);
    let rules = sh("ip rule show");
    let chain = mounted.chain("edge", ["lan9", "wan9"], &[("fw", &[&a], &[])]);
    chain.act("activate");
    let before = a.counter("rx_bytes");
    assert_eq!(client.asks(SERVER, 80).as_deref(), Some(CLIENT));
    // Both directions went through the guest: request and answer are more than a handshake of one side.
    assert!(a.counter("rx_bytes") - before > 400, "{}", a.counter("rx_bytes") - before);
    a.put("config/nf_conf", &without(80));
    a.act("reload");
    assert_eq!(client.asks(SERVER, 80), None);
    chain.act("destroy");
    assert_eq!(sh("ip rule show"), rules);
    assert_eq!(client.asks(SERVER, 80).as_deref(), Some(CLIENT), "the machine's own way is what it was");
    sh("ip link delete lan9; ip link delete wan9; ip link delete port9");
}
