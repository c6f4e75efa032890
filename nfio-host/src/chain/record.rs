//! The record of an active chain: what it was when it was activated. It is written and synced before the first change,
//! so that `destroy` takes away exactly what was made, whatever happened in between.

use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::path::Path;

use super::end::End;
use super::graph::Graph;
use super::plan::{Place, Plan, Shape};
use crate::beneath;
use crate::error::{NfioError, Result};

/// Longest record that is read, in bytes.
const LIMIT: usize = 8 << 20;

/// An active chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The chain's UUID.
    pub(super) id: String,
    /// Whether `activate` came to its end. One that did not is taken away by `destroy`, or by the next `activate`.
    pub(super) complete: bool,
    /// Whether it is being taken away: of one whose removal was interrupted nothing is mended any more, as its addresses
    /// may be another's already.
    #[serde(default)]
    pub(super) leaving: bool,
    /// The lower addresses of the hops' pairs.
    pub(super) addresses: Vec<Ipv4Addr>,
    /// The numbers of those members that are virtual machines.
    #[serde(default)]
    pub(super) machines: Vec<usize>,
    /// Kernel parameters as they were before.
    pub(super) before: Vec<Parameter>,
    pub(super) ingress: End,
    pub(super) egress: End,
    pub(super) ingress_shape: Shape,
    pub(super) egress_shape: Shape,
    pub(super) graph: Graph,
}

/// A kernel parameter that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Parameter {
    pub(super) place: Place,
    /// Path below /proc/sys.
    pub(super) key: String,
    pub(super) value: String,
}

impl Record {
    /// The first 8 digits of the chain's UUID.
    pub(super) fn short(&self) -> &str {
        self.id.get(..8).unwrap_or(&self.id)
    }

    /// Parameters that were changed in the namespace of this end.
    pub(super) fn at_end<'a>(&'a self, end: &'a End) -> impl Iterator<Item = &'a Parameter> {
        self.before.iter().filter(move |before| match before.place {
            Place::Ingress => self.ingress.is_beside(end),
            Place::Egress => self.egress.is_beside(end),
            Place::Member(_) => false,
        })
    }

    /// What a place is called.
    pub(super) fn name(&self, place: Place) -> String {
        match place {
            Place::Ingress => self.ingress.to_string(),
            Place::Egress => self.egress.to_string(),
            Place::Member(number) => {
                let member = self.graph.members().nth(number);
                member.map_or_else(String::new, |(_, member)| member.to_string())
            }
        }
    }

    /// What is to be made.
    pub(super) fn plan(&self) -> Plan {
        Plan::new(&self.graph, &self.machines, self.short(), &self.addresses)
    }

    /// Number of the routing table of an end's interface, for each direction; in a guest they are always the same.
    pub(super) fn table_base(&self) -> u32 {
        // 0x6e: n. Two tables each.
        0x6e00_0000 | (u32::from_str_radix(self.short(), 16).unwrap_or(0) & 0x007f_ffff) << 1
    }

    /// Reads a record; None where there is none.
    pub(super) fn load(path: &Path) -> Result<Option<Self>> {
        let unreadable = |e: NfioError| NfioError::posix(libc::EIO, e.to_string());
        let Some(text) = beneath::read_own(path, LIMIT).map_err(unreadable)? else { return Ok(None) };
        let record: std::result::Result<Self, _> = toml::from_str(&String::from_utf8_lossy(&text));
        record.map(Some).map_err(|e| {
            let message = format!("{} is damaged: {}; restore it from a backup", path.display(), e.message());
            NfioError::posix(libc::EIO, message)
        })
    }

    /// Writes the record, whole and synced.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        let text =
            toml::to_string(self).map_err(|e| NfioError::posix(libc::EIO, format!("a record: {e}")))?;
        beneath::write_atomic(path, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::super::graph::{Member, Node};
    use super::super::plan::Network;
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_a_damaged_one_is_told() {
        let member = Member { ty: "firewall".into(), name: "fw-a".into(), id: "x".into() };
        let shape = Shape {
            interface: Some("eth1".into()),
            networks: vec![Network { address: Ipv4Addr::new(192, 0, 2, 0), prefix: 24 }],
        };
        let record = Record {
            id: "0123abcd-0000-4000-8000-000000000000".into(),
            complete: false,
            leaving: false,
            addresses: vec![Ipv4Addr::new(10, 204, 0, 2), Ipv4Addr::new(10, 204, 0, 4)],
            machines: vec![0],
            before: vec![
                Parameter { place: Place::Member(0), key: "net/x".into(), value: "0".into() },
                Parameter { place: Place::Ingress, key: "net/x".into(), value: "1".into() },
            ],
            ingress: End::Interface("eth1".into()),
            egress: End::Namespace("server".into()),
            ingress_shape: shape.clone(),
            egress_shape: Shape { interface: None, ..shape },
            graph: Graph {
                start: vec![0],
                nodes: vec![Node { name: "fw".into(), next: vec![], members: vec![member] }],
            },
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record.toml");
        assert_eq!(Record::load(&path).unwrap(), None);
        record.save(&path).unwrap();
        assert_eq!(Record::load(&path).unwrap().as_ref(), Some(&record));
        assert_eq!(record.plan().hops.len(), 2);
        assert_eq!(record.table_base(), 0x6e00_0000 | 0x0023_abcd << 1);
        std::fs::write(&path, "id = 1").unwrap();
        assert_eq!(Record::load(&path).unwrap_err().errno(), libc::EIO);
    }
}
