//! Makes the links of a chain and takes them away. Making is repeatable: what is there stays, what is missing is made, so
//! that the same code wires a chain, and gives a guest that came back its links.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::links::{self, Found};
use super::parameters;
use super::plan::{Hop, Place, Plan, Side};
use super::record::{Parameter, Record};
use crate::error::{NfioError, Result};
use crate::fault::{self, Step};
use crate::netlink::in_netns;

/// A chain and those of its network namespaces that are there.
pub(super) struct Wiring<'a> {
    record: &'a Record,
    plan: Plan,
    present: BTreeMap<Place, File>,
}

/// What became of a hop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Both of its namespaces are there.
    pub(super) possible: bool,
    /// Both of its links are.
    pub(super) linked: bool,
    /// Bytes that have gone over it towards the egress, since it was made.
    pub(super) bytes: u64,
}

impl<'a> Wiring<'a> {
    /// Opens the namespaces of a chain; `open` answers None for one that is not there.
    ///
    /// # Errors
    /// What `open` fails with.
    pub(super) fn open(record: &'a Record, open: impl Fn(Place) -> Result<Option<File>>) -> Result<Self> {
        let plan = record.plan();
        let mut present = BTreeMap::new();
        for place in plan.places() {
            if let Some(netns) = open(place)? {
                present.insert(place, netns);
            }
        }
        Ok(Self { record, plan, present })
    }

    /// The namespaces, to be held open: one that ends takes its rules away moments before its links, and would forward in
    /// between. Held, it goes on as it is until its links have been taken away.
    pub(super) fn held(self) -> Vec<File> {
        self.present.into_values().collect()
    }

    /// The chain's hops, in the order of what [`look`](Self::look) answers.
    pub(super) fn hops(&self) -> &[Hop] {
        &self.plan.hops
    }

    fn inside<T: Send>(
        &self,
        place: Place,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> Result<Option<T>> {
        let Some(netns) = self.present.get(&place) else { return Ok(None) };
        match in_netns(netns.try_clone()?, work) {
            Ok(answer) => Ok(Some(answer)),
            Err(e) => Err(NfioError::posix(libc::EIO, format!("{}: {e}", self.name(place)))),
        }
    }

    fn name(&self, place: Place) -> String {
        match place {
            Place::Ingress => self.record.ingress.to_string(),
            Place::Egress => self.record.egress.to_string(),
            Place::Member(number) => {
                let member = self.record.graph.members().nth(number);
                member.map_or_else(String::new, |(_, member)| member.to_string())
            }
        }
    }

    /// The links of every namespace.
    fn found(&self) -> Result<BTreeMap<Place, Found>> {
        let mut found = BTreeMap::new();
        for place in self.plan.places() {
            if let Some(links) = self.inside(place, links::list)? {
                found.insert(place, links);
            }
        }
        Ok(found)
    }

    /// What is there of each hop.
    pub(super) fn look(&self) -> Result<Vec<Seen>> {
        let found = self.found()?;
        let side = |side: &Side| found.get(&side.place).map(|links| links.ours(side));
        let seen = |hop: &Hop| match (side(&hop.from), side(&hop.to)) {
            (Some(from), Some(to)) => Seen {
                possible: true,
                linked: from.is_some() && to.is_some(),
                // A guest's own side counts.
                bytes: to.map_or(0, |link| link.rx_bytes),
            },
            _ => Seen::default(),
        };
        Ok(self.plan.hops.iter().map(seen).collect())
    }

    /// Kernel parameters that [`wire`](Self::wire) would change, as they are.
    pub(super) fn parameters(&self) -> Result<Vec<Parameter>> {
        let mut before = Vec::new();
        for place in self.plan.places() {
            let shares = self.plan.shares(place);
            let guest = matches!(place, Place::Member(_));
            let changes = self.inside(place, move || parameters::changes(shares, guest))?.unwrap_or_default();
            let parameter =
                |change: parameters::Change| Parameter { place, key: change.key, value: change.before };
            before.extend(changes.into_iter().map(parameter));
        }
        Ok(before)
    }

    /// The first member that would not forward what comes in.
    pub(super) fn first_deaf(&self) -> Result<Option<String>> {
        for place in self.plan.places().filter(|place| matches!(place, Place::Member(_))) {
            if self.inside(place, parameters::forwards)? == Some(false) {
                return Ok(Some(self.name(place)));
            }
        }
        Ok(None)
    }

    /// Makes what is missing: every link whose two namespaces are there, then addresses, routes and rules; guests before
    /// the ends, which may send at once. A link whose other namespace has ended goes, and routes lead past it.
    pub(super) fn wire(&self) -> Result<()> {
        let found = self.found()?;
        for hop in &self.plan.hops {
            match (found.get(&hop.from.place), found.get(&hop.to.place)) {
                (Some(from), Some(to)) => self.link(hop, from, to)?,
                // The kernel takes it along too, but in its own time, and every route over it with it.
                (Some(_), None) => self.inside(hop.from.place, || links::remove(&[&hop.from])).map(drop)?,
                (None, Some(_)) => self.inside(hop.to.place, || links::remove(&[&hop.to])).map(drop)?,
                (None, None) => {}
            }
        }
        for place in self.plan.places() {
            self.furnish(place)?;
            fault::at(Step::ChainFurnished);
        }
        Ok(())
    }

    fn link(&self, hop: &Hop, from: &Found, to: &Found) -> Result<()> {
        if from.ours(&hop.from).is_some() && to.ours(&hop.to).is_some() {
            return Ok(());
        }
        for (side, links) in [(&hop.from, from), (&hop.to, to)] {
            if links.ours(side).is_some() {
                // Its other side was taken away or moved: a pair goes together.
                self.inside(side.place, || links::remove(&[side]))?;
            } else if links.has(&side.name) {
                return Err(NfioError::configuration(format!(
                    "{} has an interface called {} already that is not the chain's: rename it",
                    self.name(side.place),
                    side.name
                )));
            }
        }
        let Some(peer) = self.present.get(&hop.to.place) else { return Ok(()) };
        let peer = peer.as_raw_fd();
        self.inside(hop.from.place, || links::make_pair(hop, peer)).map(|_| fault::at(Step::ChainPair))
    }

    /// Addresses, routes, rules and kernel parameters of a namespace.
    fn furnish(&self, place: Place) -> Result<()> {
        let (ingress, egress) = (&self.record.ingress_shape, &self.record.egress_shape);
        let routes = self.plan.routes(place, ingress, egress);
        let rules = self.plan.rules(place, ingress, egress);
        let shares = self.plan.shares(place);
        let guest = matches!(place, Place::Member(_));
        let base = self.tables(place);
        self.inside(place, || {
            for change in parameters::changes(shares, guest)? {
                parameters::set(&change.key, &change.value)?;
                fault::at(Step::ChainParameter);
            }
            links::furnish(place, &self.plan, base, &routes, &rules)
        })
        .map(drop)
    }

    /// The number of the place's first own routing table.
    fn tables(&self, place: Place) -> u32 {
        match place {
            Place::Member(_) => links::GUEST_TABLES,
            _ => self.record.table_base(),
        }
    }

    /// Takes away everything that [`wire`](Self::wire) may have made, where its namespace still is; one that is gone took
    /// it along. `keep` are parameters that another chain still needs.
    pub(super) fn take_away(&self, keep: impl Fn(&Parameter) -> bool) -> Result<()> {
        for place in self.plan.places() {
            let ours: Vec<&Side> = self.plan.hops_of(place).filter_map(|(_, hop)| hop.side(place)).collect();
            let parameters: Vec<&Parameter> =
                self.record.before.iter().filter(|before| before.place == place && !keep(before)).collect();
            let base = self.tables(place);
            self.inside(place, || {
                links::remove(&ours)?;
                fault::at(Step::ChainUnlinked);
                links::remove_tables(base)?;
                fault::at(Step::ChainUnruled);
                parameters.iter().try_for_each(|before| {
                    parameters::set(&before.key, &before.value).map(|()| fault::at(Step::ChainRestored))
                })
            })?;
        }
        Ok(())
    }
}
