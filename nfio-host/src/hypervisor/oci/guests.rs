//! Which guests there are, as their directories tell, and which of them run.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::Oci;
use super::cgroup::Cgroup;
use super::state::{Deployed, GuestDir};
use crate::error::{HypervisorError, Result};
use crate::hypervisor::Guest;
use crate::hypervisor::container::process::Held;

impl Oci {
    pub(super) fn dir(&self, id: &str) -> GuestDir {
        GuestDir::new(self.config.state.join("guests").join(id))
    }

    /// The guest's directory and what was deployed.
    pub(super) fn find(&self, guest: &Guest) -> Result<(GuestDir, Deployed)> {
        let not_found = || {
            HypervisorError::NotFound(format!(
                "the guest {} is not there: it was destroyed, or never deployed; write forget into action to drop its record",
                guest.name
            ))
        };
        // The id is part of a path.
        uuid::Uuid::parse_str(&guest.labels.id).map_err(|_| not_found())?;
        let dir = self.dir(&guest.labels.id);
        let deployed = dir.deployed()?.ok_or_else(not_found)?;
        Ok((dir, deployed))
    }

    /// The guest's first process; None where it does not run.
    pub(super) fn held(&self, guest: &Guest) -> Result<Option<Arc<Held>>> {
        let id = &guest.labels.id;
        let known = self.table().get(id).cloned();
        if let Some(held) = known.filter(|held| held.alive()) {
            return Ok(Some(held));
        }
        let (dir, _) = self.find(guest)?;
        let held = dir.hold_init()?.map(Arc::new);
        let mut table = self.table();
        // Perhaps it was destroyed since we looked: nobody would ever ask for it again, and it would be held for good.
        match &held {
            Some(held) if held.alive() => table.insert(id.clone(), held.clone()),
            _ => table.remove(id),
        };
        Ok(held)
    }

    pub(super) fn running(&self, guest: &Guest) -> Result<Arc<Held>> {
        self.held(guest)?.ok_or_else(|| {
            HypervisorError::NotRunning(format!("{} does not run: write start into action", guest.name))
                .into()
        })
    }

    pub(super) fn table(&self) -> MutexGuard<'_, HashMap<String, Arc<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A guest that runs and is not frozen.
    pub(super) fn awake(&self, guest: &Guest) -> Result<Arc<Held>> {
        let held = self.running(guest)?;
        if frozen(&guest.labels.id)? {
            return Err(HypervisorError::NotRunning(format!(
                "{} is paused: write unpause into action first",
                guest.name
            ))
            .into());
        }
        Ok(held)
    }
}

/// A guest's short id: the first 12 digits of its UUID.
pub(super) fn short(id: &str) -> String {
    id.chars().filter(char::is_ascii_hexdigit).take(12).collect::<String>().to_ascii_lowercase()
}

pub(super) fn frozen(id: &str) -> io::Result<bool> {
    Ok(Cgroup::of(&short(id))?.is_frozen())
}
