//! What service chains ask of instances: the room `chain` knows them only through this.

use std::path::Path;
use std::sync::Arc;

use middlebox_sdk::File as Entry;

use super::VnfsOperations;
use super::record::Record;
use crate::error::{HypervisorError, NfioError, Result};
use crate::fs::operations::Operations;
use crate::hypervisor::{Cable, Execution, Guest, Output, Stack, Status};
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

    /// The network stack of a member's guest; `id` is the one of [`member_id`](Self::member_id). None: it does not run, or
    /// is another one.
    pub(crate) fn member_stack(&self, at: tree::Instance<'_>, id: &str) -> Result<Option<Stack>> {
        let Some(guest) = self.member(at, id)? else { return Ok(None) };
        match self.ask(&guest, |hypervisor| hypervisor.stack(&guest)) {
            Ok(stack) => Ok(Some(stack)),
            Err(NfioError::Hypervisor(HypervisorError::NotRunning(_) | HypervisorError::NotFound(_))) => {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Waits until a member that was started can be worked in.
    pub(crate) fn member_await(&self, at: tree::Instance<'_>, id: &str) -> Result<()> {
        match self.member_stack(at, id)? {
            Some(Stack::Machine(machine)) if !machine.is_up => {
                let execution = Execution { argv: vec!["true".into()], stdin: Vec::new() };
                self.member_execute(at, id, &execution).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// A member's guest, unless it is another one by now.
    fn member(&self, at: tree::Instance<'_>, id: &str) -> Result<Option<Guest>> {
        let record = self.instance(at)?.record().filter(|record| record.guest.labels.id == id);
        Ok(record.map(|Record { guest, .. }| guest))
    }

    fn member_there(&self, at: tree::Instance<'_>, id: &str) -> Result<Guest> {
        self.member(at, id)?.ok_or_else(|| {
            let message = format!("{}/{} is another guest by now", at.ty, at.name);
            HypervisorError::NotFound(message).into()
        })
    }

    /// Gives a member that is a virtual machine an interface.
    pub(crate) fn member_attach(&self, at: tree::Instance<'_>, id: &str, cable: &Cable) -> Result<()> {
        self.hypervisor.attach_interface(&self.member_there(at, id)?, cable)
    }

    /// Takes an interface from a member that is a virtual machine; whether it was there.
    pub(crate) fn member_detach(&self, at: tree::Instance<'_>, id: &str, cable: &Cable) -> Result<bool> {
        match self.member(at, id)? {
            Some(guest) => self.hypervisor.detach_interface(&guest, cable),
            None => Ok(false),
        }
    }

    /// Runs a command in a member's guest.
    pub(crate) fn member_execute(
        &self,
        at: tree::Instance<'_>,
        id: &str,
        execution: &Execution,
    ) -> Result<Output> {
        self.hypervisor.execute_in_guest(&self.member_there(at, id)?, execution)
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
