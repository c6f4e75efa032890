//! The whole life cycle, on the engine of this machine and on others'.

use super::{RULES, listed};
use nfio_tests::{Engine, Mounted, Place};

fn whole(engine: &Engine, place: Place, name: &str) {
    let mounted = Mounted::on(place);
    let fw = mounted.firewall(name);
    assert_eq!(fw.status(), "undeployed");
    assert!(listed(engine, &mounted).is_empty());
    fw.act("activate");
    assert_eq!(fw.status(), "running");
    assert_eq!(listed(engine, &mounted), [format!("root-firewall-{name} running")]);
    let before = fw.counter("rx_bytes");
    assert!(fw.answers_ping());
    nfio_tests::eventually("the counter grows", || fw.counter("rx_bytes") > before);
    fw.put("config/nf_conf", RULES);
    fw.act("reload");
    assert!(!fw.answers_ping());
    assert!(fw.counter("pkt_drops") > 0);
    fw.run("echo kept > /root-file");
    let mut seen = Vec::new();
    for verb in ["pause", "unpause", "stop", "start", "restart"] {
        fw.act(verb);
        seen.push(fw.status());
    }
    assert_eq!(seen, ["paused", "running", "exited", "running", "running"]);
    assert!(!fw.answers_ping(), "the rules are back after a start");
    assert_eq!(fw.run("cat /root-file"), "kept");
    fw.act("destroy");
    assert_eq!(fw.status(), "undeployed");
    assert!(listed(engine, &mounted).is_empty());
}

#[test]
fn on_the_engine_of_this_machine() {
    let engine = Engine::local();
    whole(engine, engine.by_socket(), "whole");
}

#[test]
fn on_a_host_with_tls() {
    let engine = Engine::remote();
    whole(engine, engine.by_tls(), "whole-tls");
}

#[test]
fn on_a_host_with_ssh() {
    let engine = Engine::remote();
    whole(engine, engine.by_ssh(), "whole-ssh");
}
