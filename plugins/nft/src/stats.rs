//! The live ruleset, and what it has dropped or translated, from nft's own listing.
//!
//! The listing is read as text, by the parser that reads nf_conf: nft 1.0.6 writes a nameless chain (`jump { … }`) as
//! one string in its JSON, and there are builds of nft without JSON.

use middlebox_sdk::{NfioError, Result, Vnf};

use crate::count::Count;
use crate::rewrite::{POLICY_COMMENT, policies};
use crate::rule::Counted;
use crate::syntax::{Item, parse};
use crate::{nft, record};

/// The live ruleset with its counters, and without what nfio keeps there for itself.
///
/// # Errors
/// What the guest or its nft could not do.
pub fn rules(vnf: &Vnf<'_>) -> Result<String> {
    Ok(record::without(&nft::list(vnf, &["list", "ruleset"])?))
}

/// Packets dropped by rules and policies since configure, as far as counters tell.
///
/// # Errors
/// What the guest or its nft could not do.
pub fn dropped(vnf: &Vnf<'_>) -> Result<u64> {
    // Terse: without the elements of sets, which may be many and drop nothing.
    dropped_by(&nft::list(vnf, &["-t", "list", "ruleset"])?)
}

/// Connections translated by rules since configure, as far as counters tell.
///
/// # Errors
/// What the guest or its nft could not do.
pub fn translated(vnf: &Vnf<'_>) -> Result<u64> {
    translated_by(&nft::list(vnf, &["-t", "list", "ruleset"])?)
}

fn understood(listing: &str) -> Result<Vec<Item<'_>>> {
    parse(listing)
        .map_err(|why| NfioError::command(format!("nft's listing of the ruleset is not understood: {why}")))
}

fn packets(counted: Counted) -> u64 {
    match counted {
        Counted::Packets(packets) => packets,
        Counted::No => 0,
    }
}

fn translated_by(listing: &str) -> Result<u64> {
    let items = understood(listing)?;
    let translated = items.iter().map(|item| {
        let Item::Rule(rule) = item else { return 0 };
        rule.verdict(Count::Translations).map_or(0, |verdict| packets(verdict.counted))
    });
    Ok(translated.fold(0, u64::saturating_add))
}

fn dropped_by(listing: &str) -> Result<u64> {
    let items = understood(listing)?;
    let dropping = policies(&items);
    let dropped = items.iter().map(|item| {
        let Item::Rule(rule) = item else { return 0 };
        if rule.comment() == POLICY_COMMENT {
            return rule.packets();
        }
        match rule.verdict(Count::Drops) {
            Some(verdict) if verdict.word == "return" && (rule.nested || !dropping.contains(&rule.chain)) => {
                0
            }
            Some(verdict) => packets(verdict.counted),
            None => 0,
        }
    });
    Ok(dropped.fold(0, u64::saturating_add))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_policies_and_returns_to_them_are_summed_and_nothing_else() {
        let listing = r#"
table ip t {
	chain nfio_drop {
		counter packets 1 bytes 10 drop
	}
	chain a {
		type filter hook input priority filter; policy drop;
		tcp dport 22 counter packets 100 bytes 10 accept
		ip saddr 10.0.0.1 counter packets 2 bytes 10 return
		tcp dport vmap { 23 : goto nfio_drop }
		jump {
			counter packets 4 bytes 10 reject
			counter packets 200 bytes 10 return
		}
		counter packets 8 bytes 10 log prefix "drop" drop comment "x"
		counter packets 16 bytes 10 comment "nfio: dropped by policy"
	}
	chain b {
		counter packets 400 bytes 10 return
		counter packets 800 bytes 10 tcp dport 5 drop
	}
}
"#;
        assert_eq!(dropped_by(listing).unwrap(), 31);
        assert_eq!(dropped_by("").unwrap(), 0);
        assert_eq!(dropped_by("table ip t {").unwrap_err().code(), 703);
    }

    #[test]
    fn translations_are_summed_and_nothing_else() {
        let listing = r#"
table inet n {
	chain a {
		type nat hook postrouting priority srcnat; policy accept;
		ct status dnat counter packets 100 bytes 10 accept
		oifname "eth0" counter packets 1 bytes 10 masquerade
		counter packets 2 bytes 10 snat ip to 192.0.2.1
		counter packets 200 bytes 10 tcp dport 5 masquerade
	}
	chain b {
		tcp dport 80 counter packets 4 bytes 10 dnat ip to 10.0.0.5:80
		tcp dport 81 counter packets 8 bytes 10 redirect to :80 comment "x"
		counter packets 400 bytes 10 drop
	}
}
"#;
        assert_eq!(translated_by(listing).unwrap(), 15);
        assert_eq!(translated_by("").unwrap(), 0);
    }
}
