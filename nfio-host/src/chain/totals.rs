//! Counters of a chain as a whole: `totals/`. A guest that is started again has new links, which count from 0: what the
//! old ones had counted when they were last seen is kept.

use std::collections::HashMap;

use super::plan::{Hop, Place};
use super::wiring::Seen;
use super::{Chain, Chains};
use crate::error::{HypervisorError, Result};
use crate::hypervisor::Status;

/// Which of the totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Total {
    /// Bytes that came in at the ingress.
    Ingress,
    /// Bytes that went out at the egress.
    Egress,
}

/// Bytes over each hop since the chain is active, or since nfio is mounted.
#[derive(Debug, Default)]
pub(super) struct Meters(HashMap<usize, Meter>);

#[derive(Debug)]
struct Meter {
    total: Total,
    /// Of links that are gone.
    before: u64,
    last: u64,
}

impl Meters {
    /// Takes note of what the hops have counted.
    pub(super) fn note(&mut self, hops: &[Hop], seen: &[Seen]) {
        for (number, (hop, seen)) in hops.iter().zip(seen).enumerate() {
            let total = match (hop.from.place, hop.to.place) {
                (Place::Ingress, _) => Total::Ingress,
                (_, Place::Egress) => Total::Egress,
                _ => continue,
            };
            let meter = self.0.entry(number).or_insert(Meter { total, before: 0, last: 0 });
            let bytes = if seen.linked { seen.bytes } else { 0 };
            if bytes < meter.last {
                meter.before += meter.last;
            }
            meter.last = bytes;
        }
    }

    /// The sum.
    pub(super) fn sum(&self, total: Total) -> u64 {
        self.0.values().filter(|meter| meter.total == total).map(|meter| meter.before + meter.last).sum()
    }
}

impl Chains {
    /// A total of bytes.
    pub(super) fn bytes(&self, chain: &Chain, total: Total) -> Result<u64> {
        self.measure(chain)?;
        Ok(chain.now().meters.sum(total))
    }

    /// What all members have dropped: the sum of their `stats/pkt_drops`.
    ///
    /// # Errors
    /// ENXIO where the chain is not active; what a member's own file fails with.
    pub(super) fn drops(&self, chain: &Chain) -> Result<u64> {
        let mut drops: u64 = 0;
        for (_, member) in chain.active()?.graph.members() {
            if self.vnfs.member_status(member.at())? != Status::Running {
                let message = format!("{member} of {chain} does not run, so its drops cannot be read");
                return Err(HypervisorError::NotRunning(message).into());
            }
            drops = drops.saturating_add(self.vnfs.member_number(member.at(), "stats/pkt_drops")?);
        }
        Ok(drops)
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Side;
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn what_links_that_are_gone_had_counted_is_kept() {
        let side =
            |place| Side { place, name: String::new(), port: String::new(), address: Ipv4Addr::UNSPECIFIED };
        let hop = |from, to| Hop { from: side(from), to: side(to), bridge: None };
        let hops = [
            hop(Place::Ingress, Place::Member(0)),
            hop(Place::Member(0), Place::Member(1)),
            hop(Place::Member(1), Place::Egress),
        ];
        let mut meters = Meters::default();
        let mut note = |linked, bytes: [u64; 3]| {
            meters.note(&hops, &bytes.map(|bytes| Seen { possible: linked, linked, bytes }));
            (meters.sum(Total::Ingress), meters.sum(Total::Egress))
        };
        assert_eq!(note(true, [10, 99, 7]), (10, 7));
        assert_eq!(note(true, [30, 99, 8]), (30, 8));
        assert_eq!(note(false, [0, 0, 0]), (30, 8));
        assert_eq!(note(true, [5, 0, 9]), (35, 17));
        assert_eq!(note(true, [6, 0, 9]), (36, 17));
    }
}
