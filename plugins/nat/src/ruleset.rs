//! Writes statements as one nft table. Each stands on the line that it has in nf_conf, so that nft's words, should it
//! have any, name the user's lines.

use crate::conf::{Forward, Line, Statement};
use crate::words::Network;

/// The table. Its chains translate and filter nothing.
const TABLE: &str = "table inet nfio_nat { \
    chain prerouting { type nat hook prerouting priority -100; policy accept; }; \
    chain postrouting { type nat hook postrouting priority 100; policy accept; }; }; ";

/// What the guest itself sends has its address already, so it is neither translated nor counted.
const OF_OTHERS: &str = "fib saddr type != local";

/// The ruleset that does what `lines` say.
pub(crate) fn of(lines: &[Line]) -> String {
    let mut text = String::new();
    let mut here = 1;
    for (place, line) in lines.iter().enumerate() {
        text.extend(std::iter::repeat_n('\n', line.number - here));
        here = line.number;
        if place == 0 {
            text += TABLE;
        }
        text += &match &line.statement {
            Statement::Masquerade { out, from } => {
                let out = out.as_ref().map(|out| format!("oifname {out} ")).unwrap_or_default();
                let within = from.filter(|_| !out.is_empty()).filter(|from| leads_into(lines, *from));
                let within = within.map(|from| {
                    let to = format!(
                        "{}daddr {from} ct status dnat ",
                        if from.is_ipv4() { "ip " } else { "ip6 " }
                    );
                    format!("; {}", masquerade(&format!("{}{to}", source(from))))
                });
                let from = from.map(source).unwrap_or_default();
                masquerade(&format!("{out}{from}")) + &within.unwrap_or_default()
            }
            Statement::Forward(forward) => destination(forward),
        };
    }
    text + "\n"
}

fn masquerade(which: &str) -> String {
    format!("add rule inet nfio_nat postrouting {which}{OF_OTHERS} counter masquerade")
}

fn source(network: Network) -> String {
    format!("{} saddr {network} ", if network.is_ipv4() { "ip" } else { "ip6" })
}

/// Whether a forward leads into `network`: then its own machines may go that way, and their answers must come back it.
/// That everything is in 0.0.0.0/0 says nothing of who is whose neighbour.
fn leads_into(lines: &[Line], network: Network) -> bool {
    let leads = |line: &Line| match &line.statement {
        Statement::Forward(forward) => network.contains(forward.to.address),
        Statement::Masquerade { .. } => false,
    };
    !network.is_everything() && lines.iter().any(leads)
}

/// Only what is for an address of the guest: others' connections to such a port pass.
fn destination(Forward { protocol, ports, on, to }: &Forward) -> String {
    let (nfproto, family) = if to.address.is_ipv4() { ("ipv4", "ip") } else { ("ipv6", "ip6") };
    let on = on.as_ref().map(|on| format!("iifname {on} ")).unwrap_or_default();
    format!(
        "add rule inet nfio_nat prerouting meta nfproto {nfproto} {on}fib daddr type local {} dport {ports} counter \
         dnat {family} to {to}",
        protocol.word()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::{Conf, read};

    fn translated(text: &str) -> Vec<String> {
        let Conf::Lines(lines) = read(text).unwrap() else { panic!("{text}") };
        of(&lines).lines().map(str::to_owned).collect()
    }

    #[test]
    fn each_statement_stands_on_its_line() {
        let lines = translated("# a\nmasquerade out eth0\n\nforward tcp 8080 to 10.0.0.5:80\n# end");
        assert_eq!((lines.len(), lines[0].as_str(), lines[2].as_str()), (4, "", ""));
        let rule = lines[1].strip_prefix(TABLE).expect("the table comes first");
        assert_eq!(
            rule,
            "add rule inet nfio_nat postrouting oifname \"eth0\" fib saddr type != local counter masquerade"
        );
        assert_eq!(
            lines[3],
            "add rule inet nfio_nat prerouting meta nfproto ipv4 fib daddr type local tcp dport 8080 counter dnat ip to \
             10.0.0.5:80"
        );
    }

    #[test]
    fn interfaces_networks_and_families_are_matched() {
        let lines = translated(
            "masquerade\nmasquerade from 10.0.0.0/8\nmasquerade from 2001:db8::/32 out eth1\nforward udp 53 to \
             [2001:db9::5]:5353 on eth0\nforward tcp 5-9 to 10.0.0.1",
        );
        let rule = |chain, rest| format!("add rule inet nfio_nat {chain} {rest}");
        let post = |rest| rule("postrouting", format!("{rest}fib saddr type != local counter masquerade"));
        assert_eq!(lines[0], format!("{TABLE}{}", post("")));
        assert_eq!(lines[1], post("ip saddr 10.0.0.0/8 "));
        assert_eq!(lines[2], post("oifname \"eth1\" ip6 saddr 2001:db8::/32 "));
        let dnat = "meta nfproto ipv6 iifname \"eth0\" fib daddr type local udp dport 53 counter dnat ip6 to \
                    [2001:db9::5]:5353";
        assert_eq!(lines[3], rule("prerouting", dnat.into()));
        let dnat = "meta nfproto ipv4 fib daddr type local tcp dport 5-9 counter dnat ip to 10.0.0.1";
        assert_eq!(lines[4], rule("prerouting", dnat.into()));
    }

    #[test]
    fn a_network_reaches_its_own_servers_by_the_guests_address() {
        let hairpin = "; add rule inet nfio_nat postrouting ip saddr 10.0.0.0/24 ip daddr 10.0.0.0/24 ct status dnat \
                       fib saddr type != local counter masquerade";
        let masquerade = "masquerade out eth0 from 10.0.0.0/24\nforward tcp 80 to ";
        assert!(translated(&format!("{masquerade}10.0.0.5"))[0].ends_with(hairpin));
        assert!(!translated(&format!("{masquerade}10.0.1.5"))[0].contains("ct status"));
        assert!(
            !translated("masquerade out eth0 from 0.0.0.0/0\nforward tcp 80 to 10.0.0.5")[0]
                .contains("ct status")
        );
        // Without an interface the rule itself is for those too.
        assert!(
            !translated("masquerade from 10.0.0.0/24\nforward tcp 80 to 10.0.0.5")[0].contains("ct status")
        );
    }
}
