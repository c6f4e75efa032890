//! Chains of containers of the Docker Engine: of this machine's, and not of another's.

use super::restarts::{FORBIDDEN, Flood, arrived, count};
use super::{SERVER, ends, running, without};
use nfio_tests::{Engine, Mounted, errno, eventually};

#[test]
fn containers_are_wired_alike_and_one_that_docker_restarts_comes_back_with_links_and_rules() {
    let engine = Engine::local();
    let mounted = Mounted::on(engine.by_socket());
    let (client, server) = ends();
    let (a, b) = (running(&mounted, "chained-a"), running(&mounted, "chained-b"));
    b.put("config/nf_conf", &without(81));
    b.act("reload");
    let before = (client.state(), server.state());
    let nodes: [(&str, &[&nfio_tests::Instance], &[&str]); 2] =
        [("one", &[&a], &["two"]), ("two", &[&b], &[])];
    let chain = mounted.chain("edge", [&client.end(), &server.end()], &nodes);
    chain.act("activate");
    let _servers = (server.serve(80), server.serve(81));
    assert!(client.asks(SERVER, 80).is_some());
    assert_eq!(client.asks(SERVER, 81), None);
    engine.docker(&["restart", "root-firewall-chained-b"]);
    eventually("traffic resumes", || client.asks(SERVER, 80).is_some());
    assert_eq!(client.asks(SERVER, 81), None);
    eventually("the chain is whole", || chain.status() == "running");
    chain.act("destroy");
    assert_eq!((client.state(), server.state()), before);
}

#[test]
fn a_container_that_ended_or_was_restarted_while_nfio_was_away_has_links_and_rules_before_it_forwards() {
    let engine = Engine::local();
    let mounted = Mounted::on(engine.by_socket());
    let (client, server) = ends();
    let (a, b) = (running(&mounted, "away-a"), running(&mounted, "away-b"));
    b.put("config/nf_conf", &without(FORBIDDEN).replace("tcp", "udp"));
    b.act("reload");
    let before = (client.state(), server.state());
    let nodes: [(&str, &[&nfio_tests::Instance], &[&str]); 2] =
        [("one", &[&a], &["two"]), ("two", &[&b], &[])];
    let chain = mounted.chain("edge", [&client.end(), &server.end()], &nodes);
    chain.act("activate");
    count(&server);
    let _server = server.serve(80);
    let _flood = Flood::from(&client);
    eventually("the flood is dropped", || b.counter("pkt_drops") > 100);
    for (what, name) in [
        (&["restart", "--time", "0"][..], "root-firewall-away-b"),
        (&["kill"], "root-firewall-away-b"),
        // The one in front of it: what has no rules of its own gets its links back too.
        (&["restart", "--time", "0"], "root-firewall-away-a"),
    ] {
        mounted.kill();
        engine.docker(&[what, &[name]].concat());
        // Nobody gives it links without nfio, and the kernel takes its time until those of a guest that ended are gone.
        eventually("traffic stops", || client.asks_within(SERVER, 80, 0.2).is_none());
        // What the kernel lets pass while it takes a namespace apart that nobody holds is no matter of the remount.
        let gone = arrived(&server);
        mounted.mount();
        eventually("the chain is whole", || chain.status() == "running");
        assert!(client.asks(SERVER, 80).is_some(), "whole means that traffic passes: {what:?}");
        eventually("the flood is dropped again", || b.counter("pkt_drops") > 100);
        assert_eq!(arrived(&server), gone, "forbidden packets that passed: {what:?}");
    }
    // The counter does count.
    b.put("config/nf_conf", "table inet filter {\n}\n");
    b.act("reload");
    let before_it = arrived(&server);
    eventually("without the rule they arrive", || arrived(&server) > before_it);
    chain.act("destroy");
    server.sh("nft delete table inet count");
    assert_eq!((client.state(), server.state()), before);
}

#[test]
fn a_container_that_is_removed_while_nfio_is_away_is_told_and_the_chain_can_be_taken_away() {
    let engine = Engine::local();
    let mounted = Mounted::on(engine.by_socket());
    let (client, server) = ends();
    let (a, b) = (running(&mounted, "lost-a"), running(&mounted, "lost-b"));
    let before = (client.state(), server.state());
    let nodes: [(&str, &[&nfio_tests::Instance], &[&str]); 2] =
        [("one", &[&a], &["two"]), ("two", &[&b], &[])];
    let chain = mounted.chain("edge", [&client.end(), &server.end()], &nodes);
    chain.act("activate");
    mounted.kill();
    engine.docker(&["rm", "--force", "root-firewall-lost-b"]);
    mounted.mount();
    eventually("the chain says so", || chain.status().starts_with("degraded: two (firewall/lost-b is "));
    assert!(!client.reaches(SERVER));
    // What is left is taken away, whole.
    chain.act("destroy");
    assert_eq!((client.state(), server.state()), before);
    assert_eq!(errno(chain.try_act("activate")), libc::EHOSTDOWN);
    // The instance's next guest takes the place.
    b.act("destroy");
    b.act("activate");
    chain.act("activate");
    assert!(client.reaches(SERVER));
}

#[test]
fn a_guest_of_another_host_is_refused_in_a_sentence() {
    let mounted = Mounted::on(Engine::remote().by_tls());
    let (client, server) = ends();
    let far = running(&mounted, "far");
    let chain = mounted.chain("edge", [&client.end(), &server.end()], &[("one", &[&far], &[])]);
    assert_eq!(errno(chain.try_act("activate")), libc::EOPNOTSUPP);
    let told = chain.get("last_error");
    assert!(told.contains("service chains connect guests of this machine only"), "{told}");
    assert_eq!(chain.status(), "undeployed");
}
