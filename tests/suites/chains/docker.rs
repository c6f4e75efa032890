//! Chains of containers of the Docker Engine: of this machine's, and not of another's.

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
