//! nfio may end at any moment: what it had made of a chain is found again, and can be taken away.

use super::{SERVER, ends, leases, running};
use nfio_tests::{Mounted, eventually, slow_image, state_of};
use std::thread;

#[test]
fn a_crash_in_the_middle_of_activate_leaves_nothing_that_destroy_does_not_take_away() {
    let mounted = Mounted::new();
    let (client, server) = ends();
    let quick = running(&mounted, "quick");
    // Its configuration takes five seconds: activate of its chain has made all links by then, and has not ended.
    let slow = mounted.firewall("slow");
    slow.put("machine/vm.image", &format!("{}\n", slow_image().display()));
    slow.act("activate");
    let before = (client.state(), server.state(), quick.run(&state_of()), slow.run(&state_of()));
    let chain = mounted.chain(
        "edge",
        [&client.end(), &server.end()],
        &[("one", &[&quick], &["two"]), ("two", &[&slow], &[])],
    );
    let record = mounted.root().join(".nfio/chains/edge/record.toml");
    let unchanged = || {
        assert_eq!((client.state(), server.state(), quick.run(&state_of()), slow.run(&state_of())), before);
        assert_eq!(leases(&mounted), [""; 0]);
        assert!(!record.exists());
    };
    // As soon as there is a record; and when everything is wired.
    let begun: &(dyn Fn() -> bool + Sync) = &|| record.exists();
    let wired: &(dyn Fn() -> bool + Sync) = &|| client.reaches(SERVER);
    for (moment, verb) in [(begun, "destroy"), (wired, "undeployed"), (wired, "activate")] {
        thread::scope(|scope| {
            scope.spawn(|| chain.try_act("activate"));
            eventually("activate is under way", moment);
            mounted.kill();
        });
        mounted.mount();
        assert!(
            chain.status().starts_with("degraded: activate did not come to its end"),
            "{}",
            chain.status()
        );
        chain.act(verb);
        if verb == "activate" {
            assert_eq!(chain.status(), "running");
            assert!(client.reaches(SERVER));
            chain.act("destroy");
        }
        unchanged();
    }
}

#[test]
fn a_chain_outlives_nfio_and_is_taken_away_after_a_remount() {
    let mounted = Mounted::new();
    let (client, server) = ends();
    let fw = running(&mounted, "fw");
    let before = (client.state(), server.state(), fw.run(&state_of()));
    let chain = mounted.chain("edge", [&client.end(), &server.end()], &[("x", &[&fw], &[])]);
    chain.act("activate");
    mounted.kill();
    assert!(client.reaches(SERVER), "the kernel forwards");
    mounted.mount();
    assert_eq!(chain.status(), "running");
    assert!(client.reaches(SERVER));
    // What somebody took away by hand is mended.
    client.sh("ip link delete $(ip -o link | sed -n 's/^[0-9]*: \\(nfc[^@]*\\)@.*/\\1/p')");
    eventually("the link is back", || client.reaches(SERVER));
    // An end that is made anew gets its link too; meanwhile the chain says what is missing.
    let name = server.end().trim_start_matches("netns:").to_owned();
    let ip = |arguments: &[&str]| {
        assert!(std::process::Command::new("ip").args(arguments).status().expect("ip").success());
    };
    ip(&["netns", "delete", &name]);
    eventually("it is told", || {
        chain.status() == format!("degraded: egress ({} is not there)", server.end())
    });
    ip(&["netns", "add", &name]);
    server.sh(&format!("ip link set lo up; ip address add {SERVER}/32 dev lo"));
    eventually("it is whole again", || chain.status() == "running" && client.reaches(SERVER));
    chain.act("destroy");
    assert_eq!((client.state(), server.state(), fw.run(&state_of())), before);
    assert_eq!(leases(&mounted), [""; 0]);
}
