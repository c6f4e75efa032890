//! Two ROOTs, two mounts, one machine: the same names on the same bridge, and neither hears of the other.

use nfio_tests::{Instance, Mounted, Options};
use std::fs;
use std::process::Command;
use std::thread;

const DROP_PINGS: &str = "table inet filter {\n chain input {\n type filter hook input priority 0\n icmp type echo-request drop\n }\n}\n";

/// Two mounts with an instance of the same name each, both running.
fn two() -> [(Mounted, Instance); 2] {
    let all = [Mounted::new(), Mounted::new()].map(|mounted| {
        let fw = mounted.firewall("fw-a");
        (mounted, fw)
    });
    thread::scope(|scope| {
        for (_, fw) in &all {
            scope.spawn(|| fw.act("activate"));
        }
    });
    all
}

fn pings(address: &str) -> bool {
    let mut ping = Command::new("ping");
    ping.args(["-c", "1", "-W", "1", address]).output().expect("ping").status.success()
}

#[test]
fn instances_of_one_name_in_two_roots_are_two_guests() {
    let [(one, a), (two, b)] = two();
    assert_ne!(a.address(), b.address());
    assert_ne!(one.id(&a), two.id(&b));
    a.run("echo one > /whose");
    b.run("echo two > /whose");
    assert_eq!((a.run("cat /whose"), b.run("cat /whose")), ("one".into(), "two".into()));
    assert!(a.answers_ping() && b.answers_ping());
    // The guests reach one another too: one bridge.
    assert!(a.run(&format!("ping -c 1 -W 2 {} >&2 && echo reached", b.address())).contains("reached"));
    // What one is told, the other does not hear: rules, states, errors, counters.
    a.put("config/nf_conf", DROP_PINGS);
    a.act("reload");
    assert!(!a.answers_ping() && b.answers_ping());
    assert!(!b.get("stats/rules").contains("echo-request"), "{}", b.get("stats/rules"));
    a.act("pause");
    assert_eq!((a.status(), b.status()), ("paused".into(), "running".into()));
    b.try_act("frobnicate").expect_err("no verb");
    assert_eq!(a.get("last_error"), "");
    let quiet = b.counter("pkt_drops");
    a.act("unpause");
    assert!(!a.answers_ping());
    assert_eq!(b.counter("pkt_drops"), quiet);
    a.act("stop");
    assert_eq!(b.status(), "running");
    assert!(b.answers_ping());
}

#[test]
fn the_end_of_one_leaves_the_other_as_it_was() {
    let [(one, a), (two, b)] = two();
    let run = |mounted: &Mounted, fw: &Instance| {
        fs::read_to_string(mounted.guest(fw).join("run.json")).expect("a guest that runs")
    };
    let (address, before) = (b.address().to_string(), run(&two, &b));
    a.act("destroy");
    assert!(pings(&address), "the bridge stays for the other's guest");
    fs::remove_dir(a.path()).expect("rmdir");
    one.umount();
    assert!(pings(&address));
    one.mount();
    one.kill();
    assert!(pings(&address));
    one.mount();
    let again = one.firewall("fw-a");
    again.act("activate");
    assert_ne!(again.address().to_string(), address);
    assert_eq!((run(&two, &b), b.status()), (before, "running".into()));
    // The other way round, while its nfio is down.
    two.umount();
    again.act("restart");
    again.act("destroy");
    assert!(pings(&address), "guests outlive their mount, whatever another one does");
    two.mount();
    assert_eq!((b.status(), b.address().to_string()), ("running".into(), address));
    b.act("destroy");
}

#[test]
fn one_mount_neither_sees_nor_sweeps_the_guests_of_another() {
    let [(one, a), (two, b)] = two();
    let guests = |mounted: &Mounted| {
        fs::read_dir(mounted.root().join(".nfio/oci/guests")).expect("the driver's guests").count()
    };
    assert_eq!((guests(&one), guests(&two)), (1, 1));
    // An instance of another ROOT's id is no way to its guest: the id is looked up in one's own.
    let thief = two.firewall("fw-b");
    fs::write(two.private(&thief).join("id"), format!("{}\n", one.id(&a))).expect("a forged id");
    two.umount();
    let record = two.private(&thief).join("record.toml");
    fs::copy(one.private(&a).join("record.toml"), &record).expect("a forged record");
    two.mount();
    assert_eq!(thief.status(), "dead", "{}", two.log());
    thief.act("destroy");
    assert_eq!((a.status(), b.status()), ("running".into(), "running".into()));
    assert!(a.answers_ping());
}

#[test]
fn two_mounts_with_a_bridge_and_a_subnet_of_their_own_do_not_meet() {
    let config = |bridge: &str, subnet: &str| Options {
        config: format!("[oci]\nbridge = \"{bridge}\"\nsubnet = \"{subnet}\"\n"),
        ..Options::default()
    };
    let (one, two) =
        (Mounted::with(config("nfone", "10.211.0.0/24")), Mounted::with(config("nftwo", "10.212.0.0/24")));
    let (a, b) = (one.firewall("fw-a"), two.firewall("fw-a"));
    a.act("activate");
    b.act("activate");
    assert!(a.address().to_string().starts_with("10.211.0."), "{}", a.address());
    assert!(b.address().to_string().starts_with("10.212.0."), "{}", b.address());
    assert!(a.answers_ping() && b.answers_ping());
    let links = || {
        let ip = Command::new("ip").args(["-o", "link"]).output().expect("ip");
        String::from_utf8_lossy(&ip.stdout).into_owned()
    };
    assert!(links().contains("nfone:") && links().contains("nftwo:"));
    a.act("destroy");
    assert!(!links().contains("nfone:") && links().contains("nftwo:"), "{}", links());
    assert!(b.answers_ping());
}
