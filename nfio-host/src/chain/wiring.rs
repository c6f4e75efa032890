//! Makes the links of a chain and takes them away. Making is repeatable: what is there stays, what is missing is made, so
//! that the same code wires a chain, and gives a guest that came back its links.

use std::collections::BTreeMap;
use std::fs::File;

use super::bridge::{self, Bridges};
use super::links::{self, Found, Link};
use super::plan::{Hop, Place, Plan, Side};
use super::record::{Parameter, Record};
use super::stack::{Stack, Wanted};
use crate::error::{NfioError, Result};
use crate::fault::{self, Step};

/// A chain and those of its network stacks that are there.
pub(super) struct Wiring<'a> {
    record: &'a Record,
    plan: Plan,
    present: BTreeMap<Place, Box<dyn Stack>>,
}

/// What links were made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Made {
    /// Which hops are linked.
    linked: Vec<bool>,
    /// The runs of virtual machines: one that was started again knows nothing of its links, though they may be there.
    runs: BTreeMap<Place, String>,
}

/// What became of a hop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Both of its network stacks are there.
    pub(super) possible: bool,
    /// Both of its links are.
    pub(super) linked: bool,
    /// Bytes that have gone over it towards the egress, since it was made.
    pub(super) bytes: u64,
}

impl<'a> Wiring<'a> {
    /// Opens the network stacks of a chain; `open` answers None for one that is not there.
    ///
    /// # Errors
    /// What `open` fails with.
    pub(super) fn open(
        record: &'a Record,
        open: impl Fn(Place) -> Result<Option<Box<dyn Stack>>>,
    ) -> Result<Self> {
        let plan = record.plan();
        let mut present = BTreeMap::new();
        for place in plan.places() {
            if let Some(stack) = open(place)? {
                present.insert(place, stack);
            }
        }
        Ok(Self { record, plan, present })
    }

    /// The namespaces, to be held open: one that ends takes its rules away moments before its links, and would forward in
    /// between. Held, it goes on as it is until its links have been taken away.
    pub(super) fn held(self) -> Vec<File> {
        self.present.into_values().filter_map(Stack::into_netns).collect()
    }

    /// The chain's hops, in the order of what [`look`](Self::look) answers.
    pub(super) fn hops(&self) -> &[Hop] {
        &self.plan.hops
    }

    /// The numbers of those members that are virtual machines.
    pub(super) fn machines(&self) -> Vec<usize> {
        let machines = self.present.iter().filter(|(_, stack)| stack.netns().is_none());
        let number = |place: &Place| if let Place::Member(number) = place { Some(*number) } else { None };
        machines.filter_map(|(place, _)| number(place)).collect()
    }

    /// What links that have been seen like that were made for.
    pub(super) fn made(&self, seen: &[Seen]) -> Made {
        let runs = self.present.iter().filter_map(|(place, stack)| Some((*place, stack.run()?.to_owned())));
        Made { linked: seen.iter().map(|seen| seen.linked).collect(), runs: runs.collect() }
    }

    /// The network stack of a place, where it can be worked in.
    fn stack(&self, place: Place) -> Option<&dyn Stack> {
        self.present.get(&place).map(|stack| &**stack).filter(|stack| stack.is_ready())
    }

    fn name(&self, place: Place) -> String {
        self.record.name(place)
    }

    /// What there is of bridges, for a chain that has any.
    fn bridges(&self) -> Result<Bridges> {
        if self.plan.hops.iter().all(|hop| hop.bridge.is_none()) {
            return Ok(Bridges::default());
        }
        Bridges::list().map_err(|e| NfioError::posix(libc::EIO, e.to_string()))
    }

    /// The links of every network stack.
    fn found(&self, bridges: &Bridges) -> Result<BTreeMap<Place, Found>> {
        let mut found = BTreeMap::new();
        for place in self.plan.places() {
            if let Some(stack) = self.stack(place) {
                found.insert(place, stack.list(&self.plan, bridges)?);
            }
        }
        Ok(found)
    }

    /// What is there of each hop.
    pub(super) fn look(&self) -> Result<Vec<Seen>> {
        let bridges = self.bridges()?;
        let found = self.found(&bridges)?;
        let seen = |hop: &Hop| match (found.get(&hop.from.place), found.get(&hop.to.place)) {
            (Some(from), Some(to)) => {
                let from = whole(hop, &hop.from, from, &bridges);
                let to = whole(hop, &hop.to, to, &bridges);
                // A guest's own side counts.
                let bytes = to.map_or(0, |link| link.rx_bytes);
                Seen { possible: true, linked: from.is_some() && to.is_some(), bytes }
            }
            _ => Seen::default(),
        };
        Ok(self.plan.hops.iter().map(seen).collect())
    }

    /// Kernel parameters that [`wire`](Self::wire) would change, as they are.
    pub(super) fn parameters(&self) -> Result<Vec<Parameter>> {
        self.parameters_in(|_| true)
    }

    /// Whether some parameter of a namespace is not what the chain needs any more. Machines are not asked: it is looked often.
    pub(super) fn has_drifted(&self) -> Result<bool> {
        Ok(!self.parameters_in(|stack| stack.netns().is_some())?.is_empty())
    }

    fn parameters_in(&self, asked: impl Fn(&dyn Stack) -> bool) -> Result<Vec<Parameter>> {
        let mut before = Vec::new();
        for place in self.plan.places() {
            let Some(stack) = self.stack(place).filter(|stack| asked(*stack)) else { continue };
            let guest = matches!(place, Place::Member(_));
            let changes = stack.values()?.changes(self.plan.shares(place), guest);
            before.extend(changes.into_iter().map(|change| Parameter {
                place,
                key: change.key,
                value: change.before,
            }));
        }
        Ok(before)
    }

    /// The first member that would not forward what comes in.
    pub(super) fn first_deaf(&self) -> Result<Option<String>> {
        self.first_deaf_of(|_| true)
    }

    /// The first member with a namespace that would not: a machine's agent is not to be asked all the time.
    pub(super) fn first_deaf_namespace(&self) -> Result<Option<String>> {
        self.first_deaf_of(|stack| stack.netns().is_some())
    }

    fn first_deaf_of(&self, counts: impl Fn(&dyn Stack) -> bool) -> Result<Option<String>> {
        for place in self.plan.places().filter(|place| matches!(place, Place::Member(_))) {
            if let Some(stack) = self.stack(place).filter(|stack| counts(*stack))
                && !stack.values()?.forwards()
            {
                return Ok(Some(self.name(place)));
            }
        }
        Ok(None)
    }

    /// Makes what is missing: every link whose two network stacks are there, then addresses, routes and rules; guests
    /// before the ends, which may send at once. A link whose other side has ended goes, and routes lead past it. One
    /// network stack that fails does not keep the others from what is theirs.
    pub(super) fn wire(&self) -> Result<()> {
        let bridges = self.bridges()?;
        let found = self.found(&bridges)?;
        let mut outcome = Ok(());
        for hop in &self.plan.hops {
            let done = match (found.get(&hop.from.place), found.get(&hop.to.place)) {
                (Some(from), Some(to)) => self.link(hop, from, to, &bridges),
                // The kernel takes it along too, but in its own time, and every route over it with it.
                (from, to) => self.unlink(hop, from.is_some(), to.is_some(), &bridges),
            };
            outcome = outcome.and(done);
        }
        if let Err(NfioError::Configuration(_)) = outcome {
            // Somebody has to mend something first.
            return outcome;
        }
        let bridges = self.bridges()?;
        for place in self.plan.places() {
            let done = self.stack(place).map_or(Ok(()), |stack| {
                let found = stack.list(&self.plan, &bridges)?;
                stack.furnish(&self.wanted(place, &found))
            });
            fault::at(Step::ChainFurnished);
            outcome = outcome.and(done);
        }
        outcome
    }

    /// Takes away what there is of a hop that has lost a side.
    fn unlink(&self, hop: &Hop, from: bool, to: bool, bridges: &Bridges) -> Result<()> {
        for (side, there) in [(&hop.from, from), (&hop.to, to)] {
            if let Some(stack) = self.stack(side.place).filter(|_| there) {
                // A machine that lost its port has lost the link.
                if stack.netns().is_some() || bridges.port(hop, side).is_some() {
                    stack.part(&[(hop, side)])?;
                }
            }
        }
        remove_bridge(hop, bridges)
    }

    fn link(&self, hop: &Hop, from: &Found, to: &Found, bridges: &Bridges) -> Result<()> {
        let sides = [(&hop.from, from), (&hop.to, to)];
        if sides.iter().all(|(side, links)| whole(hop, side, links, bridges).is_some()) {
            return Ok(());
        }
        if hop.bridge.is_some() {
            bridge::make(hop, bridges)?;
        }
        for (side, links) in sides {
            let Some(stack) = self.stack(side.place) else { continue };
            if hop.bridge.is_some() && whole(hop, side, links, bridges).is_some() {
                continue;
            }
            if links.ours(side).is_some() {
                // Its other side was taken away or moved: a pair goes together.
                stack.part(&[(hop, side)])?;
            } else if links.has(&side.name) {
                return Err(NfioError::configuration(format!(
                    "{} has an interface called {} already that is not the chain's: rename it",
                    self.name(side.place),
                    side.name
                )));
            }
            if hop.bridge.is_some() {
                stack.join(hop, side)?;
                bridge::ready(side).map_err(|e| NfioError::posix(libc::EIO, e.to_string()))?;
            }
        }
        match (&hop.bridge, self.stack(hop.from.place), self.stack(hop.to.place)) {
            (None, Some(from), Some(to)) => from.pair(hop, to),
            _ => Ok(()),
        }
    }

    /// What a place is to have; `found` are those of its links that are there.
    fn wanted<'b>(&'b self, place: Place, found: &'b Found) -> Wanted<'b> {
        let (ingress, egress) = (&self.record.ingress_shape, &self.record.egress_shape);
        Wanted {
            place,
            plan: &self.plan,
            found,
            base: self.tables(place),
            routes: self.plan.routes(place, ingress, egress),
            rules: self.plan.rules(place, ingress, egress),
        }
    }

    /// The number of the place's first own routing table.
    fn tables(&self, place: Place) -> u32 {
        match place {
            Place::Member(_) => links::GUEST_TABLES,
            _ => self.record.table_base(),
        }
    }

    /// Fails where [`take_away`](Self::take_away) cannot do anything now.
    pub(super) fn check(&self) -> Result<()> {
        self.present.values().try_for_each(|stack| stack.check())
    }

    /// Takes away everything that [`wire`](Self::wire) may have made, where its network stack still is; one that is gone
    /// took it along. `keep` are parameters that another chain still needs.
    pub(super) fn take_away(&self, keep: impl Fn(&Parameter) -> bool) -> Result<()> {
        let nothing = Found::default();
        for place in self.plan.places() {
            // One that boots may have a link too, of an nfio that was killed.
            let Some(stack) = self.present.get(&place) else { continue };
            let before: Vec<&Parameter> =
                self.record.before.iter().filter(|before| before.place == place && !keep(before)).collect();
            stack.clear(&self.wanted(place, &nothing), &before)?;
        }
        let bridges = self.bridges()?;
        self.plan.hops.iter().try_for_each(|hop| remove_bridge(hop, &bridges))
    }
}

fn remove_bridge(hop: &Hop, bridges: &Bridges) -> Result<()> {
    if hop.bridge.is_none() {
        return Ok(());
    }
    bridge::remove(hop, bridges).map_err(|e| NfioError::posix(libc::EIO, e.to_string()))
}

/// The link of a side, if it is there and leads to its hop's bridge, where that has one.
fn whole<'a>(hop: &Hop, side: &Side, links: &'a Found, bridges: &Bridges) -> Option<&'a Link> {
    links.ours(side).filter(|_| hop.bridge.is_none() || bridges.port(hop, side).is_some())
}
