//! The driver for libvirt: virtual machines (QEMU, with KVM or without) on the libvirt of `machine/ip`; containers where
//! its URI begins with `lxc` (`lxc.rs`).
//!
//! A domain's UUID is the instance's, so a guest is found by it, whatever it is called. What runs in a guest goes through
//! the QEMU guest agent (`agent.rs`); a guest without one boots, but can be neither configured nor asked.

mod accelerator;
mod agent;
mod console;
mod deploy;
mod failure;
mod host;
mod hotplug;
mod images;
mod inside;
mod kept;
mod lxc;
mod network;
mod power;
mod run;
mod tell;
mod xml;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::boot_files::BootFiles;
use super::{
    Cable, Counters, Execution, Guest, GuestSpec, Hypervisor, Output, Prepared, PutFile, Stack, Status,
};
use crate::config;
use crate::error::{HypervisorError, NfioError, Result, VnfConfigurationError};
use host::{Host, Seen};
use kept::Kept;
use lxc::Lxc;

/// How long a command in a guest may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// What the driver is told.
#[derive(Debug, Clone)]
pub struct LibvirtConfig {
    /// Directory for what the driver keeps of its guests (0700, or in one that is).
    pub state: PathBuf,
    /// What nfio.toml says.
    pub settings: config::Libvirt,
    /// libvirt of other hosts, by address.
    pub hosts: BTreeMap<String, config::Host>,
}

/// The driver.
#[derive(Debug)]
pub struct Libvirt {
    config: LibvirtConfig,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
    boot_files: BootFiles,
    lxc: Lxc,
}

impl Libvirt {
    /// A driver. No libvirt is asked yet.
    ///
    /// # Errors
    /// A directory that cannot be made.
    pub fn new(config: LibvirtConfig) -> Result<Self> {
        virt::error::clear_error_callback();
        let boot_files = BootFiles::new(&config.state)?;
        let lxc = Lxc::new(&config);
        Ok(Self { config, hosts: Mutex::default(), boot_files, lxc })
    }

    fn host(&self, address: &str) -> Result<Arc<Host>> {
        let (uri, local) = match address {
            "" => {
                let message = "machine/ip is empty: write 127.0.0.1 into it, or another host's address";
                return Err(VnfConfigurationError::HostNameIsEmpty(message.into()).into());
            }
            "127.0.0.1" | "::1" | "localhost" => (self.config.settings.uri.clone(), true),
            other => match self.config.hosts.get(other).and_then(|host| host.libvirt.as_ref()) {
                Some(uri) => (uri.clone(), false),
                None => {
                    let message = format!(
                        "nfio.toml does not say how the libvirt of {other} is reached: write [hosts.\"{other}\"] \
                         with libvirt = \"qemu+ssh://…\" into it"
                    );
                    return Err(HypervisorError::Connection(message).into());
                }
            },
        };
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get(address) {
            return Ok(Arc::clone(host));
        }
        let host = Host::new(uri, local)?;
        hosts.insert(address.to_owned(), Arc::clone(&host));
        Ok(host)
    }

    fn seen(&self, guest: &Guest) -> Result<(Arc<Host>, Seen)> {
        let host = self.host(&guest.host)?;
        let seen = host.seen(guest)?;
        Ok((host, seen))
    }

    /// The host of a guest that runs and is not frozen.
    fn awake(&self, guest: &Guest) -> Result<Arc<Host>> {
        let (host, seen) = self.seen(guest)?;
        let way_out = match seen.status {
            Status::Running => return Ok(host),
            Status::Paused => "unpause",
            _ => "start",
        };
        let message = format!("{} is {}: write {way_out} into action first", guest.name, seen.status);
        Err(HypervisorError::NotRunning(message).into())
    }

    fn layer(&self, id: &str) -> PathBuf {
        self.config.settings.layers.join(format!("{id}.qcow2"))
    }

    fn kept_path(&self, id: &str) -> PathBuf {
        self.config.state.join(format!("{id}.kept"))
    }

    fn kept(&self, guest: &Guest) -> Result<Kept> {
        Kept::read(&self.kept_path(&guest.labels.id))
    }

    /// Removes what is kept of a guest outside libvirt.
    fn clear(&self, id: &str) -> Result<()> {
        self.lxc.clear(id)?;
        images::remove_layer(&self.layer(id))?;
        images::remove_layer(&self.kept_path(id))?;
        Ok(self.boot_files.remove(id)?)
    }
}

fn not_running(guest: &Guest, status: Status) -> NfioError {
    HypervisorError::NotRunning(format!("{} is {status}: write start into action", guest.name)).into()
}

impl Hypervisor for Libvirt {
    fn name(&self) -> &'static str {
        "Libvirt"
    }

    fn check(&self, spec: &GuestSpec) -> Result<()> {
        deploy::check(self, spec)
    }

    fn deploy(&self, spec: &GuestSpec) -> Result<String> {
        deploy::deploy(self, spec)
    }

    fn start(&self, guest: &Guest, prepared: &Prepared) -> Result<()> {
        power::start(self, guest, prepared)
    }

    fn stop(&self, guest: &Guest) -> Result<()> {
        power::stop(self, guest)
    }

    fn pause(&self, guest: &Guest) -> Result<()> {
        let host = self.awake(guest)?;
        let domain = host.domain(guest)?;
        domain.suspend().map_err(|e| failure::of(&e, HypervisorError::Pause, &guest.name, &host))?;
        host.look(guest)
    }

    fn unpause(&self, guest: &Guest) -> Result<()> {
        let (host, seen) = self.seen(guest)?;
        if seen.run.is_none() {
            return Err(not_running(guest, seen.status));
        }
        let domain = host.domain(guest)?;
        domain.resume().map_err(|e| failure::of(&e, HypervisorError::Unpause, &guest.name, &host))?;
        host.look(guest)
    }

    fn destroy(&self, guest: &Guest, force: bool) -> Result<()> {
        power::destroy(self, guest, force)
    }

    fn execute_in_guest(&self, guest: &Guest, execution: &Execution) -> Result<Output> {
        inside::execute(self, guest, execution)
    }

    fn put_file(&self, guest: &Guest, file: &PutFile) -> Result<()> {
        inside::put_file(self, guest, file)
    }

    fn guest_status(&self, guest: &Guest) -> Result<Status> {
        Ok(self.seen(guest)?.1.status)
    }

    fn run_id(&self, guest: &Guest) -> Result<Option<String>> {
        Ok(self.seen(guest)?.1.run)
    }

    fn get_id(&self, guest: &Guest) -> Result<String> {
        self.host(&guest.host)?.domain(guest).map(|_| guest.labels.id.clone())
    }

    fn get_ip(&self, guest: &Guest) -> Result<String> {
        network::ip(self, guest)
    }

    fn counters(&self, guest: &Guest) -> Result<Counters> {
        network::counters(self, guest)
    }

    fn set_forwarding(&self, guest: &Guest, on: bool) -> Result<()> {
        inside::set_forwarding(self, guest, on)
    }

    fn netns(&self, guest: &Guest) -> Result<File> {
        let host = self.host(&guest.host)?;
        if host.is_container() {
            return self.lxc.netns(guest, &host.domain(guest)?);
        }
        let message = format!(
            "{} is a virtual machine, with a kernel of its own: service chains reach it by bridges",
            guest.name
        );
        Err(NfioError::posix(libc::EOPNOTSUPP, message))
    }

    fn stack(&self, guest: &Guest) -> Result<Stack> {
        let host = self.host(&guest.host)?;
        match host.is_container() {
            true => self.netns(guest).map(Stack::Namespace),
            false => hotplug::machine(guest, &host).map(Stack::Machine),
        }
    }

    fn attach_interface(&self, guest: &Guest, cable: &Cable) -> Result<()> {
        hotplug::attach(self, guest, cable)
    }

    fn detach_interface(&self, guest: &Guest, cable: &Cable) -> Result<bool> {
        hotplug::detach(self, guest, cable)
    }

    fn adopt(&self, guest: &Guest, log: &Path) -> Result<Status> {
        let host = self.host(&guest.host)?;
        host.look_after(guest, log)?;
        let seen = host.seen(guest).inspect_err(|_| host.let_go(guest))?;
        if host.is_container() && seen.run.is_some() {
            self.lxc.follow(guest, &host.domain(guest)?, &seen, log)?;
        }
        Ok(seen.status)
    }
}
