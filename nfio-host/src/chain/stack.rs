//! A network stack that a chain has a place in, as wiring works in it: a namespace of this machine, or a virtual machine.

mod machine;
mod namespace;

use std::fs::File;
use std::os::fd::RawFd;

use super::bridge::Bridges;
use super::links::Found;
use super::parameters::Values;
use super::plan::{Hop, Place, Plan, Route, Side, Table};
use super::record::Parameter;
use crate::error::{NfioError, Result};

pub(super) use machine::Machine;
pub(super) use namespace::Namespace;

/// A network stack that is there.
pub(super) trait Stack {
    /// Whether it can be worked in: a machine that boots cannot.
    fn is_ready(&self) -> bool {
        true
    }

    /// Fails where nothing can be taken away from it now.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// What tells this run of a machine from every other one; None: a namespace, which cannot be the same one again.
    fn run(&self) -> Option<&str> {
        None
    }

    /// The namespace; None: a machine.
    fn netns(&self) -> Option<RawFd> {
        None
    }

    /// The namespace, to be held open.
    fn into_netns(self: Box<Self>) -> Option<File> {
        None
    }

    /// Its links: all of a namespace, a machine's own of the chain.
    fn list(&self, plan: &Plan, bridges: &Bridges) -> Result<Found>;

    /// Kernel parameters, as they are.
    fn values(&self) -> Result<Values>;

    /// Makes the veth pair of a hop that has no bridge, from here to `to`: both are namespaces.
    fn pair(&self, hop: &Hop, to: &dyn Stack) -> Result<()>;

    /// Connects a side to the bridge of its hop, which it is not yet.
    fn join(&self, hop: &Hop, side: &Side) -> Result<()>;

    /// Takes away those of these links that are there and the chain's own.
    fn part(&self, sides: &[(&Hop, &Side)]) -> Result<()>;

    /// Readies it. At no moment does a packet that came in by one of the links find the main table alone.
    fn furnish(&self, wanted: &Wanted<'_>) -> Result<()>;

    /// Takes away everything of the chain's, and sets parameters back.
    fn clear(&self, wanted: &Wanted<'_>, before: &[&Parameter]) -> Result<()>;
}

/// What a place is to have.
pub(super) struct Wanted<'a> {
    pub(super) place: Place,
    pub(super) plan: &'a Plan,
    /// Its links that are there, whole.
    pub(super) found: &'a Found,
    /// The number of its first own routing table.
    pub(super) base: u32,
    pub(super) routes: Vec<Route>,
    pub(super) rules: Vec<(String, Table)>,
}

impl Wanted<'_> {
    /// Whether it is a guest's.
    pub(super) fn is_guest(&self) -> bool {
        matches!(self.place, Place::Member(_))
    }

    /// Its sides, with their hops.
    pub(super) fn sides(&self) -> Vec<(&Hop, &Side)> {
        let sides = self.plan.hops_of(self.place);
        sides.filter_map(|(_, hop)| hop.side(self.place).map(|side| (hop, side))).collect()
    }
}

/// That a hop without a bridge leads to a virtual machine: the record is of another chain.
fn no_pair(hop: &Hop) -> NfioError {
    let message = format!(
        "a virtual machine is at {} or {}, and no bridge: destroy the chain",
        hop.from.name, hop.to.name
    );
    NfioError::posix(libc::EIO, message)
}
