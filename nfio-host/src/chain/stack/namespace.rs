//! A network namespace of this machine, worked in by rtnetlink.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use super::super::bridge::{self, Bridges};
use super::super::links::{self, Found};
use super::super::parameters::{self, Values};
use super::super::plan::{Hop, Plan, Side};
use super::super::record::Parameter;
use super::{Stack, Wanted, no_pair};
use crate::error::{NfioError, Result};
use crate::fault::{self, Step};
use crate::netlink::in_netns;

/// A network namespace.
pub(in super::super) struct Namespace {
    /// Whose it is, for messages.
    pub(in super::super) name: String,
    pub(in super::super) netns: File,
}

impl Namespace {
    fn inside<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> Result<T> {
        in_netns(self.netns.try_clone()?, work).map_err(|e| self.told(&e))
    }

    fn told(&self, error: &io::Error) -> NfioError {
        NfioError::posix(libc::EIO, format!("{}: {error}", self.name))
    }
}

impl Stack for Namespace {
    fn netns(&self) -> Option<RawFd> {
        Some(self.netns.as_raw_fd())
    }

    fn into_netns(self: Box<Self>) -> Option<File> {
        Some(self.netns)
    }

    fn list(&self, _: &Plan, _: &Bridges) -> Result<Found> {
        self.inside(links::list)
    }

    fn values(&self) -> Result<Values> {
        self.inside(Values::here)
    }

    fn pair(&self, hop: &Hop, to: &dyn Stack) -> Result<()> {
        match to.netns() {
            Some(peer) => self.inside(|| links::make_pair(hop, peer).map(|()| fault::at(Step::ChainPair))),
            None => Err(no_pair(hop)),
        }
    }

    fn join(&self, hop: &Hop, side: &Side) -> Result<()> {
        bridge::join(hop, side, self.netns.as_raw_fd()).map_err(|e| self.told(&e))
    }

    fn part(&self, sides: &[(&Hop, &Side)]) -> Result<()> {
        let sides: Vec<&Side> = sides.iter().map(|(_, side)| *side).collect();
        self.inside(|| links::remove(&sides))
    }

    fn furnish(&self, wanted: &Wanted<'_>) -> Result<()> {
        let (shares, guest) = (wanted.plan.shares(wanted.place), wanted.is_guest());
        self.inside(|| {
            for change in Values::here()?.changes(shares, guest) {
                parameters::set(&change.key, &change.value)?;
                fault::at(Step::ChainParameter);
            }
            links::furnish(wanted.place, wanted.plan, wanted.base, &wanted.routes, &wanted.rules)
        })
    }

    fn clear(&self, wanted: &Wanted<'_>, before: &[&Parameter]) -> Result<()> {
        let sides: Vec<&Side> = wanted.sides().into_iter().map(|(_, side)| side).collect();
        self.inside(|| {
            links::remove(&sides)?;
            fault::at(Step::ChainUnlinked);
            links::remove_tables(wanted.base)?;
            fault::at(Step::ChainUnruled);
            before.iter().try_for_each(|before| {
                parameters::set(&before.key, &before.value).map(|()| fault::at(Step::ChainRestored))
            })
        })
    }
}
