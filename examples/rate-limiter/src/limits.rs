//! What a line of nf_conf says, and what nft is told for it.
//!
//! ```text
//! limit WHAT RATE [burst AMOUNT]
//! WHAT    any, icmp, tcp, udp, or the source: an address or a network
//! RATE    5/second, or 1 mbytes/second; per second, minute, hour or day
//! AMOUNT  20 (packets), or 64 kbytes
//! ```

use std::fmt;
use std::net::IpAddr;

/// One line.
pub struct Limit {
    what: What,
    rate: Amount,
    per: &'static str,
    burst: Option<Amount>,
}

enum What {
    Any,
    Protocol(&'static str),
    Source(IpAddr, u8),
}

struct Amount {
    number: u32,
    unit: &'static str,
}

/// Reads nf_conf. Blank lines and those that begin with `#` say nothing.
///
/// # Errors
/// A sentence with the number of the line.
pub fn parse(text: &str) -> Result<Vec<Limit>, String> {
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !matches!(line.trim().as_bytes(), [] | [b'#', ..]));
    lines.map(|(n, line)| limit(line).map_err(|why| format!("nf_conf:{}: {why}", n + 1))).collect()
}

fn limit(line: &str) -> Result<Limit, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (head, burst) = match &words[..] {
        [head @ .., "burst", number] => (head, Some(amount(number, "packets")?)),
        [head @ .., "burst", number, unit] => (head, Some(amount(number, unit)?)),
        head => (head, None),
    };
    let (source, number, rate) = match head {
        ["limit", what, rate] => (what, rate.split('/').next().unwrap_or(rate), *rate),
        ["limit", what, number, rate] => (what, *number, *rate),
        _ => return Err("it is no `limit WHAT RATE`, for example limit icmp 5/second".into()),
    };
    let (unit, per) = rate.split_once('/').ok_or(format!("{rate} is no rate, for example 5/second"))?;
    let rate = amount(number, if unit == number { "packets" } else { unit })?;
    if burst.as_ref().is_some_and(|burst| (burst.unit == "packets") != (rate.unit == "packets")) {
        return Err("rate and burst both count packets, or both bytes".into());
    }
    Ok(Limit { what: what(source)?, rate, per: one_of(per, &["second", "minute", "hour", "day"])?, burst })
}

fn what(word: &str) -> Result<What, String> {
    if word == "any" {
        return Ok(What::Any);
    }
    if let Ok(protocol) = one_of(word, &["icmp", "tcp", "udp"]) {
        return Ok(What::Protocol(protocol));
    }
    let (address, length) = word.split_once('/').unwrap_or((word, ""));
    let wrong = || format!("{word} is not any, icmp, tcp, udp, an address or a network");
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = if word.contains('/') { length.parse().map_err(|_| wrong())? } else { most };
    if length > most { Err(wrong()) } else { Ok(What::Source(address, length)) }
}

fn amount(number: &str, unit: &str) -> Result<Amount, String> {
    let unit = one_of(unit, &["packets", "bytes", "kbytes", "mbytes"])?;
    match number.parse() {
        Ok(number) if number > 0 => Ok(Amount { number, unit }),
        _ => Err(format!("{number} is no number from 1 to {}", u32::MAX)),
    }
}

/// The word of ours that `word` is.
fn one_of(word: &str, words: &[&'static str]) -> Result<&'static str, String> {
    let found = words.iter().find(|known| **known == word);
    found.copied().ok_or_else(|| format!("{word} is none of {}", words.join(", ")))
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Any => {}
            What::Protocol(protocol) => write!(f, "meta l4proto {protocol} ")?,
            What::Source(IpAddr::V4(address), length) => write!(f, "ip saddr {address}/{length} ")?,
            What::Source(IpAddr::V6(address), length) => write!(f, "ip6 saddr {address}/{length} ")?,
        }
        match &self.rate {
            Amount { number, unit: "packets" } => write!(f, "limit rate over {number}/{}", self.per)?,
            Amount { number, unit } => write!(f, "limit rate over {number} {unit}/{}", self.per)?,
        }
        if let Some(Amount { number, unit }) = &self.burst {
            write!(f, " burst {number} {unit}")?;
        }
        f.write_str(" counter name limited drop")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_becomes_one_rule() {
        for (line, rule) in [
            ("limit icmp 5/second", "meta l4proto icmp limit rate over 5/second"),
            ("limit any 9/day burst 20", "limit rate over 9/day burst 20 packets"),
            (
                "limit 10.0.0.0/8 1 mbytes/second burst 64 kbytes",
                "ip saddr 10.0.0.0/8 limit rate over 1 mbytes/second burst 64 kbytes",
            ),
            (" limit fe80::1  2/hour ", "ip6 saddr fe80::1/128 limit rate over 2/hour"),
        ] {
            let limits = parse(&format!("# a comment\n\n{line}\n")).unwrap();
            assert_eq!(limits[0].to_string(), format!("{rule} counter name limited drop"));
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (line, word) in [
            ("limit", "limit WHAT RATE"),
            ("limit icmp 5", "5 is no rate"),
            ("limit icmp 0/second", "0 is no number"),
            ("limit icmp 5/week", "week is none of"),
            ("limit icmp; 5/second", "icmp; is not any"),
            ("limit 10.0.0.0/33 5/second", "10.0.0.0/33"),
            ("limit udp 5/second burst 1 kbytes", "both count packets"),
        ] {
            let why = parse(&format!("limit any 1/second\n{line}\n")).err().expect(line);
            assert!(why.starts_with("nf_conf:2: ") && why.contains(word), "{why}");
        }
    }
}
