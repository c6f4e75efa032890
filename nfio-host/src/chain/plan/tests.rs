use super::super::graph::{Member, Node};
use super::*;

fn graph(start: &[usize], nodes: &[(&[&str], &[usize])]) -> Graph {
    let member = |name: &&str| Member { ty: "firewall".into(), name: (*name).into(), id: String::new() };
    let nodes = nodes.iter().enumerate().map(|(number, (members, next))| Node {
        name: format!("n{number}"),
        next: next.to_vec(),
        members: members.iter().map(member).collect(),
    });
    Graph { start: start.to_vec(), nodes: nodes.collect() }
}

fn planned(graph: &Graph) -> Plan {
    let addresses: Vec<_> = (0..count(graph)).map(|n| Ipv4Addr::new(10, 204, 0, 2 * n as u8)).collect();
    Plan::new(graph, &[], "0123abcd", &addresses)
}

fn shape(interface: Option<&str>, third: u8) -> Shape {
    let network = Network { address: Ipv4Addr::new(192, 0, third, 0), prefix: 24 };
    Shape { interface: interface.map(str::to_owned), networks: vec![network] }
}

/// A route as `TABLE TO VIA`, for people.
fn told(plan: &Plan, place: Place, ingress: &Shape, egress: &Shape) -> Vec<String> {
    let name = |way: &usize| plan.hops[*way].side(place).unwrap().name.clone();
    let route = |route: Route| {
        let to = route.to.map_or("all".into(), |to| format!("{}/{}", to.address, to.prefix));
        let via: Vec<_> = route.via.iter().map(name).collect();
        format!("{:?} {to} {}{}", route.table, via.join(","), if route.direct { " direct" } else { "" })
    };
    plan.routes(place, ingress, egress).into_iter().map(route).collect()
}

#[test]
fn a_line_of_two_has_three_hops_and_every_packet_goes_on_by_where_it_came_in() {
    let plan = planned(&graph(&[0], &[(&["a"], &[1]), (&["b"], &[])]));
    let sides: Vec<_> = plan
        .hops
        .iter()
        .map(|hop| (hop.from.name.as_str(), hop.from.address.to_string(), hop.to.name.as_str()))
        .collect();
    assert_eq!(
        sides,
        [
            ("nfc0123abcdi0", "10.204.0.0".to_owned(), "in0"),
            ("out0", "10.204.0.2".to_owned(), "in0"),
            ("out0", "10.204.0.4".to_owned(), "nfc0123abcde0")
        ]
    );
    assert_eq!(plan.hops[1].to.address, Ipv4Addr::new(10, 204, 0, 3));
    let (ingress, egress) = (shape(None, 1), shape(None, 2));
    let rules = plan.rules(Place::Member(0), &ingress, &egress);
    assert_eq!(rules, [("in0".to_owned(), Table::Forward), ("out0".to_owned(), Table::Back)]);
    assert_eq!(
        told(&plan, Place::Member(0), &ingress, &egress),
        [
            "Forward 10.204.0.2/31 out0 direct",
            "Forward 10.204.0.4/31 out0",
            "Forward all out0",
            "Main 10.204.0.4/31 out0",
            "Main 192.0.2.0/24 out0",
            "Back 10.204.0.0/31 in0 direct",
            "Back all in0",
            "Main 192.0.1.0/24 in0",
        ]
    );
    assert_eq!(
        told(&plan, Place::Ingress, &ingress, &egress),
        [
            "Main 10.204.0.2/31 nfc0123abcdi0",
            "Main 10.204.0.4/31 nfc0123abcdi0",
            "Main 192.0.2.0/24 nfc0123abcdi0",
            "Main all nfc0123abcdi0",
        ]
    );
    assert!(!told(&plan, Place::Egress, &ingress, &egress).iter().any(|route| route.contains(" all ")));
    assert!(!plan.shares(Place::Ingress) && plan.rules(Place::Egress, &ingress, &egress).is_empty());
}

#[test]
fn an_interface_as_an_end_gets_a_rule_and_a_table_and_nothing_in_the_main_one() {
    let plan = planned(&graph(&[0], &[(&["a"], &[])]));
    let (ingress, egress) = (shape(Some("lan"), 1), shape(Some("wan"), 2));
    assert_eq!(plan.rules(Place::Ingress, &ingress, &egress), [("lan".to_owned(), Table::Forward)]);
    assert_eq!(plan.rules(Place::Egress, &ingress, &egress), [("wan".to_owned(), Table::Back)]);
    assert_eq!(
        told(&plan, Place::Egress, &ingress, &egress),
        [
            "Back 10.204.0.2/31 nfc0123abcde0 direct",
            "Back 10.204.0.0/31 nfc0123abcde0",
            "Back all nfc0123abcde0"
        ]
    );
}

#[test]
fn instances_that_share_a_node_are_met_by_all_neighbours_and_their_own_addresses_lead_to_them_alone() {
    // n0 has one instance, n1 two, n2 one.
    let plan = planned(&graph(&[0], &[(&["a"], &[1]), (&["b", "c"], &[2]), (&["d"], &[])]));
    assert_eq!(plan.hops.len(), 6);
    assert!(plan.shares(Place::Member(0)) && plan.shares(Place::Member(3)) && !plan.shares(Place::Member(1)));
    let routes = told(&plan, Place::Member(3), &shape(None, 1), &shape(None, 2));
    for route in [
        "Back all in0,in1",
        // Between a and b, and between a and c: each by its own way.
        "Back 10.204.0.2/31 in0",
        "Back 10.204.0.4/31 in1",
        // Between the ingress and a: by either.
        "Back 10.204.0.0/31 in0,in1",
    ] {
        assert!(routes.iter().any(|told| told == route), "{route} in {routes:?}");
    }
}

#[test]
fn two_ways_that_join_again_share_the_traffic() {
    let plan = planned(&graph(&[0], &[(&["a"], &[1, 2]), (&["b"], &[3]), (&["c"], &[3]), (&["d"], &[])]));
    let routes = told(&plan, Place::Member(0), &shape(None, 1), &shape(None, 2));
    assert!(routes.contains(&"Forward all out0,out1".to_owned()), "{routes:?}");
    let routes = told(&plan, Place::Member(3), &shape(None, 1), &shape(None, 2));
    assert!(routes.contains(&"Back all in0,in1".to_owned()), "{routes:?}");
}

#[test]
fn names_fit_the_kernels_fifteen_bytes() {
    let names: Vec<String> = (0..300).map(|n| format!("m{n:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let graph = graph(&[0], &[(&names, &[])]);
    let addresses = vec![Ipv4Addr::new(10, 0, 0, 0); count(&graph)];
    let plan = Plan::new(&graph, &[0, 299], "0123abcd", &addresses);
    let fits = |name: &String| name.len() <= 15;
    for hop in &plan.hops {
        let names = [&hop.from.name, &hop.from.port, &hop.to.name, &hop.to.port];
        assert!(names.into_iter().chain(&hop.bridge).all(fits), "{hop:?}");
    }
    // A machine is a bridge away from each of its neighbours, and no other is.
    let bridged: Vec<_> = plan.hops.iter().filter_map(|hop| hop.bridge.as_deref()).collect();
    assert_eq!(bridged, ["nfb0123abcd0", "nfb0123abcd12b", "nfb0123abcd12c", "nfb0123abcd257"]);
}
