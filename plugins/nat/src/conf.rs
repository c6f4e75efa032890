//! Reads nf_conf: the statements, and which line they stand on. Nothing of the text itself goes any further.

use std::net::IpAddr;

use middlebox_sdk::{NfioError, Result};

use crate::words::{Interface, Network, Ports, Protocol, Target, shown};

/// What nf_conf is.
#[derive(Debug)]
pub(crate) enum Conf {
    /// A plain nft ruleset, or nothing.
    Nft,
    /// Lines of our own.
    Lines(Vec<Line>),
}

/// A statement and its line, from 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) statement: Statement,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    Masquerade { out: Option<Interface>, from: Option<Network> },
    Forward(Forward),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Forward {
    pub(crate) protocol: Protocol,
    pub(crate) ports: Ports,
    pub(crate) on: Option<Interface>,
    pub(crate) to: Target,
}

impl Forward {
    /// Whether connections that `other` names never reach it, because this one comes first.
    fn takes_from(&self, other: &Self) -> bool {
        let family = |address: IpAddr| address.is_ipv4();
        self.protocol == other.protocol
            && self.ports.meets(other.ports)
            && family(self.to.address) == family(other.to.address)
            && (self.on.is_none() || self.on == other.on)
    }
}

/// Words that begin commands of nft.
const NFT: [&str; 31] = [
    "add",
    "chain",
    "counter",
    "create",
    "ct",
    "define",
    "delete",
    "describe",
    "destroy",
    "element",
    "export",
    "flowtable",
    "flush",
    "import",
    "include",
    "insert",
    "limit",
    "list",
    "map",
    "meter",
    "monitor",
    "quota",
    "redefine",
    "rename",
    "replace",
    "reset",
    "rule",
    "secmark",
    "set",
    "synproxy",
    "table",
];

const FORMS: &str = "a line is `masquerade [out IFACE] [from NETWORK]` or \
                     `forward tcp|udp PORT[-PORT] [on IFACE] to ADDRESS[:PORT]`";

/// Tells which of the two `text` is, and reads its lines if they are ours.
///
/// # Errors
/// VNFConfigurationError: a sentence with the line and the way out.
pub(crate) fn read(text: &str) -> Result<Conf> {
    let mut lines: Vec<Line> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split_once('#').map_or(line, |(before, _comment)| before);
        let mut words = line.split_whitespace();
        let Some(verb) = words.next() else { continue };
        if NFT.contains(&verb) && lines.is_empty() {
            return Ok(Conf::Nft);
        }
        let at_line = |why: String| NfioError::configuration(format!("nf_conf:{number}: {why}"));
        let statement = match verb {
            "masquerade" => masquerade(words),
            "forward" => forward(words).map(Statement::Forward),
            _ if NFT.contains(&verb) => Err(format!(
                "`{verb}` is nft's: nf_conf is either an nft ruleset from its first word on, or lines of \
                 masquerade and forward"
            )),
            _ => Err(format!(
                "{} is unknown: {FORMS}; or begin with a command of nft, for example `table`",
                shown(verb)
            )),
        };
        let statement = statement.map_err(at_line)?;
        if let Some(earlier) = lines.iter().find(|earlier| takes_from(&earlier.statement, &statement)) {
            return Err(at_line(format!(
                "line {} takes these ports, or some of them, already: take one of the two away",
                earlier.number
            )));
        }
        lines.push(Line { number, statement });
    }
    Ok(if lines.is_empty() { Conf::Nft } else { Conf::Lines(lines) })
}

fn takes_from(earlier: &Statement, later: &Statement) -> bool {
    match (earlier, later) {
        (Statement::Forward(earlier), Statement::Forward(later)) => earlier.takes_from(later),
        _ => false,
    }
}

type Words<'a> = std::str::SplitWhitespace<'a>;

/// The word behind `key`, which may stand there once.
fn take<'a>(
    words: &mut Words<'a>,
    key: &str,
    known: bool,
    what: &str,
) -> std::result::Result<&'a str, String> {
    if known {
        return Err(format!("`{key}` is there twice"));
    }
    words.next().ok_or_else(|| format!("behind `{key}` there must be {what}"))
}

fn masquerade(mut words: Words<'_>) -> std::result::Result<Statement, String> {
    let (mut out, mut from) = (None, None);
    while let Some(key) = words.next() {
        match key {
            "out" => out = Some(Interface::parse(take(&mut words, key, out.is_some(), "an interface")?)?),
            "from" => from = Some(Network::parse(take(&mut words, key, from.is_some(), "a network")?)?),
            _ => return Err(unexpected(key)),
        }
    }
    Ok(Statement::Masquerade { out, from })
}

fn forward(mut words: Words<'_>) -> std::result::Result<Forward, String> {
    let protocol = Protocol::parse(take(&mut words, "forward", false, "tcp or udp")?)?;
    let ports = Ports::parse(take(&mut words, protocol.word(), false, "a port")?)?;
    let (mut on, mut to) = (None, None);
    while let Some(key) = words.next() {
        match key {
            "on" => on = Some(Interface::parse(take(&mut words, key, on.is_some(), "an interface")?)?),
            "to" => to = Some(Target::parse(take(&mut words, key, to.is_some(), "an address")?)?),
            _ => return Err(unexpected(key)),
        }
    }
    let to = to.ok_or_else(|| format!("it does not say where to: {FORMS}"))?;
    if ports.is_range() && to.port.is_some() {
        return Err("a range keeps its ports: leave the port behind the address away".into());
    }
    Ok(Forward { protocol, ports, on, to })
}

fn unexpected(word: &str) -> String {
    format!("{} is not expected here: {FORMS}", shown(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let error = read(text).unwrap_err();
        assert_eq!(error.code(), 720);
        error.to_string()
    }

    #[test]
    fn the_first_word_tells_an_nft_ruleset_from_lines_of_our_own() {
        for text in [
            "",
            "\n # masquerade\n",
            "table ip nat { }",
            "#!/usr/sbin/nft -f\n\nflush ruleset\n",
            "  add table x; masquerade",
            "define wan = eth0\nmasquerade\n",
            "include \"/etc/nat.nft\"",
        ] {
            assert!(matches!(read(text).unwrap(), Conf::Nft), "{text}");
        }
        let Conf::Lines(lines) =
            read("# table\n\nmasquerade # out\r\n\tforward udp 5 to 10.0.0.1 #\n").unwrap()
        else {
            panic!("lines of our own");
        };
        assert_eq!(lines.iter().map(|line| line.number).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(lines[0].statement, Statement::Masquerade { out: None, from: None });
    }

    #[test]
    fn a_refusal_names_the_line_and_the_way_out() {
        for (line, told) in [
            ("masqerade out eth0", "\"masqerade\" is unknown: a line is `masquerade"),
            ("table ip nat { }", "`table` is nft's"),
            ("masquerade out", "behind `out` there must be an interface"),
            ("masquerade eth0", "\"eth0\" is not expected here"),
            ("masquerade out eth0 out eth1", "`out` is there twice"),
            ("masquerade from 10.0.0.0/24 from 10.0.1.0/24", "`from` is there twice"),
            ("forward", "behind `forward` there must be tcp or udp"),
            ("forward sctp 1 to 10.0.0.1", "\"sctp\" is no protocol"),
            ("forward tcp", "behind `tcp` there must be a port"),
            ("forward tcp 80", "does not say where to"),
            ("forward tcp 80 to", "behind `to` there must be an address"),
            ("forward tcp 80 10.0.0.1", "\"10.0.0.1\" is not expected here"),
            ("forward tcp 80-81 to 10.0.0.1:80", "a range keeps its ports"),
            ("forward tcp 80 to 10.0.0.1; flush ruleset", "\"10.0.0.1;\" is no address"),
            ("forward tcp 80 to 10.0.0.1 ; flush ruleset", "\";\" is not expected here"),
            ("masquerade out eth0\"}", "is no interface"),
        ] {
            let error = refusal(&format!("# first\nmasquerade\n{line}\n"));
            assert!(error.starts_with("nf_conf:3: ") && error.contains(told), "{line}: {error}");
        }
    }

    #[test]
    fn a_port_is_forwarded_once() {
        for (first, second) in [
            ("tcp 80 to 10.0.0.1", "tcp 80 to 10.0.0.2"),
            ("tcp 80-90 to 10.0.0.1", "tcp 85 on eth0 to 10.0.0.2"),
            ("udp 9 on eth0 to ::2", "udp 8-9 on eth0 to ::3"),
        ] {
            let error = refusal(&format!("\nforward {first}\nforward {second}"));
            assert!(error.starts_with("nf_conf:3: line 2 takes these ports"), "{error}");
        }
        for (first, second) in [
            ("tcp 80 to 10.0.0.1", "udp 80 to 10.0.0.2"),
            ("tcp 80 to 10.0.0.1", "tcp 81 to 10.0.0.2"),
            ("tcp 80 to 10.0.0.1", "tcp 80 to 2001:db8::2"),
            ("tcp 80 on eth0 to 10.0.0.1", "tcp 80 on eth1 to 10.0.0.2"),
            ("tcp 80 on eth0 to 10.0.0.1", "tcp 80 to 10.0.0.2"),
        ] {
            read(&format!("forward {first}\nforward {second}")).unwrap();
        }
    }
}
