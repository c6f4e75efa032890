//! The type against the real nft, in network namespaces of its own.

mod corpus;

use firewall::Firewall;
use middlebox_sdk::testing::Guest;
use middlebox_sdk::{Counters, Middlebox, NfioError, Output};
use nft::testbed::Netns;

fn drops(netns: &std::sync::Arc<Netns>) -> u64 {
    let text = Firewall.read(&netns.guest().vnf(), "stats/pkt_drops").unwrap();
    String::from_utf8(text).unwrap().trim_end().parse().unwrap()
}

fn configure(netns: &std::sync::Arc<Netns>, nf_conf: &str) -> Result<(), NfioError> {
    let guest = netns.guest();
    let done = Firewall.configure(&guest.vnf(), nf_conf.as_bytes());
    assert_eq!(guest.log_lines(), [], "nft takes it with counters: {nf_conf}");
    done
}

/// A file of the guest, gone with the test. (These guests have the machine's own files.)
struct Included(std::path::PathBuf);

impl Included {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nfio-firewall-{}-{name}.nft", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Included {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const INPUT: &str = "type filter hook input priority 0";

#[test]
fn packets_dropped_by_rules_maps_nameless_chains_and_policies_are_counted() {
    let netns = Netns::new();
    let base = format!(
        "flush ruleset\ndefine port = 1001
table inet filter {{
    map fate {{ type inet_service : verdict; elements = {{ 1003 : drop }} }}
    chain input {{
        {INPUT}; policy drop
        ip protocol icmp accept
        udp dport $port drop comment \"drop\"
        udp dport 1000 counter accept
        udp dport vmap {{ 1002 : drop, 1010 : accept }}
        udp dport vmap @fate
        udp dport 1004-1005 jump {{
            udp dport 1004 drop
        }}
        udp dport 1005 return
        udp dport 1006 counter log prefix \"drop\" drop
    }}
}}
"
    );
    configure(&netns, &base).unwrap();
    assert_eq!(drops(&netns), 0);
    let mut sum = 0;
    for (port, dropped) in
        [(1000, 0), (1001, 1), (1002, 1), (1003, 1), (1004, 1), (1005, 1), (1006, 1), (1007, 1)]
    {
        netns.send(port, 3);
        sum += 3 * dropped;
        assert_eq!(drops(&netns), sum, "port {port}\n{}", netns.rules());
    }
    configure(&netns, &base).unwrap();
    assert_eq!(drops(&netns), 0, "counters start anew");
}

#[test]
fn interfaces_drops_are_added() {
    let netns = Netns::new();
    configure(&netns, &format!("table ip t {{ chain c {{ {INPUT}; udp dport 9 drop; }}; }}")).unwrap();
    netns.send(9, 2);
    let mut counters = Counters::default();
    counters.pkt_drops = 40;
    let guest = netns.guest().with_counters(counters);
    assert_eq!(Firewall.read(&guest.vnf(), "stats/pkt_drops").unwrap(), b"42\n");
}

#[test]
fn the_next_nf_conf_replaces_the_last_and_leaves_others_alone() {
    let netns = Netns::new();
    netns.nft(&["-f", "-"], "table ip nat { chain DOCKER_OUTPUT { ip daddr 127.0.0.11 accept; }; }");
    let others = netns.rules();
    configure(&netns, "flush ruleset\ntable inet a { chain c { drop; }; }\ntable ip b { }\n").unwrap();
    configure(&netns, "table inet a { chain d { drop; }; }\n").unwrap();
    let rules = netns.rules();
    assert!(rules.contains("DOCKER_OUTPUT") && rules.contains("chain d"), "{rules}");
    assert!(!rules.contains("chain c") && !rules.contains("table ip b"), "{rules}");
    configure(&netns, "# nothing but a remark\n").unwrap();
    assert_eq!(netns.rules(), others);
    configure(&netns, "table inet a { }").unwrap();
    configure(&netns, " \n").unwrap();
    assert_eq!(netns.rules(), others, "an emptied nf_conf takes away what the last one made");
}

#[test]
fn an_empty_nf_conf_leaves_the_images_rules_alone() {
    let netns = Netns::new();
    netns.nft(&["-f", "-"], "table inet image { chain c { drop; }; }");
    let before = netns.rules();
    configure(&netns, "").unwrap();
    assert_eq!(netns.rules(), before);
}

#[test]
fn a_table_that_others_made_is_refused() {
    let netns = Netns::new();
    netns.nft(&["-f", "-"], "table ip nat { chain c { }; }");
    let included = Included::new("nat", "table nat { chain c { drop; }; }\n# end\n");
    let include = format!("include \"{}\"", included.0.display());
    let before = netns.rules();
    for nf_conf in [
        "table ip nat { chain d { }; }",
        "table nat { }",
        "add rule nat c drop",
        "delete table ip nat",
        "flush table ip nat",
        "delete chain ip nat c",
        "add table inet x; add element ip nat s { 1.1.1.1 }",
        "delete table ip handle 1",
        &include,
        "table ip nfio_nf_conf { }",
        "list ruleset",
    ] {
        let error = configure(&netns, nf_conf).unwrap_err();
        assert_eq!(error.code(), 720, "{nf_conf}: {error}");
        assert_eq!(netns.rules(), before, "{nf_conf}");
    }
    configure(&netns, "table ip6 nat { chain c { }; }").unwrap();
}

#[test]
fn a_refused_nf_conf_changes_nothing_and_names_the_users_line() {
    let netns = Netns::new();
    configure(
        &netns,
        &format!("table inet t {{ chain c {{ {INPUT}; policy drop; }}; }}\ntable inet u {{ }}"),
    )
    .unwrap();
    let before = netns.rules();
    for (nf_conf, told) in [
        ("flush ruleset\ntable inet t {\n chain c {\n  ip saddr 1.2.3.4 dorp\n }\n}\n", "nf_conf:4:"),
        ("table inet t {\n chain c {\n  jump nowhere\n }\n}\n", "nf_conf:3:"),
        ("\n\ntable inet t { chain c { drop }\n}", "nf_conf:3:"),
        ("# a \"\ntable inet t {\n", "nf_conf:3:"),
        ("table inet t { chain c { log prefix \"x; } }", "nf_conf:1:"),
        ("include \"/nowhere/to/be found\"", "nf_conf:1:"),
        ("}\n", "nf_conf:1:"),
        ("delete table inet t", "nf_conf:1:"),
        // nft 1.0.6 dies of this one.
        (
            "add table t\nadd map t m { type ipv4_addr : verdict; flags interval; }\nadd element t m { * : drop }",
            "crashed",
        ),
    ] {
        let error = configure(&netns, nf_conf).unwrap_err();
        assert_eq!(error.code(), 720, "{nf_conf}: {error}");
        assert!(error.to_string().contains(told), "{nf_conf}: {error}");
        assert_eq!(netns.rules(), before, "{nf_conf}");
    }
    let error = Firewall.configure(&netns.guest().vnf(), b"table t { }\n\xff").unwrap_err();
    assert_eq!((error.code(), error.to_string().contains("nf_conf:2:")), (720, true), "{error}");
}

#[test]
fn the_record_is_gone_with_the_tables() {
    let netns = Netns::new();
    configure(&netns, "table inet t { }").unwrap();
    netns.nft(&["flush", "ruleset"], "");
    netns.nft(&["-f", "-"], "table inet t { chain by_hand { }; }");
    assert_eq!(configure(&netns, "table inet t { }").unwrap_err().code(), 720);
    configure(&netns, "table inet u { }").unwrap();
    netns.nft(&["delete", "table", "inet", "u"], "");
    configure(&netns, "table inet v { }").unwrap();
    assert!(netns.rules().contains("by_hand"));
}

#[test]
fn included_files_count_too() {
    let netns = Netns::new();
    let included = Included::new("drop", "udp dport 7 drop # drop\n");
    let path = included.0.display();
    let nf_conf = format!("table inet t {{\n chain c {{\n  {INPUT}\n  include \"{path}\"\n }}\n}}\n");
    configure(&netns, &nf_conf).unwrap();
    netns.send(7, 2);
    assert_eq!(drops(&netns), 2);
    assert!(
        configure(&netns, "include \"/tmp/nfio-none*.nft\"").unwrap_err().to_string().contains("patterns")
    );
}

#[test]
fn the_live_ruleset_can_be_given_back() {
    let netns = Netns::new();
    let nf_conf = format!(
        "table inet t {{\n chain c {{\n {INPUT}; policy drop\n udp dport vmap {{ 5 : drop }}\n udp dport 6 drop\n }}\n}}\n"
    );
    configure(&netns, &nf_conf).unwrap();
    netns.send(5, 1);
    netns.send(6, 1);
    netns.send(7, 1);
    let rules = String::from_utf8(Firewall.read(&netns.guest().vnf(), "stats/rules").unwrap()).unwrap();
    assert!(!rules.contains("nfio_nf_conf") && rules.contains("counter packets 1"), "{rules}");
    configure(&netns, &rules).unwrap();
    let again = String::from_utf8(Firewall.read(&netns.guest().vnf(), "stats/rules").unwrap()).unwrap();
    assert_eq!(again, rules);
    assert_eq!(drops(&netns), 3);
}

#[test]
fn rulesets_of_all_kinds_load_with_counters_where_they_belong() {
    let netns = Netns::new();
    for (nf_conf, shown) in corpus::CORPUS {
        configure(&netns, nf_conf).unwrap_or_else(|error| panic!("{nf_conf}\n{error}"));
        let rules = netns.rules();
        for line in *shown {
            assert!(rules.contains(line), "{line:?} is not in\n{rules}\nof\n{nf_conf}");
        }
        let bare = rules.lines().filter(|line| {
            let verdict = line.split_whitespace().any(|word| word == "drop" || word == "reject");
            verdict && !line.contains("policy") && !line.contains("bytes 0") && !line.contains('"')
        });
        assert_eq!(bare.collect::<Vec<_>>(), Vec::<&str>::new(), "a drop without a counter\n{rules}");
    }
}

#[test]
fn a_text_that_breaks_off_anywhere_is_no_panic() {
    for (nf_conf, _) in corpus::CORPUS {
        for (end, _) in nf_conf.char_indices() {
            let guest = Guest::new("firewall", "fw-a");
            // Nothing is expected of the outcome: this nft takes everything.
            let _ = Firewall.configure(&guest.vnf(), &nf_conf.as_bytes()[..end]);
            let guest = Guest::new("firewall", "fw-a").on_execute(move |_| Output {
                stdout: nf_conf.as_bytes()[..end].to_vec(),
                ..Output::default()
            });
            let _ = Firewall.read(&guest.vnf(), "stats/pkt_drops");
            let _ = Firewall.read(&guest.vnf(), "stats/rules");
        }
    }
}
