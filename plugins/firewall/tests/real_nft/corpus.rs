//! Rulesets as people write them, and what must stand in the live ruleset once they are applied.

const PACKETS: &str = "counter packets 0 bytes 0";

/// nf_conf, and lines of the live ruleset.
pub(crate) const CORPUS: &[(&str, &[&str])] = &[
    // Debian's own example of a workstation.
    (
        "#!/usr/sbin/nft -f
flush ruleset

table inet filter {
\tchain input {
\t\ttype filter hook input priority 0; policy drop;

\t\t# accept any localhost traffic, drop nothing
\t\tiif lo accept
\t\tct state established,related accept
\t\tct state invalid drop
\t\ttcp dport { 22, 80, 443 } ct state new accept
\t\tip6 nexthdr icmpv6 icmpv6 type { nd-neighbor-solicit, nd-router-advert, nd-neighbor-advert } accept
\t\t# count and drop any other traffic
\t\tcounter drop
\t}
}
",
        &[
            "ct state invalid counter packets 0 bytes 0 drop",
            "\t\tcounter packets 0 bytes 0 drop\n",
            "counter packets 0 bytes 0 comment \"nfio: dropped by policy\"",
        ],
    ),
    // A router: masquerading, interval sets, a limit, chains that call one another.
    (
        "define wan = eth0
define lan_net = { 10.0.0.0/8, 192.168.0.0/16 }
define bad = \"drop\"
table inet fw {
    set blocked { type ipv4_addr; flags interval; auto-merge; elements = { 203.0.113.0/24, 198.51.100.7,
        198.51.100.8 } } # drop
    set seen { type ipv4_addr; flags dynamic,timeout; timeout 1m; }
    chain forward {
        type filter hook forward priority filter; policy $bad;
        ip saddr @blocked drop
        ip saddr $lan_net oifname $wan accept
        ct state vmap { established : accept, related : accept, invalid : drop }
        tcp flags & (fin|syn) == (fin|syn) drop
        tcp flags & (syn|rst) == syn|rst log prefix \"drop \" level warn drop
        limit rate over 400/second burst 20 packets drop
        add @seen { ip saddr limit rate over 10/second } drop
        jump services
        reject with icmpx type admin-prohibited
    }
    chain services {
        tcp dport { http, https } accept
        udp dport 53 goto dns
        tcp dport ssh ip saddr != 10.1.0.0/16 \\
            reject with tcp reset
        return
    }
    chain dns { accept comment \"never drop\"; }
}
table ip nat {
    chain postrouting { type nat hook postrouting priority 100; oifname $wan masquerade; }
}
",
        &[
            "ip saddr @blocked counter packets 0 bytes 0 drop",
            "invalid : goto nfio_drop",
            "log prefix \"drop \" counter packets 0 bytes 0 drop",
            "reject with icmpx admin-prohibited",
            "counter packets 0 bytes 0 reject with tcp reset",
            "limit rate over 400/second burst 20 packets counter packets 0 bytes 0 drop",
            "accept comment \"never drop\"",
            "counter packets 0 bytes 0 comment \"nfio: dropped by policy\"",
            "masquerade",
        ],
    ),
    // Flat commands, as in many scripts; the family ip left away.
    (
        "add table filter
add chain filter input { type filter hook input priority 0; policy drop; }
add chain filter mine; add chain filter sooner
add rule filter input tcp dport 22 accept
add rule ip filter input ip saddr { 192.0.2.1, 192.0.2.2 } drop
insert rule filter input index 0 ct state invalid drop
add filter input jump mine
rule filter mine reject
add map filter fate { type ipv4_addr : verdict; flags interval; }
add element filter fate { 192.0.2.0/24 : drop, 198.51.100.1-198.51.100.9 : jump sooner }
add rule filter input ip saddr vmap @fate
",
        &[
            "ct state invalid counter packets 0 bytes 0 drop",
            "ip saddr { 192.0.2.1, 192.0.2.2 } counter packets 0 bytes 0 drop",
            "counter packets 0 bytes 0 reject",
            "192.0.2.0/24 : goto nfio_drop",
            PACKETS,
        ],
    ),
    // Everything on one line, and the idiom that replaces a table.
    (
        "table inet t; delete table inet t; table inet t { chain c { type filter hook input priority 0; policy drop; \
         tcp dport 22 accept; udp dport vmap { 53 : accept, 54 : drop }; drop; }; chain d { }; }",
        &["54 : goto nfio_drop", "chain nfio_drop", "\t\tcounter packets 0 bytes 0 drop\n"],
    ),
    // A bridge; maps and concatenations; a maximal tangle of the word.
    (
        "table bridge drop-in {
    comment \"drop; } drop\"
    chain drops {
        type filter hook forward priority -200; policy drop;
        comment \"policy drop\"
        ether type arp accept
        iifname \"drop*\" log prefix \"drop\" group 2 drop comment \"drop\"
        ip saddr . tcp dport vmap { 10.0.0.1 . 22 : drop, 10.0.0.2 . 23 : accept }
        meta mark set ip saddr map { 10.0.0.1 : 1, 10.0.0.2 : 2 }
        ip daddr 10.0.0.9 jump {
            tcp dport 25 drop
            ip protocol vmap { udp : drop,
                tcp : accept }
        }
        ether type ip goto { tcp dport 7 drop; }
        goto drop-chain
    }
    chain drop-chain { drop; }
}
",
        &[
            "log prefix \"drop\" group 2 counter packets 0 bytes 0 drop comment \"drop\"",
            "10.0.0.1 . 22 : goto nfio_drop",
            "tcp dport 25 counter packets 0 bytes 0 drop",
            "tcp dport 7 counter packets 0 bytes 0 drop",
        ],
    ),
    // Named counters and quotas are shared; a saved ruleset brings its own counters.
    (
        "table inet t {
    counter shared { }
    quota much { over 1 mbytes }
    limit some { rate 10/second; }
    chain c {
        type filter hook input priority 0; policy accept;
        counter name \"shared\" drop
        quota name \"much\" drop
        limit name \"some\" counter packets 0 bytes 0 drop
        meta l4proto tcp counter tcp dport 22 drop
        counter jump d
    }
    chain d { ct count over 20 reject; icmp type echo-request drop; }
}
",
        &[
            "counter name \"shared\" counter packets 0 bytes 0 drop",
            "quota name \"much\" counter packets 0 bytes 0 drop",
            "limit name \"some\" counter packets 0 bytes 0 drop",
            "counter packets 0 bytes 0 tcp dport 22 counter packets 0 bytes 0 drop",
        ],
    ),
    // A device's own hook, and a table that is there twice.
    (
        "table netdev n {
    chain in { type filter hook ingress device \"lo\" priority 0; policy accept; ip saddr 192.0.2.0/24 drop; }
}
table ip6 s { chain c { type filter hook output priority 0; ip6 daddr fe80::1 drop; }; }
table ip6 s { chain d { ip6 saddr vmap { fe80::1 : drop, 2001:db8::/32 : drop }; }; }
table arp a { chain c { type filter hook input priority 0; arp operation request drop; }; }
",
        &[
            "ip saddr 192.0.2.0/24 counter packets 0 bytes 0 drop",
            "ip6 daddr fe80::1 counter packets 0 bytes 0 drop",
            "fe80::1 : goto nfio_drop",
            "arp operation request counter packets 0 bytes 0 drop",
        ],
    ),
];
