//! A third party's first hour: a crate outside nfio's workspace that builds, passes its tests, loads and works.

use nfio_tests::{Crate, Mounted, Tree, checkout, errno, eventually, nfio, output_of};
use std::fs;
use std::process::Command;

/// The address that the test bed's side of the bridge has: the guest's gateway.
fn our_address(address: std::net::IpAddr) -> String {
    let route = output_of(Command::new("ip").args(["-o", "route", "get", &address.to_string()]));
    let mut words = route.split_whitespace().skip_while(|word| *word != "src");
    words.nth(1).expect("a source address").to_owned()
}

#[test]
fn plugin_new_makes_a_type_that_builds_passes_its_tests_and_works() {
    let room = tempfile::tempdir_in("/run").expect("a directory below /run");
    let made = output_of(nfio().current_dir(room.path()).args(["plugin", "new", "demo-box"]));
    assert!(made.lines().count() <= 6, "{made}");
    assert!(made.contains("nfio plugin check target/release/libdemo_box.so"), "{made}");
    let source = fs::read_to_string(room.path().join("demo-box/src/lib.rs")).expect("its source");
    assert!(source.lines().count() < 40, "what an author has to read grew to {}", source.lines().count());

    let demo = Crate::new(&room.path().join("demo-box"));
    let tests = demo.cargo(&["test"]);
    assert!(tests.contains("3 passed"), "{tests}");
    demo.cargo(&["build", "--release"]);

    let plugin = demo.built("release", "libdemo_box.so");
    let judged = output_of(nfio().args(["plugin", "check"]).arg(&plugin));
    assert!(judged.contains("good") && judged.lines().count() <= 10, "{judged}");

    let mounted = Mounted::new();
    mounted.install(&plugin);
    mounted.await_module("demo_box", "loaded", "");
    let a = mounted.made("demo_box", "a");
    a.act("activate");
    assert!(a.answers_ping());
    assert_eq!(a.get("stats/blocked"), "0");
    let ours = our_address(a.address());
    a.put("config/nf_conf", &format!("192.0.2.7\n{ours}\n"));
    a.act("reload");
    assert!(!a.answers_ping());
    // Not exactly one: the bridge sends multicast reports of its own now and then.
    assert!(a.counter("blocked") >= 1);
    a.put("config/nf_conf", "nobody\n");
    assert_eq!(errno(a.try_act("reload")), libc::EINVAL);
    assert!(a.get("last_error").contains("\"nobody\" is no IPv4 address"), "{}", a.get("last_error"));
    assert!(!a.answers_ping(), "a refused nf_conf changes nothing");
    eventually("reset sets it to 0", || {
        a.try_write("reset", "now\n").expect("reset");
        a.counter("blocked") == 0
    });
    a.act("destroy");
}

#[test]
fn plugin_new_refuses_bad_names_and_leaves_what_is_there() {
    let room = tempfile::tempdir_in("/run").expect("a directory below /run");
    fs::create_dir(room.path().join("mine")).expect("mkdir");
    for (arguments, words) in [
        (&["Demo"][..], "small letters"),
        (&["../x"], "small letters"),
        (&["mine"], "already"),
        (&["x", "--sdk", "/run"], "/run is not the SDK"),
    ] {
        let refused = nfio().current_dir(room.path()).args(["plugin", "new"]).args(arguments).output();
        let refused = refused.expect("nfio");
        let sentence = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{sentence}");
        assert!(sentence.contains(words) && sentence.lines().count() == 1, "{sentence}");
    }
    assert_eq!(fs::read_dir(room.path()).expect("the room").count(), 1, "something was made");
    assert_eq!(fs::read_dir(room.path().join("mine")).expect("mine").count(), 0);
}

#[test]
fn the_example_rate_limiter_limits_real_packets_and_counts_them() {
    let mut tree = Tree::default();
    tree.copy("examples/rate-limiter/src");
    tree.copy("examples/rate-limiter/tests");
    tree.copy("examples/rate-limiter/Cargo.toml");
    let sdk = format!("path = {:?}", checkout().join("middlebox-sdk"));
    tree.replace("examples/rate-limiter/Cargo.toml", "path = \"../../middlebox-sdk\"", &sdk);
    let limiter = Crate::new(&tree.write("rate-limiter").join("examples/rate-limiter"));
    let tests = limiter.cargo(&["test"]);
    assert!(tests.contains("2 passed") && tests.contains("3 passed"), "{tests}");
    limiter.cargo(&["build"]);

    let plugin = limiter.built("debug", "librate_limiter.so");
    let judged = output_of(nfio().args(["plugin", "check"]).arg(&plugin));
    assert!(judged.contains("good") && judged.lines().count() <= 10, "{judged}");

    let mounted = Mounted::new();
    mounted.install(&plugin);
    mounted.await_module("rate_limiter", "loaded", "");
    let a = mounted.made("rate_limiter", "a");
    a.put("config/nf_conf", "# pings\nlimit icmp 5/second\n");
    a.act("activate");
    assert_eq!(a.get("stats/limited"), "0");
    // 50 within a tenth of a second, sent and answered.
    let flood = |count: &str| {
        let address = a.address().to_string();
        let output =
            Command::new("ping").args(["-q", "-c", count, "-i", "0.002", "-W", "1", &address]).output();
        let text = String::from_utf8_lossy(&output.expect("ping").stdout).into_owned();
        let words: Vec<&str> = text.split_whitespace().collect();
        let before = |word: &str| -> u64 {
            let at = words.iter().position(|w| w.starts_with(word)).expect(word);
            words[at - 1].parse().unwrap_or_else(|_| panic!("{text}"))
        };
        (before("packets"), before("received"))
    };
    let (sent, received) = flood("50");
    assert_eq!(sent, 50);
    assert!((1..25).contains(&received), "{received} of {sent} passed a limit of 5/second");
    assert_eq!(a.get("stats/limited"), (sent - received).to_string());
    a.try_write("reset", "now\n").expect("reset");
    assert_eq!(a.get("stats/limited"), "0");

    a.put("config/nf_conf", "limit icmp 1 mbytes/day\n");
    assert_eq!(errno(a.try_act("reload")), libc::EINVAL);
    assert!(a.get("last_error").contains("too large"), "the kernel's own words: {}", a.get("last_error"));
    a.put("config/nf_conf", "limit icmp 5000/second burst 200\n");
    a.act("reload");
    assert_eq!(flood("50"), (50, 50), "below its limit nothing is lost");
    assert_eq!(a.get("stats/limited"), "0");
    a.act("destroy");
}
