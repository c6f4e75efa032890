//! The type `nat`: masquerading and port forwards, by lines of its own or by an nft ruleset.
//!
//! **nf_conf** is one of two, told by its first word (behind blank lines and `#` comments): a command of nft (`table`,
//! `flush`, `add`, `define`, `include` …) begins a plain nft ruleset. Otherwise each line is a statement:
//!
//! ```text
//! masquerade [out IFACE] [from NETWORK]                    hide others behind the guest's own address
//! forward tcp|udp PORT[-PORT] [on IFACE] to ADDRESS[:PORT] lead what comes for the guest to another machine
//! ```
//!
//! ```text
//! # A branch office.
//! masquerade out eth0 from 10.0.0.0/24
//! forward tcp 8080 to 10.0.0.5:80
//! forward tcp 30000-30099 on eth0 to 10.0.0.7      # a range keeps its ports
//! forward udp 53 on eth0 to [2001:db8::53]:5353
//! ```
//!
//! - `masquerade` is for connections that the guest forwards, not for its own. `out`: those that leave by this
//!   interface; `from`: those from this network. With neither it is for all, those forwarded to a port included: then
//!   servers see the guest's address alone, and need no route back to the client. A guest with one interface wants
//!   that. IPv4 and IPv6 alike.
//! - `forward` takes what is sent to an address of the guest itself; `on`: what comes in there. Servers see the
//!   client's address, so their way back to it must lead through the guest. Where `masquerade … from NETWORK` names
//!   the network that the server is in, clients of that same network reach it by the guest's address too (they are
//!   masqueraded: otherwise the answers would not come back through the guest).
//! - What is neither masqueraded nor for a forwarded port is routed as it is. There is no filter: for that there is the
//!   type `firewall`, or the plain ruleset.
//!
//! Either way nf_conf is checked first, then applied in one transaction that replaces what the last one made; a refused
//! one leaves the running one as it was (the crate `nft` tells the rest).
//!
//! **stats/translations** is the number of connections that rules have translated since the last configure, one for
//! each rule that took it: a connection that is forwarded and masqueraded counts twice. `masquerade`, `snat`, `dnat`
//! and `redirect` of a plain ruleset count too (where they take the new address from a map, also what the map does not
//! hold); those of the image where they have counters. **stats/rules** is the live ruleset with its counters.

#![forbid(unsafe_code)]

mod conf;
mod ruleset;
mod words;

use middlebox_sdk::error::ENOENT;
use middlebox_sdk::{File, Middlebox, NfioError, Result, Type, Vnf};
use nft::Count;

const TRANSLATIONS: &str = "stats/translations";

/// The type.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nat;

impl Middlebox for Nat {
    fn describe(&self) -> Type {
        nft::forwarding("nat", env!("CARGO_PKG_VERSION")).file(File::value(TRANSLATIONS))
    }

    fn read(&self, vnf: &Vnf<'_>, file: &str) -> Result<Vec<u8>> {
        match file {
            TRANSLATIONS => Ok(format!("{}\n", nft::translated(vnf)?).into_bytes()),
            nft::RULES => nft::rules(vnf).map(String::into_bytes),
            _ => Err(NfioError::posix(ENOENT, format!("a nat has no file {file}"))),
        }
    }

    fn configure(&self, vnf: &Vnf<'_>, nf_conf: &[u8]) -> Result<()> {
        match std::str::from_utf8(nf_conf).ok().map(conf::read).transpose()? {
            Some(conf::Conf::Lines(lines)) => {
                nft::configure(vnf, ruleset::of(&lines).as_bytes(), Count::Translations)
            }
            // What is not UTF-8 is refused there, with its line.
            Some(conf::Conf::Nft) | None => nft::configure(vnf, nf_conf, Count::Translations),
        }
    }
}

middlebox_sdk::export_middlebox!(Nat);

#[cfg(test)]
mod tests {
    use super::*;
    use middlebox_sdk::Output;
    use middlebox_sdk::testing::{Call, Command, Guest};

    #[test]
    fn it_asks_for_forwarding_and_the_rights_of_nftables() {
        let ty = Type::from_text(&Nat.describe().to_text().unwrap()).unwrap();
        assert_eq!(ty.name, "nat");
        let files: Vec<_> = ty.files.iter().map(|file| (file.path.as_str(), file.mode)).collect();
        assert_eq!(files, [(nft::RULES, 0o440), (TRANSLATIONS, 0o444)]);
        assert_eq!(ty.needs.capabilities, ["NET_ADMIN", "NET_RAW"]);
        assert!(ty.needs.sysctls.contains_key("net.ipv4.ip_forward"));
    }

    #[test]
    fn lines_reach_nft_as_a_table_and_a_ruleset_as_it_is_with_counters() {
        let applied = |nf_conf: &str| {
            let guest = Guest::new("nat", "nat-a");
            Nat.configure(&guest.during(Call::Configure), nf_conf.as_bytes()).unwrap();
            let last = guest.commands().last().unwrap().clone();
            assert_eq!(last.argv, ["nft", "-f", "-"]);
            String::from_utf8(last.stdin).unwrap()
        };
        let lines = applied("masquerade out eth0\n");
        assert!(
            lines.starts_with("table inet nfio_nat {") && lines.contains("counter masquerade\n"),
            "{lines}"
        );
        let plain = applied("table t { chain c { masquerade; }; }\n");
        assert!(plain.starts_with("table t { chain c { counter masquerade; }; }\n"), "{plain}");
    }

    #[test]
    fn a_line_that_is_refused_never_reaches_the_guest() {
        let guest = Guest::new("nat", "nat-a");
        let error = Nat.configure(&guest.during(Call::Configure), b"masquerade out eth0;\n").unwrap_err();
        assert_eq!(error.code(), 720);
        assert_eq!(guest.commands(), []);
    }

    #[test]
    fn translations_are_what_the_live_rules_have_counted() {
        let listing = "table ip n {\n\tchain c {\n\t\tcounter packets 7 bytes 9 masquerade\n\t}\n}\n";
        let guest = Guest::new("nat", "nat-a").on_execute(move |command: &Command| {
            assert_eq!(command.argv[0], "nft");
            Output { stdout: listing.into(), ..Output::default() }
        });
        assert_eq!(Nat.read(&guest.during(Call::Read), TRANSLATIONS).unwrap(), b"7\n");
        assert_eq!(Nat.read(&guest.during(Call::Read), nft::RULES).unwrap(), listing.as_bytes());
        let stopped = Guest::new("nat", "nat-a").with_status("exited");
        assert_eq!(Nat.read(&stopped.during(Call::Read), TRANSLATIONS).unwrap_err().code(), 716);
    }
}
