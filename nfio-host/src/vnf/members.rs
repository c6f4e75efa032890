//! What service chains ask of instances: the room `chain` knows them only through this.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use middlebox_sdk::File as Entry;

use super::VnfsOperations;
use super::record::Record;
use crate::error::{HypervisorError, NfioError, Result};
use crate::fs::operations::Operations;
use crate::hypervisor::Status;
use crate::root::Root;
use crate::tree;

/// Gives a guest that has just been started its links back; it does not forward yet.
pub(crate) type Relink = Box<dyn Fn(tree::Instance<'_>) + Send + Sync>;

impl VnfsOperations {
    /// ROOT.
    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// Has `relink` called for every guest between its start and its configuration. Set once.
    pub(crate) fn on_start(&self, relink: Relink) {
        let _ = self.relink.set(relink);
    }

    /// The state of an instance.
    pub(crate) fn member_status(&self, at: tree::Instance<'_>) -> Result<Status> {
        self.status(&*self.instance(at)?)
    }

    /// Whether a member that runs has its configuration, and so may forward.
    pub(crate) fn member_is_configured(&self, at: tree::Instance<'_>) -> Result<bool> {
        let record = self.instance(at)?.deployed()?;
        Ok(!self.is_unconfigured(&record, Status::Running)?)
    }

    /// What tells this instance from others that have or had its name.
    ///
    /// # Errors
    /// ENXIO where it is not deployed.
    pub(crate) fn member_id(&self, at: tree::Instance<'_>) -> Result<String> {
        Ok(self.instance(at)?.deployed()?.guest.labels.id)
    }

    /// The network namespace of a member's guest; `id` is the one of [`member_id`](Self::member_id). None: it does not
    /// run, or is another one.
    pub(crate) fn member_netns(&self, at: tree::Instance<'_>, id: &str) -> Result<Option<File>> {
        let record = self.instance(at)?.record();
        let Some(Record { guest, .. }) = record.filter(|record| record.guest.labels.id == id) else {
            return Ok(None);
        };
        match self.ask(&guest, |hypervisor| hypervisor.netns(&guest)) {
            Ok(netns) => Ok(Some(netns)),
            Err(NfioError::Hypervisor(HypervisorError::NotRunning(_) | HypervisorError::NotFound(_))) => {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Gives a member that runs its configuration again, when its turn has come: its interfaces are others now.
    pub(crate) fn member_configure(&self, at: tree::Instance<'_>) -> Result<()> {
        let instance = self.instance(at)?;
        let _turn = instance.busy()?;
        match self.status(&instance)? {
            Status::Running => self.configure(&instance, false),
            status => Err(HypervisorError::NotRunning(format!("{instance} is {status}")).into()),
        }
    }

    /// A number that an instance shows.
    pub(crate) fn member_number(&self, at: tree::Instance<'_>, path: &str) -> Result<u64> {
        let file: Option<Arc<Entry>> = self.special(at.ty, path);
        let missing = || NfioError::posix(libc::ENOENT, format!("{}/{} has no {path}", at.ty, at.name));
        let text = self.read(at, &*file.ok_or_else(missing)?)?;
        let number = String::from_utf8_lossy(&text).trim().parse();
        number.map_err(|_| {
            let path = at.path().join(Path::new(path));
            NfioError::posix(libc::EIO, format!("{} holds no number", path.display()))
        })
    }
}
