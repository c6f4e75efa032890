//! The type against the real nft, in network namespaces of its own.

use middlebox_sdk::{Middlebox, Result};
use nat::Nat;
use nft::testbed::Netns;
use std::sync::Arc;

#[track_caller]
fn configure(netns: &Arc<Netns>, nf_conf: &str) -> Result<()> {
    let guest = netns.guest();
    let done = Nat.configure(&guest.vnf(), nf_conf.as_bytes());
    assert_eq!(guest.log_lines(), [], "nft takes it with counters: {nf_conf}");
    done
}

fn value(netns: &Arc<Netns>, file: &str) -> String {
    String::from_utf8(Nat.read(&netns.guest().vnf(), file).unwrap()).unwrap()
}

const LINES: &str = "\
# A branch office.
masquerade out eth0 from 10.0.0.0/24
masquerade from 2001:db8:1::/64
masquerade out br-lan.100
masquerade from 0.0.0.0/0
masquerade from ::/0 out eth1
masquerade from 192.0.2.1

forward tcp 8080 to 10.0.0.5:80
forward tcp 30000-30099 on eth0 to 10.0.0.7
forward udp 53 on eth0 to [2001:db8::53]:5353
forward udp 53 to 2001:db8::53   # the port stays
masquerade
";

#[test]
fn every_form_of_a_line_loads_with_its_counter() {
    let netns = Netns::new();
    configure(&netns, LINES).unwrap();
    let rules = value(&netns, "stats/rules");
    const COUNTER: &str = "counter packets 0 bytes 0";
    for rule in [
        format!("oifname \"eth0\" ip saddr 10.0.0.0/24 fib saddr type != local {COUNTER} masquerade"),
        format!(
            "ip saddr 10.0.0.0/24 ip daddr 10.0.0.0/24 ct status dnat fib saddr type != local {COUNTER} masquerade"
        ),
        format!("ip6 saddr 2001:db8:1::/64 fib saddr type != local {COUNTER} masquerade"),
        format!("oifname \"br-lan.100\" fib saddr type != local {COUNTER} masquerade"),
        format!("ip saddr 192.0.2.1 fib saddr type != local {COUNTER} masquerade"),
        format!("\t\tfib saddr type != local {COUNTER} masquerade"),
        format!("meta nfproto ipv4 fib daddr type local tcp dport 8080 {COUNTER} dnat ip to 10.0.0.5:80"),
        format!(
            "meta nfproto ipv4 iifname \"eth0\" fib daddr type local tcp dport 30000-30099 {COUNTER} dnat ip to 10.0.0.7"
        ),
        format!(
            "meta nfproto ipv6 iifname \"eth0\" fib daddr type local udp dport 53 {COUNTER} dnat ip6 to [2001:db8::53]:5353"
        ),
        format!("meta nfproto ipv6 fib daddr type local udp dport 53 {COUNTER} dnat ip6 to 2001:db8::53"),
    ] {
        assert!(rules.lines().any(|line| line.ends_with(&rule)), "{rule:?} is not in\n{rules}");
    }
    assert_eq!(rules.matches(COUNTER).count(), 12, "{rules}");
    assert_eq!(value(&netns, "stats/translations"), "0\n");
}

#[test]
fn a_refused_nf_conf_changes_nothing_and_an_emptied_one_takes_all_away() {
    let netns = Netns::new();
    configure(&netns, LINES).unwrap();
    let before = netns.rules();
    for (nf_conf, told) in [
        ("masquerade out eth0\nforward tcp 80 to nowhere\n", "nf_conf:2: \"nowhere\" is no address"),
        ("masquerade out eth0\ntable ip x { }\n", "nf_conf:2: `table` is nft's"),
        ("table ip x {\n chain c {\n  masqerade\n }\n}\n", "nf_conf:3:"),
        ("add rule inet nfio_nat nowhere masquerade", "nf_conf:1:"),
    ] {
        let error = configure(&netns, nf_conf).unwrap_err();
        assert_eq!(error.code(), 720, "{nf_conf}: {error}");
        assert!(error.to_string().contains(told), "{nf_conf}: {error}");
        assert_eq!(netns.rules(), before, "{nf_conf}");
    }
    let error = Nat.configure(&netns.guest().vnf(), b"masquerade\n\xff").unwrap_err();
    assert_eq!((error.code(), error.to_string().contains("nf_conf:2:")), (720, true), "{error}");
    configure(&netns, "# nothing but a remark\n").unwrap();
    assert_eq!(netns.rules(), "");
    configure(&netns, LINES).unwrap();
    configure(&netns, "").unwrap();
    assert_eq!(netns.rules(), "");
}

#[test]
fn a_line_that_nft_refuses_is_the_users() {
    let netns = Netns::new();
    netns.nft(&["-f", "-"], "table inet nfio_nat { }");
    let error = configure(&netns, "masquerade\n").unwrap_err();
    assert_eq!(error.code(), 720, "{error}");
    assert!(error.to_string().contains("table inet nfio_nat is in the guest already"), "{error}");
}

#[test]
fn lines_and_a_plain_ruleset_replace_one_another() {
    let netns = Netns::new();
    configure(&netns, "masquerade\n").unwrap();
    let plain = "flush ruleset
table inet mine {
    map ports { type inet_service : ipv4_addr; elements = { 80 : 10.0.0.5 }; }
    chain pre {
        type nat hook prerouting priority dstnat
        ct status dnat accept
        icmp type redirect accept
        tcp dport 8080 dnat ip to 10.0.0.5:80
        dnat ip to tcp dport map @ports
        udp dport 53 redirect to :5353
    }
    chain post {
        type nat hook postrouting priority srcnat
        ip saddr 10.0.0.0/24 snat ip to 192.0.2.1-192.0.2.9 persistent
        ct status dnat masquerade random
        oifname { eth0, eth1 } meta l4proto tcp counter packets 3 bytes 180 masquerade to :1024-65535
    }
}
";
    configure(&netns, plain).unwrap();
    let rules = value(&netns, "stats/rules");
    assert!(!rules.contains("nfio_nat") && !rules.contains("nfio_nf_conf"), "{rules}");
    for rule in [
        "tcp dport 8080 counter packets 0 bytes 0 dnat ip to 10.0.0.5:80",
        "counter packets 0 bytes 0 dnat ip to tcp dport map @ports",
        "udp dport 53 counter packets 0 bytes 0 redirect to :5353",
        "ip saddr 10.0.0.0/24 counter packets 0 bytes 0 snat ip to 192.0.2.1-192.0.2.9 persistent",
        "ct status dnat counter packets 0 bytes 0 masquerade random",
        "counter packets 3 bytes 180 masquerade to :1024-65535",
    ] {
        assert!(rules.lines().any(|line| line.ends_with(rule)), "{rule:?} is not in\n{rules}");
    }
    assert_eq!(rules.matches("counter").count(), 6, "{rules}");
    assert_eq!(value(&netns, "stats/translations"), "3\n", "as a saved ruleset brings it");
    configure(&netns, "masquerade\n").unwrap();
    let rules = value(&netns, "stats/rules");
    assert!(rules.contains("nfio_nat") && !rules.contains("mine"), "{rules}");
    assert_eq!(value(&netns, "stats/translations"), "0\n");
}
