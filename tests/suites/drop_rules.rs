//! A firewall that drops real packets, and never runs without its rules.

use nfio_tests::{Mounted, errno};
use std::fs;

const DROP_PINGS: &str = "\
table inet filter {
    chain input {
        type filter hook input priority 0; policy accept;
        icmp type echo-request drop
    }
}
";

#[test]
fn a_reloaded_rule_drops_pings_and_pkt_drops_grows() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    assert!(fw.answers_ping());
    fw.put("config/nf_conf", DROP_PINGS);
    assert!(fw.answers_ping(), "nothing changes before reload");
    fw.act("reload");
    let before = fw.counter("pkt_drops");
    assert!(!fw.answers_ping());
    assert!(fw.counter("pkt_drops") > before);
    assert!(fw.get("stats/rules").contains("echo-request counter packets"), "{}", fw.get("stats/rules"));
    fw.act("destroy");
}

#[test]
fn the_drop_rule_still_holds_after_stop_and_start_and_after_restart() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.put("config/nf_conf", DROP_PINGS);
    fw.act("activate");
    assert!(!fw.answers_ping());
    fw.act("stop");
    fw.act("start");
    assert!(!fw.answers_ping());
    fw.act("restart");
    assert!(!fw.answers_ping());
    fw.act("destroy");
}

#[test]
fn a_ruleset_that_nft_refuses_leaves_the_running_one_as_it_was() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.put("config/nf_conf", DROP_PINGS);
    fw.act("activate");
    let rules = fw.get("stats/rules");
    fw.put("config/nf_conf", "table inet filter {\n  chain input {\n    frobnicate\n  }\n}\n");
    assert_eq!(errno(fw.try_act("reload")), libc::EINVAL);
    let error = fw.get("last_error");
    assert!(error.contains("720") && error.contains("VNFConfigurationError"), "{error}");
    assert!(error.contains(":3:"), "nft's message names line 3: {error}");
    assert_eq!(fw.get("stats/rules").lines().count(), rules.lines().count());
    assert!(!fw.answers_ping());
    fw.act("destroy");
}

#[test]
fn an_activate_whose_ruleset_is_refused_leaves_nothing_half_made() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.put("config/nf_conf", "frobnicate\n");
    assert_eq!(errno(fw.try_act("activate")), libc::EINVAL);
    assert_eq!(fw.status(), "undeployed");
    assert!(fw.get("last_error").contains(":1:"), "{}", fw.get("last_error"));
    let left = fs::read_dir(mounted.root().join(".nfio/oci/guests")).expect("the driver's guests");
    assert_eq!(left.count(), 0, "a guest was left");
    fs::remove_dir(fw.path()).expect("an undeployed instance goes");
}

#[test]
fn a_guest_forwards_packets_only_once_it_is_configured() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    assert_eq!(fw.run("cat /proc/sys/net/ipv4/ip_forward"), "1");
    fw.act("destroy");
    fw.put("config/nf_conf", "frobnicate\n");
    fw.try_act("activate").expect_err("a refused ruleset");
    assert_eq!(fw.status(), "undeployed");
}
