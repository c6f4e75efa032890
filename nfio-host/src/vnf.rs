//! What a VNF is and does: instances, the life cycle, records, standard files. [`VnfsOperations`] is the manual's class
//! of this name; it owns what a mount has one of: ROOT, the modules, the driver.

mod answers;
#[cfg(test)]
mod bed;
mod call;
pub(crate) mod disk;
mod handle;
mod hosts;
pub(crate) mod instance;
pub(crate) mod last_error;
mod lifecycle;
pub mod machine;
pub(crate) mod members;
pub(crate) mod mend;
mod observer;
mod record;
pub(crate) mod skeleton;
mod spec;
mod standard;
pub(crate) mod turns;
mod unborn;
pub mod verb;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::config::{Deadlines, Policy};
use crate::error::{HypervisorError, NfioError, Result, VnfConfigurationError};
use crate::fs::operations::{Caller, DiskChange, OnChange, OnDiskChange};
use crate::hypervisor::{Counters, Guest, Hypervisor, Status};
use crate::modules::{Loader, Registry, Watch};
use crate::root::Root;
use crate::tree::{self, Node};
use hosts::Hosts;
use instance::Instance;
use record::Record;
pub use spec::Configuration;
pub use verb::Verb;

/// The VNF side of a mount.
pub struct VnfsOperations {
    /// Itself, for the handles of calls that may outlive the mount.
    own: Weak<Self>,
    root: Root,
    registry: Arc<Registry>,
    hypervisor: Arc<dyn Hypervisor>,
    deadlines: Deadlines,
    policy: Policy,
    /// Instances that something has been asked about, by type and name.
    instances: Mutex<HashMap<(String, String), Arc<Instance>>>,
    /// Which hosts leave a question open.
    hosts: Hosts,
    /// Tells the file system that a status may have changed.
    changed: OnceLock<OnChange>,
    /// Tells the file system that something changed in ROOT without it.
    changed_on_disk: OnceLock<OnDiskChange>,
    /// The types that had a module when the file system was told last.
    served: Mutex<Vec<String>>,
    /// Gives a started guest its links back.
    relink: OnceLock<members::Relink>,
    /// Ends with the mount.
    watch: OnceLock<Watch>,
}

impl VnfsOperations {
    /// Takes up a ROOT: clears what a crash left half-made, gives existing instances the special files that their
    /// types have learnt since, and finds the guests of all records again.
    ///
    /// # Errors
    /// Where ROOT cannot be read or written. A guest that cannot be found is logged and keeps its record.
    pub fn new(
        root: Root,
        registry: Registry,
        hypervisor: Arc<dyn Hypervisor>,
        deadlines: Deadlines,
        policy: Policy,
    ) -> Result<Arc<Self>> {
        let vnfs = Arc::new_cyclic(|own| Self {
            own: own.clone(),
            root,
            registry: Arc::new(registry),
            hypervisor,
            deadlines,
            policy,
            instances: Mutex::new(HashMap::new()),
            hosts: Hosts::default(),
            changed: OnceLock::new(),
            changed_on_disk: OnceLock::new(),
            served: Mutex::default(),
            relink: OnceLock::new(),
            watch: OnceLock::new(),
        });
        vnfs.clear_aside_all()?;
        vnfs.mend_types()?;
        vnfs.clear_private()?;
        vnfs.adopt_guests()?;
        Ok(vnfs)
    }

    /// Begins to serve plugins that come, go or are replaced, until the last reference to `self` goes.
    ///
    /// # Errors
    /// EMFILE and the like, EAGAIN where no thread can be made.
    pub fn watch_modules(self: &Arc<Self>, loader: Arc<Loader>) -> Result<()> {
        let vnfs = Arc::downgrade(self);
        let watch = self.registry.watch(loader, move || {
            if let Some(Err(e)) = vnfs.upgrade().map(|vnfs| vnfs.mend_types()) {
                tracing::warn!("instances do not get the files that their types have learnt: {e}");
            }
        })?;
        // One watch is enough.
        let _ = self.watch.set(watch);
        Ok(())
    }

    fn adopt_guests(&self) -> Result<()> {
        for (ty, name) in instance::all_private(&self.root)? {
            match self.adopt_guest(tree::Instance { ty: &ty, name: &name }) {
                Ok(None) => {}
                Ok(Some(status)) => tracing::info!("{ty}/{name} is {status}"),
                Err(e) => tracing::warn!("{ty}/{name} is deployed by its record, but: {e}"),
            }
        }
        Ok(())
    }

    fn adopt_guest(&self, at: tree::Instance<'_>) -> Result<Option<Status>> {
        // The undeployed ones are read when they are asked about: there may be many.
        if Instance::load(&self.root, at)?.record().is_none() {
            return Ok(None);
        }
        let instance = self.instance(at)?;
        let Some(record) = instance.record() else { return Ok(None) };
        let mut guest = self.guest(&instance)?;
        let status = self.hypervisor.adopt(&guest, &instance.private("log"))?;
        // nfio ended between the driver's answer to deploy and its note in the record.
        if guest.id.is_empty() {
            guest.id = self.hypervisor.get_id(&guest)?;
            instance.set_record(Record { guest, ..record })?;
        }
        Ok(Some(status))
    }

    /// What is known of an instance; its record is read when it is first asked about.
    fn instance(&self, at: tree::Instance<'_>) -> Result<Arc<Instance>> {
        let mut instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (at.ty.to_owned(), at.name.to_owned());
        if let Some(instance) = instances.get(&key) {
            return Ok(instance.clone());
        }
        let instance = Arc::new(Instance::load(&self.root, at)?);
        instances.insert(key, instance.clone());
        Ok(instance)
    }

    /// Takes note of a status that somebody has seen. One who polls may have read a status between two looks of the
    /// observer, and waits for it to change back.
    fn notice(&self, instance: &Instance, status: Status) {
        if instance.is_news(status) {
            self.tell_changed(instance);
        }
    }

    /// Tells whoever polls that the status may be another.
    fn tell_changed(&self, instance: &Instance) {
        if let Some(changed) = self.changed.get() {
            changed(instance.at());
        }
    }

    /// Tells the file system of a change in ROOT.
    fn tell_disk_change(&self, change: DiskChange<'_>) {
        if let Some(changed) = self.changed_on_disk.get() {
            changed(change);
        }
    }

    /// All instances that are deployed.
    fn deployed(&self) -> Vec<Arc<Instance>> {
        let instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        instances.values().filter(|instance| instance.record().is_some()).cloned().collect()
    }

    /// What was removed or renamed is read anew when it is asked about again.
    fn forget_instance(&self, at: tree::Instance<'_>) {
        let mut instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(instance) = instances.remove(&(at.ty.to_owned(), at.name.to_owned())) {
            instance.retire();
        }
    }

    fn instance_at(&self, nf_path: &Path) -> Result<Arc<Instance>> {
        match tree::node(nf_path) {
            Node::Instance(at) | Node::Within(at, _) => self.instance(at),
            _ => {
                let message = format!("{} names no VNF instance; use nf-types/TYPE/NAME", nf_path.display());
                Err(VnfConfigurationError::NameIsEmpty(message).into())
            }
        }
    }
}

/// # The manual's functions
/// Paths are relative to MOUNT. The four that only look at a path are in [`crate::tree`].
impl VnfsOperations {
    /// Makes an instance with its skeleton, whole or not at all.
    pub fn vnfs_create_vnf_instance(&self, path: &Path, mode: u32, caller: Caller) -> Result<()> {
        match tree::node(path) {
            Node::Instance(at) => self.create(at, mode, caller),
            _ => Err(HypervisorError::Create(format!("{} names no instance", path.display())).into()),
        }
    }

    /// Deploys and STARTS an instance: the verb `activate`.
    pub fn vnfs_deploy_nf(&self, nf_path: &Path) -> Result<()> {
        self.run(&self.instance_at(nf_path)?, Verb::Activate)
    }

    /// Destroys a deployed instance, running or not.
    pub fn vnfs_destroy_vnf(&self, nf_path: &Path) -> Result<()> {
        self.run(&self.instance_at(nf_path)?, Verb::Destroy)
    }

    /// Starts a deployed instance.
    pub fn vnfs_start_vnf(&self, nf_path: &Path) -> Result<()> {
        self.run(&self.instance_at(nf_path)?, Verb::Start)
    }

    /// Stops an instance.
    pub fn vnfs_stop_vnf(&self, nf_path: &Path) -> Result<()> {
        self.run(&self.instance_at(nf_path)?, Verb::Stop)
    }

    /// Name, type, host and image of an instance as its files say now.
    pub fn vnfs_get_instance_configuration(&self, nf_path: &Path) -> Result<Configuration> {
        let instance = self.instance_at(nf_path)?;
        spec::configuration(&self.root, &instance)
    }

    /// State of an instance.
    pub fn vnfs_get_status(&self, nf_path: &Path) -> Result<Status> {
        self.status(&*self.instance_at(nf_path)?)
    }

    /// First address of the guest's first interface.
    pub fn vnfs_get_ip(&self, nf_path: &Path) -> Result<String> {
        self.ip(&*self.instance_at(nf_path)?)
    }

    /// Bytes received by the guest.
    pub fn vnfs_get_rx_bytes(&self, nf_path: &Path) -> Result<u64> {
        Ok(self.counters(&*self.instance_at(nf_path)?)?.rx_bytes)
    }

    /// Bytes sent by the guest.
    pub fn vnfs_get_tx_bytes(&self, nf_path: &Path) -> Result<u64> {
        Ok(self.counters(&*self.instance_at(nf_path)?)?.tx_bytes)
    }

    /// Packets dropped by the guest's interfaces.
    pub fn vnfs_get_pkt_drops(&self, nf_path: &Path) -> Result<u64> {
        Ok(self.counters(&*self.instance_at(nf_path)?)?.pkt_drops)
    }
}

/// # What the record and the driver say of an instance
impl VnfsOperations {
    /// The guest that the record names, for this mount's driver.
    ///
    /// # Errors
    /// ENXIO where it is undeployed; ECONNREFUSED where another driver has it, who alone may say that it is gone.
    fn guest(&self, instance: &Instance) -> Result<Guest> {
        let record = instance.deployed()?;
        if record.driver != self.hypervisor.name() {
            let message = format!(
                "the guest of {instance} runs on {}, this mount on {}; mount with --hypervisor {0}",
                record.driver,
                self.hypervisor.name()
            );
            return Err(HypervisorError::Connection(message).into());
        }
        Ok(record.guest)
    }

    /// A verb under way shows its own state; otherwise the record decides between undeployed and the driver's word.
    fn status(&self, instance: &Instance) -> Result<Status> {
        if let Some(transition) = instance.transition() {
            return Ok(transition);
        }
        if instance.record().is_none() {
            return Ok(Status::Undeployed);
        }
        let guest = self.guest(instance)?;
        match self.ask(&guest, |hypervisor| hypervisor.guest_status(&guest)) {
            Ok(status) => Ok(status),
            // Being deployed, or never was: nfio ended in the middle of an activate. The observer clears it away, or the
            // next verb.
            Err(NfioError::Hypervisor(HypervisorError::NotFound(_))) if guest.id.is_empty() => {
                Ok(Status::Undeployed)
            }
            // Vanished behind our back: `destroy` still clears it.
            Err(NfioError::Hypervisor(HypervisorError::NotFound(_))) => Ok(Status::Dead),
            Err(e) => Err(e),
        }
    }

    fn counters(&self, instance: &Instance) -> Result<Counters> {
        let guest = self.guest(instance)?;
        self.ask(&guest, |hypervisor| hypervisor.counters(&guest))
    }

    fn ip(&self, instance: &Instance) -> Result<String> {
        let guest = self.guest(instance)?;
        self.ask(&guest, |hypervisor| hypervisor.get_ip(&guest))
    }

    /// Asks a guest's host, unless it owes an answer.
    fn ask<T>(&self, guest: &Guest, question: impl FnOnce(&dyn Hypervisor) -> Result<T>) -> Result<T> {
        self.hosts.ask(&guest.host, self.deadlines.read, || question(&*self.hypervisor))
    }
}
