use super::super::super::graph::{Graph, Node};
use super::super::super::plan::{Network, Shape, Table};
use super::*;

/// A machine, then two at one node.
fn plan() -> Plan {
    let member = |name: &str| Member { ty: "firewall".into(), name: name.into(), id: String::new() };
    let node = |names: &[&str], next| Node {
        name: names.concat(),
        next,
        members: names.iter().map(|name| member(name)).collect(),
    };
    let graph = Graph { start: vec![0], nodes: vec![node(&["a"], vec![1]), node(&["b", "c"], vec![])] };
    let addresses: Vec<_> = (0..5).map(|n| Ipv4Addr::new(10, 204, 0, 2 * n)).collect();
    Plan::new(&graph, &[0], "0123abcd", &addresses)
}

fn told(there: &[&str], values: &str) -> Vec<String> {
    let (plan, place) = (plan(), Place::Member(0));
    let shape = |third| Shape {
        interface: None,
        networks: vec![Network { address: Ipv4Addr::new(192, 0, third, 0), prefix: 24 }],
    };
    let (ingress, egress) = (shape(2), shape(3));
    let link = |side: &Side| Link {
        index: 1,
        hardware: hardware(side.address),
        is_up: true,
        bridge: Some(7),
        rx_bytes: 0,
        tx_bytes: 0,
    };
    let sides = plan.hops_of(place).filter_map(|(_, hop)| hop.side(place));
    let found = sides
        .filter(|side| there.contains(&side.name.as_str()))
        .map(|side| (side.name.clone(), link(side)))
        .collect();
    let wanted = Wanted {
        place,
        plan: &plan,
        found: &Found(found),
        base: 100,
        routes: plan.routes(place, &ingress, &egress),
        rules: plan.rules(place, &ingress, &egress),
    };
    assert!(wanted.rules.contains(&("out1".into(), Table::Back)));
    lines(&wanted, &Values::parse(values)).lines().map(str::to_owned).collect()
}

#[test]
fn rules_come_before_links_and_routes_last() {
    let values = "net/ipv4/fib_multipath_hash_policy:0\nnet/ipv4/conf/all/rp_filter:0\n";
    let lines = told(&["in0", "out0", "out1"], values);
    assert_eq!(
        lines[..8],
        [
            "ip route replace blackhole default table 100 metric 8192 proto 110",
            "ip route replace blackhole default table 101 metric 8192 proto 110",
            "rule in0 100",
            "rule out0 101",
            "rule out1 101",
            "set net/ipv4/fib_multipath_hash_policy 1",
            "link in0 02:43:0a:cc:00:01",
            "set net/ipv4/conf/in0/rp_filter 0",
        ]
    );
    let at = |words: &str| {
        lines.iter().position(|line| line == words).unwrap_or_else(|| panic!("{words} in {lines:#?}"))
    };
    let address = at("ip address replace 10.204.0.2/31 dev out0");
    let peer = at("ip neighbour replace 10.204.0.3 lladdr 02:43:0a:cc:00:03 dev out0 nud permanent");
    let up = at("ip link set dev out0 up");
    let shared = at(
        "ip route replace default table 100 metric 4096 proto 110 nexthop via 10.204.0.3 dev out0 nexthop via \
         10.204.0.5 dev out1",
    );
    assert!(at("link out1 02:43:0a:cc:00:04") < address && address < peer && peer < up && up < shared);
    at("ip route replace 192.0.2.0/24 table 254 metric 4096 proto 110 via 10.204.0.0 dev in0");
    at("ip route replace 10.204.0.2/31 table 100 metric 4096 proto 110 dev out0 scope link");
}

#[test]
fn what_is_not_there_is_led_past() {
    let lines = told(&["out1"], "");
    assert!(lines.contains(&"rule in0 100".to_owned()), "{lines:#?}");
    let default = "ip route replace default table 100 metric 4096 proto 110 via 10.204.0.5 dev out1";
    assert!(lines.contains(&default.to_owned()), "{lines:#?}");
    assert!(
        !lines.iter().any(|line| line.contains("dev out0") || line.starts_with("link in0")),
        "{lines:#?}"
    );
}
