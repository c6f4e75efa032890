//! Knows which tables the last nf_conf made.
//!
//! The record is a table of its own in the guest's kernel, [`RECORD`], with one empty chain `FAMILY/NAME` for each
//! table of nf_conf. It is written by the very transaction that makes them, so the two never disagree: it is there
//! as long as they are, and gone with them when the guest stops or somebody flushes the ruleset. A file in the guest
//! would outlive the tables; a comment on each would need theirs. It holds no rules and costs no packet anything.

use std::collections::BTreeSet;

use middlebox_sdk::{NfioError, Result};

use crate::syntax::{Item, Table, parse};

/// The table that holds the record, of family ip.
pub(crate) const RECORD: &str = "nfio_nf_conf";

/// The tables in a guest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Live {
    /// Made by the last nf_conf, and still there.
    pub(crate) mine: BTreeSet<Table>,
    /// All others, but the record.
    pub(crate) others: BTreeSet<Table>,
    recorded: bool,
}

impl Live {
    /// Reads what `nft list chains` printed.
    pub(crate) fn read(listing: &str) -> Result<Self> {
        let mut live = Self::default();
        let mut recorded = BTreeSet::new();
        let mut in_record = false;
        for line in listing.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["table", "ip", RECORD, "{", ..] => {
                    in_record = true;
                    live.recorded = true;
                }
                ["table", family, name, "{", ..] => {
                    in_record = false;
                    live.others.insert(Table::new(family, name));
                }
                ["chain", entry, "{", ..] if in_record => {
                    let (family, name) = entry.split_once('/').ok_or_else(|| {
                        NfioError::command(format!("table ip {RECORD} in the guest holds a chain {entry}"))
                    })?;
                    recorded.insert(Table::new(family, name));
                }
                _ => {}
            }
        }
        live.mine = recorded.into_iter().filter(|table| live.others.remove(table)).collect();
        Ok(live)
    }

    /// Whether there is anything to take away.
    pub(crate) fn is_mine_empty(&self) -> bool {
        self.mine.is_empty() && !self.recorded
    }

    /// Lines that take away what the last nf_conf made, and its record.
    pub(crate) fn deletion(&self) -> String {
        let record = self.recorded.then(|| Table::new("ip", RECORD));
        self.mine.iter().chain(&record).map(|table| format!("delete table {table}\n")).collect()
    }
}

/// The command that records `tables`.
pub(crate) fn entry(tables: &BTreeSet<Table>) -> String {
    if tables.is_empty() {
        return String::new();
    }
    let chains: String =
        tables.iter().map(|table| format!(" chain {}/{} {{ }};", table.family, table.name)).collect();
    format!("\ntable ip {RECORD} {{{chains} }}")
}

/// A listing of the ruleset without the record: what an operator wants to see, and may give back as nf_conf.
pub(crate) fn without(listing: &str) -> String {
    let range = parse(listing).ok().and_then(|items| {
        items.iter().find_map(|item| match item {
            Item::Declared { table, start, end, .. } if *table == Table::new("ip", RECORD) => {
                Some(*start..*end)
            }
            _ => None,
        })
    });
    let Some(range) = range else { return listing.into() };
    let behind = listing[range.end..].strip_prefix('\n').unwrap_or(&listing[range.end..]);
    format!("{}{behind}", &listing[..range.start])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_and_there_is_mine_and_the_rest_is_not() {
        let listing = "table ip nat { # progname x\n\tchain OUT {\n\t\ttype nat hook output priority -100; policy accept;\n\t}\n}\n\
             table inet t {\n}\ntable ip nfio_nf_conf {\n\tchain inet/t {\n\t}\n\tchain ip/gone {\n\t}\n}\n";
        let live = Live::read(listing).unwrap();
        assert_eq!(live.mine, BTreeSet::from([Table::new("inet", "t")]));
        assert_eq!(live.others, BTreeSet::from([Table::new("ip", "nat")]));
        assert_eq!(live.deletion(), "delete table inet t\ndelete table ip nfio_nf_conf\n");
        let without = without(listing);
        assert!(!without.contains("nfio") && without.contains("chain OUT") && without.ends_with("t {\n}\n"));
    }

    #[test]
    fn an_empty_guest_has_nothing_of_mine() {
        let live = Live::read("").unwrap();
        assert!(live.is_mine_empty() && live.deletion().is_empty() && entry(&live.mine).is_empty());
    }
}
