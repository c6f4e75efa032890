//! The words of a statement as values. What cannot be one of these is refused here, so nothing that a user wrote can
//! mean anything else to nft.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

type Result<T> = std::result::Result<T, String>;

/// A word for an error: quoted, escaped, and not too long.
pub(crate) fn shown(word: &str) -> String {
    const LONGEST: usize = 60;
    match word.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?} …", &word[..end]),
        None => format!("{word:?}"),
    }
}

/// A number in digits alone: Rust's own parser takes a `+` too.
fn number<T: FromStr>(digits: &str) -> Option<T> {
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub(crate) fn parse(word: &str) -> Result<Self> {
        match word {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(format!("{} is no protocol that is forwarded: write tcp or udp", shown(word))),
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// The name of an interface of the guest. It need not be there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface(String);

impl Interface {
    /// The kernel's own limit, without the final zero.
    const LONGEST: usize = 15;

    pub(crate) fn parse(word: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if word.len() > Self::LONGEST || !word.chars().all(plain) {
            return Err(format!(
                "{} is no interface: its name has up to {} letters, digits, dots, hyphens and underscores",
                shown(word),
                Self::LONGEST
            ));
        }
        Ok(Self(word.into()))
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// A network, or with the whole length as prefix one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    prefix: u32,
}

/// An address as a number, its bits at the top, and how many they are.
fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

/// The top bits of a number.
fn top(bits: u128, prefix: u32) -> u128 {
    bits & u128::MAX.checked_shl(128 - prefix).unwrap_or(0)
}

impl Network {
    pub(crate) fn parse(word: &str) -> Result<Self> {
        let wrong = || format!("{} is no network: write one as 10.0.0.0/24 or 2001:db8::/64", shown(word));
        let (address, prefix) = match word.split_once('/') {
            Some((address, prefix)) => (address, Some(number(prefix).ok_or_else(wrong)?)),
            None => (word, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let (bits, length) = bits(address);
        let prefix = prefix.unwrap_or(length);
        if prefix > length {
            return Err(wrong());
        }
        let network = top(bits, prefix);
        if network != bits {
            let address = match address {
                IpAddr::V4(_) => IpAddr::from(((network >> 96) as u32).to_be_bytes()),
                IpAddr::V6(_) => Ipv6Addr::from_bits(network).into(),
            };
            return Err(format!("{} is an address within a network: write {address}/{prefix}", shown(word)));
        }
        Ok(Self { address, prefix })
    }

    pub(crate) fn is_ipv4(self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether it is no network in particular.
    pub(crate) fn is_everything(self) -> bool {
        self.prefix == 0
    }

    pub(crate) fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_ipv4() && top(bits(address).0, self.prefix) == bits(self.address).0
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A port, or the first and the last of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    pub(crate) fn parse(word: &str) -> Result<Self> {
        let port = |digits| number(digits).filter(|port| *port != 0);
        let ports = match word.split_once('-') {
            Some((first, last)) => port(first).zip(port(last)),
            None => port(word).map(|port| (port, port)),
        };
        match ports {
            Some((first, last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!(
                "{} is no port: write a number from 1 to 65535, or two as 8000-8099",
                shown(word)
            )),
        }
    }

    pub(crate) fn is_range(self) -> bool {
        self.first != self.last
    }

    pub(crate) fn meets(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_range() { write!(f, "{}-{}", self.first, self.last) } else { write!(f, "{}", self.first) }
    }
}

/// Where a forward leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: IpAddr,
    /// None: the port stays what it is.
    pub(crate) port: Option<u16>,
}

impl Target {
    pub(crate) fn parse(word: &str) -> Result<Self> {
        let (address, port) = match (word.parse::<IpAddr>(), word.parse::<SocketAddr>()) {
            (Ok(address), _) => (address, None),
            // A zone (`%2`) means an interface of one machine: nft knows none.
            (_, Ok(target)) if target.port() != 0 && !word.contains(['%', '+']) => {
                (target.ip(), Some(target.port()))
            }
            _ => {
                return Err(format!(
                    "{} is no address: write one as 10.0.0.5, 10.0.0.5:80, 2001:db8::5 or [2001:db8::5]:80",
                    shown(word)
                ));
            }
        };
        if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
            return Err(format!("{} is no other machine's address", shown(word)));
        }
        Ok(Self { address, port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}", SocketAddr::new(self.address, port)),
            None => write!(f, "{}", self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is printed of each word is the word itself; the others are refused.
    fn check<T: fmt::Display>(parse: fn(&str) -> Result<T>, right: &[&str], wrong: &[&str]) {
        for word in right {
            assert_eq!(
                parse(word).unwrap_or_else(|why| panic!("{word}: {why}")).to_string().trim_matches('"'),
                *word
            );
        }
        for word in wrong {
            let why = parse(word).map(|value| value.to_string()).unwrap_err();
            assert!(why.contains(&format!("{word:?} is ")), "{word}: {why}");
        }
    }

    #[test]
    fn interfaces() {
        let wrong =
            ["a234567890123456", "eth*", "eth0\"", "eth0;", "eth/0", "eth\u{e9}", "$wan", "{", "eth\\*"];
        check(Interface::parse, &["eth0", "br-lan", "eth0.100", "wg_1", "a23456789012345"], &wrong);
    }

    #[test]
    fn networks() {
        let right = ["10.0.0.0/24", "0.0.0.0/0", "192.0.2.1/32", "2001:db8::/32", "::/0"];
        let wrong = [
            "10.0.0.0/33",
            "10.0.0/24",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "::/129",
            "lan",
            "10.0.0.1/24",
        ];
        check(Network::parse, &right, &wrong);
        assert_eq!(Network::parse("192.0.2.1").unwrap().to_string(), "192.0.2.1/32");
        assert!(Network::parse("10.1.2.3/12").unwrap_err().ends_with("write 10.0.0.0/12"));
        assert!(Network::parse("2001:db8::1/64").unwrap_err().ends_with("write 2001:db8::/64"));
        let contains = |network: &str, address: &str| {
            Network::parse(network).unwrap().contains(address.parse().unwrap())
        };
        assert!(
            contains("10.0.0.0/24", "10.0.0.9")
                && contains("0.0.0.0/0", "1.2.3.4")
                && contains("::/0", "::2")
        );
        assert!(
            !contains("10.0.0.0/24", "10.0.1.9")
                && !contains("::/0", "1.2.3.4")
                && !contains("0.0.0.0/0", "::2")
        );
    }

    #[test]
    fn ports() {
        let wrong = ["0", "65536", "80-", "-80", "90-80", "+80", "80,81", "http", "80-90-99", "1-65536"];
        check(Ports::parse, &["1", "65535", "80-90"], &wrong);
    }

    #[test]
    fn targets() {
        let right = ["10.0.0.5", "10.0.0.5:80", "2001:db8::5", "[2001:db8::5]:80"];
        let wrong = [
            "10.0.0.5:0",
            "10.0.0.5:",
            "10.0.0.5:+80",
            "10.0.0.5:65536",
            "10.0.0.5:80-90",
            "[2001:db8::5]",
            "web:80",
            "[fe80::1%2]:80",
            "fe80::1%eth0",
            "127.0.0.1",
            "::1",
            "0.0.0.0",
            "224.0.0.1",
            "10.0.0.5}",
        ];
        check(Target::parse, &right, &wrong);
    }

    #[test]
    fn what_is_shown_of_a_word_is_short_and_plain() {
        assert_eq!(shown("a\u{1b}[31m\u{202e}"), "\"a\\u{1b}[31m\\u{202e}\"");
        assert!(shown(&"x".repeat(1 << 20)).len() < 100);
    }
}
