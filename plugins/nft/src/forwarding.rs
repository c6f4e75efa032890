//! What all types have that forward packets by rules of nft.

use middlebox_sdk::{File, Type};

/// The file that shows the live ruleset ([`rules`](crate::rules)).
pub const RULES: &str = "stats/rules";

/// A type that forwards packets of IPv4 and IPv6 and whose guest may set rules, with the file [`RULES`]. The guest
/// forwards once it is configured.
pub fn forwarding(name: &str, version: &str) -> Type {
    Type::new(name, version)
        .file(File::value(RULES).mode(0o440))
        .capability("NET_ADMIN")
        .capability("NET_RAW")
        .sysctl("net.ipv4.ip_forward", "1")
        .sysctl("net.ipv6.conf.all.forwarding", "1")
}
