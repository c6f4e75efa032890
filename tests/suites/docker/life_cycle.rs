//! The whole life cycle, on the engine of this machine and on others'.

use super::{RULES, listed};
use nfio_tests::{Engine, Instance, Mounted, Place, eventually};

/// A type whose function is put to work.
struct Function {
    ty: &'static str,
    image: &'static str,
    nf_conf: &'static str,
    /// Whether it does what `nf_conf` says.
    works: fn(&Engine, &Instance) -> bool,
}

const FUNCTIONS: [Function; 3] = [
    Function {
        ty: "firewall",
        image: "firewall",
        nf_conf: RULES,
        works: |_, fw| fw.get("stats/rules").contains("echo-request") && !fw.answers_ping(),
    },
    Function {
        ty: "nat",
        image: "firewall",
        nf_conf: "table ip nat {
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    oifname \"eth0\" ip saddr 10.9.0.0/16 masquerade
  }
}
",
        works: |_, nat| {
            let forwards = nat.run("cat /proc/sys/net/ipv4/ip_forward") == "1";
            forwards && nat.run("nft list table ip nat").contains("masquerade")
        },
    },
    Function {
        ty: "nginx",
        image: "nginx",
        nf_conf: "events {}\nhttp {\n  server {\n    listen 80;\n    return 200 \"as told\";\n  }\n}\n",
        works: |engine, web| {
            let page = format!("http://{}/", web.address());
            let got =
                engine.network().command("busybox").args(["wget", "-qO-", &page]).output().expect("wget");
            got.stdout == b"as told"
        },
    },
];

fn all(engine: &Engine, place: &Place, name: &str) {
    let mounted = Mounted::on(place.clone());
    for function in &FUNCTIONS {
        engine.image(function.image);
        whole(engine, &mounted, function, name);
    }
}

fn whole(engine: &Engine, mounted: &Mounted, function: &Function, name: &str) {
    let container = format!("root-{}-{name}", function.ty);
    let vnf = mounted.of_image(function.ty, name, function.image);
    assert_eq!(vnf.status(), "undeployed");
    assert!(listed(engine, mounted).is_empty());
    vnf.act("activate");
    assert_eq!(vnf.status(), "running");
    assert_eq!(listed(engine, mounted), [format!("{container} running")]);
    let before = vnf.counter("rx_bytes");
    assert!(vnf.answers_ping());
    eventually("the counter grows", || vnf.counter("rx_bytes") > before);
    vnf.put("config/nf_conf", function.nf_conf);
    vnf.act("reload");
    assert!((function.works)(engine, &vnf), "{} does not work", function.ty);
    // Not by `command`, which is a type's own where it says so.
    engine.docker(&["exec", &container, "touch", "/kept"]);
    let mut seen = Vec::new();
    for verb in ["pause", "unpause", "stop", "start", "restart"] {
        vnf.act(verb);
        seen.push(vnf.status());
    }
    assert_eq!(seen, ["paused", "running", "exited", "running", "running"]);
    assert!((function.works)(engine, &vnf), "{} does not work after a start", function.ty);
    engine.docker(&["exec", &container, "test", "-e", "/kept"]);
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
