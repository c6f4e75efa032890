//! The whole life cycle, on the engine of this machine and on others'.

use super::{RULES, listed};
use nfio_tests::{Engine, Instance, Mounted, Place, eventually};

/// A type whose function is put to work.
struct Function {
    ty: &'static str,
    image: &'static str,
    nf_conf: &'static str,
    /// Whether it does what `nf_conf` says.
    works: fn(&Instance) -> bool,
}

const FUNCTIONS: [Function; 1] = [Function {
    ty: "firewall",
    image: "firewall",
    nf_conf: RULES,
    works: |fw| {
        fw.try_get("stats/rules").is_ok_and(|rules| rules.contains("echo-request")) && !fw.answers_ping()
    },
}];

fn all(engine: &Engine, place: &Place, name: &str) {
    let mounted = Mounted::on(place.clone());
    for function in &FUNCTIONS {
        engine.image(function.image);
        whole(engine, &mounted, function, name);
    }
}

fn whole(engine: &Engine, mounted: &Mounted, function: &Function, name: &str) {
    let vnf = mounted.of_image(function.ty, name, function.image);
    assert_eq!(vnf.status(), "undeployed");
    assert!(listed(engine, mounted).is_empty());
    vnf.act("activate");
    assert_eq!(vnf.status(), "running");
    assert_eq!(listed(engine, mounted), [format!("root-{}-{name} running", function.ty)]);
    let before = vnf.counter("rx_bytes");
    assert!(vnf.answers_ping());
    eventually("the counter grows", || vnf.counter("rx_bytes") > before);
    vnf.put("config/nf_conf", function.nf_conf);
    vnf.act("reload");
    assert!((function.works)(&vnf), "{} does not work", function.ty);
    vnf.run("echo kept > /root-file");
    let mut seen = Vec::new();
    for verb in ["pause", "unpause", "stop", "start", "restart"] {
        vnf.act(verb);
        seen.push(vnf.status());
    }
    assert_eq!(seen, ["paused", "running", "exited", "running", "running"]);
    assert!((function.works)(&vnf), "{} does not work after a start", function.ty);
    assert_eq!(vnf.run("cat /root-file"), "kept");
    vnf.act("destroy");
    assert_eq!(vnf.status(), "undeployed");
    assert!(listed(engine, mounted).is_empty());
}

#[test]
fn on_the_engine_of_this_machine() {
    let engine = Engine::local();
    all(engine, &engine.by_socket(), "whole");
}

#[test]
fn on_a_host_with_tls() {
    let engine = Engine::remote();
    all(engine, &engine.by_tls(), "whole-tls");
}

#[test]
fn on_a_host_with_ssh() {
    let engine = Engine::remote();
    all(engine, &engine.by_ssh(), "whole-ssh");
}
