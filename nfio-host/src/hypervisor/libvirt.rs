//! The driver for libvirt: virtual machines (QEMU, with KVM or without) on the libvirt of `machine/ip`; containers where
//! its URI begins with `lxc` (`lxc.rs`).
//!
//! A domain's UUID is the instance's, so a guest is found by it, whatever it is called. What runs in a guest goes through
//! the QEMU guest agent (`agent.rs`); a guest without one boots, but can be neither configured nor asked.

mod accelerator;
mod agent;
mod failure;
mod host;
mod images;
mod kept;
mod lxc;
mod xml;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use virt::domain::Domain;
use virt::error::ErrorNumber;
use virt::sys;

use super::boot_files::BootFiles;
use super::container::check as container;
use super::container::sysctl::Sysctls;
use super::{Counters, Execution, Guest, GuestSpec, Hypervisor, Output, Prepared, PutFile, Status};
use crate::config::{self, Accelerator};
use crate::error::{HypervisorError, NfioError, Result, VnfConfigurationError};
use agent::Failure;
use host::{Host, Seen};
use kept::Kept;
use lxc::Lxc;
use xml::Link;

/// How long a command in a guest may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// How long a guest may take from its start until its agent answers.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// From one request to end to the next.
const AGAIN: Duration = Duration::from_secs(1);
/// From one look at a guest that is to end to the next.
const PAUSE: Duration = Duration::from_millis(50);

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

    fn links(&self, spec: &GuestSpec) -> Vec<Link> {
        let usual = || Link::Network(self.config.settings.network.clone());
        if spec.boot.interfaces.is_empty() {
            return vec![usual()];
        }
        let link = |interface: &super::boot_conf::Interface| match (&interface.bridge, &interface.network) {
            (Some(bridge), _) => Link::Bridge(bridge.clone()),
            (None, Some(network)) => Link::Network(network.clone()),
            (None, None) => usual(),
        };
        spec.boot.interfaces.iter().map(link).collect()
    }

    /// Waits until the guest's agent answers: as long as the guest may still be booting, or for one answer.
    fn await_agent(&self, guest: &Guest, host: &Host, domain: &Domain) -> Result<()> {
        let until = host.seen(guest)?.since + BOOT_LIMIT;
        agent::wait(domain, until).map_err(|failure| told(failure, guest, host))
    }

    /// Writes kernel parameters in the guest: path below /proc/sys and value.
    fn set_sysctls(&self, guest: &Guest, values: &[(String, String)]) -> Result<()> {
        let host = self.awake(guest)?;
        let domain = host.with_agent(guest)?;
        for (path, value) in values {
            let place = format!("/proc/sys/{path}");
            let argv = ["sh", "-c", "cat > \"$1\"", "sh", &place].map(str::to_owned).to_vec();
            let execution = Execution { argv, stdin: value.as_bytes().to_vec() };
            let output = agent::execute(&domain, &execution, COMMAND_LIMIT)
                .map_err(|failure| told(failure, guest, &host))?;
            if output.exit_code != 0 {
                let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                let message =
                    format!("{}: the sysctl {path} cannot be set to {value:?}: {words}", guest.name);
                return Err(HypervisorError::Start(message).into());
            }
        }
        Ok(())
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

    fn define(&self, spec: &GuestSpec, host: &Host) -> Result<()> {
        if host.is_container() {
            return self.lxc.define(spec, host, &self.links(spec));
        }
        let found = images::find(&self.config.settings.images, spec)?;
        let mut boot = found.boot;
        if let Some((base, format)) = found.base {
            if !host.local {
                let message =
                    "disks of other hosts are not served yet: name an image that is kernel and initrd";
                return Err(NfioError::configuration(format!("machine/vm.image: {message}")));
            }
            let layer = self.layer(&spec.labels.id);
            // QEMU's user goes through; only nfio looks around.
            fs::DirBuilder::new().recursive(true).mode(0o711).create(&self.config.settings.layers)?;
            images::make_layer(&layer, &base, format)?;
            boot.disk = Some(layer);
        }
        let kind = match self.config.settings.accelerator {
            Accelerator::Kvm => "kvm",
            Accelerator::Qemu => "qemu",
            Accelerator::Auto => host.accelerator()?,
        };
        let xml = xml::Domain { spec, kind, boot: &boot, links: &self.links(spec) }.to_xml()?;
        let connection = host.connection()?;
        let defined = connection.connect.define_domain_xml(&xml);
        defined.map(drop).map_err(|e| failure::of(&e, HypervisorError::Deploy, &spec.name, host))
    }

    /// Starts a guest that is a container.
    fn start_container(&self, guest: &Guest, prepared: &Prepared) -> Result<()> {
        let (host, seen) = self.seen(guest)?;
        match seen.status {
            Status::Running => return Ok(()),
            Status::Paused => {
                let message = format!("{} is paused: write unpause into action", guest.name);
                return Err(HypervisorError::Start(message).into());
            }
            _ => {}
        }
        let (links, files) = (self.links(&self.lxc.spec(guest)?), self.boot_files.of(guest)?);
        self.lxc.start(guest, &host, &links, prepared, files.iter().chain(&prepared.files))
    }

    /// Has the console of a guest that does not run written to `log`.
    fn redirect(&self, guest: &Guest, host: &Host, log: &Path) -> Result<()> {
        let class = |e: &virt::error::Error| failure::of(e, HypervisorError::Start, &guest.name, host);
        let flags = sys::VIR_DOMAIN_XML_INACTIVE | sys::VIR_DOMAIN_XML_SECURE;
        let text = host.domain(guest)?.xml_desc(flags).map_err(|e| class(&e))?;
        if let Some(text) = xml::with_log(&text, log)? {
            host.connection()?.connect.define_domain_xml(&text).map_err(|e| class(&e))?;
        }
        host.look_after(guest, log)
    }

    /// Asks the guest to end, and ends it where it does not.
    fn end(&self, guest: &Guest, host: &Host, domain: &Domain, wait: u32) -> Result<()> {
        let class = |e: &virt::error::Error| failure::of(e, HypervisorError::Stop, &guest.name, host);
        let until = Instant::now() + Duration::from_secs(wait.into());
        if host.is_container() {
            if self.lxc.ask_to_end(guest, domain)? {
                while Instant::now() < until && domain.is_active().map_err(|e| class(&e))? {
                    thread::sleep(PAUSE);
                }
            }
            return destroyed(domain).map_err(|e| class(&e));
        }
        // A guest that is still booting does not hear it: it is asked again, until it ends. One that cannot be asked is
        // ended.
        let mut asked: Option<Instant> = None;
        while Instant::now() < until {
            if !domain.is_active().map_err(|e| class(&e))? {
                return Ok(());
            }
            if asked.is_none_or(|asked| asked.elapsed() >= AGAIN) {
                // By its power button, which takes no time; libvirt's own choice waits a minute for an agent that is deaf.
                if domain.shutdown_flags(sys::VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN).is_err()
                    && domain.shutdown().is_err()
                {
                    break;
                }
                if asked.is_some() {
                    agent::shutdown(domain);
                }
                asked = Some(Instant::now());
            }
            thread::sleep(PAUSE);
        }
        destroyed(domain).map_err(|e| class(&e))
    }
}

/// Ends a domain at once; one that has ended is no error.
fn destroyed(domain: &Domain) -> std::result::Result<(), virt::error::Error> {
    match domain.destroy() {
        Err(e) if !failure::is_wrong_state(&e) => Err(e),
        _ => Ok(()),
    }
}

fn not_running(guest: &Guest, status: Status) -> NfioError {
    HypervisorError::NotRunning(format!("{} is {status}: write start into action", guest.name)).into()
}

/// The error that a failure of the agent is.
fn told(failure: Failure, guest: &Guest, host: &Host) -> NfioError {
    match failure {
        Failure::Libvirt(e) if failure::is_wrong_state(&e) => {
            let message = format!("{} does not run any more: write start into action", guest.name);
            HypervisorError::NotRunning(message).into()
        }
        Failure::Libvirt(e) => failure::of(&e, HypervisorError::CommandExecution, &guest.name, host),
        Failure::Silent(why) => HypervisorError::CommandExecution(format!(
            "{}: the QEMU guest agent does not answer ({why}): the image needs qemu-ga, running",
            guest.name
        ))
        .into(),
        Failure::Refused(why) => HypervisorError::CommandExecution(format!("{}: {why}", guest.name)).into(),
    }
}

impl Hypervisor for Libvirt {
    fn name(&self) -> &'static str {
        "Libvirt"
    }

    fn check(&self, spec: &GuestSpec) -> Result<()> {
        if let Ok(host) = self.host(&spec.host)
            && host.is_container()
        {
            return self.lxc.check(spec, &host);
        }
        let boot = &spec.boot;
        let addressed = boot.interfaces.iter().any(|i| i.address.is_some() || i.name.is_some());
        let capabilities = !boot.capabilities.add.is_empty() || !boot.capabilities.drop.is_empty();
        container::unsupported(
            "Libvirt",
            &[
                ("command", boot.command.is_some()),
                ("entrypoint", boot.entrypoint.is_some()),
                ("[env]", !boot.env.is_empty()),
                ("user", boot.user.is_some()),
                ("dns", !boot.dns.is_empty()),
                ("privileged", boot.privileged),
                ("pull", boot.pull),
                ("[capabilities]", capabilities),
                ("[[interface]] name or address", addressed),
                ("[[port]]", !boot.ports.is_empty()),
            ],
        )?;
        container::check(spec)?;
        Sysctls::of(spec)?;
        images::judge(&self.config.settings.images, spec)?;
        self.host(&spec.host).map(drop)
    }

    fn deploy(&self, spec: &GuestSpec) -> Result<String> {
        self.check(spec)?;
        let (host, guest) = (self.host(&spec.host)?, Guest::of(spec));
        match host.domain(&guest) {
            Ok(_) => {
                let message =
                    format!("{}: a domain with its id is there already: destroy it first", spec.name);
                return Err(HypervisorError::Deploy(message).into());
            }
            Err(NfioError::Hypervisor(HypervisorError::NotFound(_))) => {}
            Err(e) => return Err(e),
        }
        let kept = Kept::of(spec)?.write(&self.kept_path(&spec.labels.id));
        let made = kept.and_then(|()| self.boot_files.keep(spec)).and_then(|()| self.define(spec, &host));
        made.and_then(|()| host.look_after(&guest, &spec.log)).map_err(|e| {
            match self.clear(&spec.labels.id) {
                Ok(()) => e,
                Err(left) => HypervisorError::InconsistentState(format!("{e}; and {left}")).into(),
            }
        })?;
        Ok(spec.labels.id.clone())
    }

    fn start(&self, guest: &Guest, prepared: &Prepared) -> Result<()> {
        if self.host(&guest.host)?.is_container() {
            return self.start_container(guest, prepared);
        }
        if prepared.command.is_some() || !prepared.env.is_empty() {
            let message = format!(
                "{}: its type sets a command or an environment, which a virtual machine has not: use a driver of \
                 containers",
                guest.name
            );
            return Err(HypervisorError::Start(message).into());
        }
        let (host, seen) = self.seen(guest)?;
        match seen.status {
            Status::Running => return Ok(()),
            Status::Paused => {
                let message = format!("{} is paused: write unpause into action", guest.name);
                return Err(HypervisorError::Start(message).into());
            }
            _ => {}
        }
        if let Some(log) = &prepared.log {
            self.redirect(guest, &host, log)?;
        }
        let domain = host.domain(guest)?;
        domain.create().map_err(|e| failure::of(&e, HypervisorError::Start, &guest.name, &host))?;
        host.look(guest)?;
        let sysctls = self.kept(guest)?.sysctls;
        let files = self.boot_files.of(guest)?;
        if sysctls == Sysctls::default() && files.is_empty() && prepared.files.is_empty() {
            return Ok(());
        }
        let domain = host.with_agent(guest)?;
        self.await_agent(guest, &host, &domain)?;
        self.set_sysctls(guest, &sysctls.withheld())?;
        for file in files.iter().chain(&prepared.files) {
            agent::put(&domain, file, COMMAND_LIMIT).map_err(|failure| told(failure, guest, &host))?;
        }
        Ok(())
    }

    fn stop(&self, guest: &Guest) -> Result<()> {
        let (host, seen) = self.seen(guest)?;
        if seen.run.is_none() {
            return Ok(());
        }
        let domain = host.domain(guest)?;
        if seen.status == Status::Paused {
            domain.resume().map_err(|e| failure::of(&e, HypervisorError::Stop, &guest.name, &host))?;
        }
        self.end(guest, &host, &domain, self.kept(guest)?.stop_timeout)?;
        host.look(guest)
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
        let host = self.host(&guest.host)?;
        let class = |e: &virt::error::Error| failure::of(e, HypervisorError::Destroy, &guest.name, &host);
        match host.domain(guest) {
            Err(NfioError::Hypervisor(HypervisorError::NotFound(_))) => {}
            Err(e) => return Err(e),
            Ok(domain) => {
                if domain.is_active().map_err(|e| class(&e))? {
                    if !force {
                        let message = format!(
                            "{} runs: write stop into action first, or destroy it with force",
                            guest.name
                        );
                        return Err(HypervisorError::Destroy(message).into());
                    }
                    if let Err(e) = domain.destroy()
                        && !failure::is_wrong_state(&e)
                    {
                        return Err(class(&e));
                    }
                }
                let flags = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
                    | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
                    | sys::VIR_DOMAIN_UNDEFINE_NVRAM;
                let undefined = domain.undefine_flags(flags).or_else(|e| match e {
                    // Not every driver of libvirt's has such things.
                    e if failure::is(&e, ErrorNumber::InvalidArg) => domain.undefine(),
                    e => Err(e),
                });
                undefined.map_err(|e| class(&e))?;
            }
        }
        host.let_go(guest);
        self.clear(&guest.labels.id)
    }

    fn execute_in_guest(&self, guest: &Guest, execution: &Execution) -> Result<Output> {
        let host = self.awake(guest)?;
        let domain = host.with_agent(guest)?;
        container::command(&execution.argv, "the command")?;
        if host.is_container() {
            return self.lxc.execute(guest, &domain, execution);
        }
        self.await_agent(guest, &host, &domain)?;
        agent::execute(&domain, execution, COMMAND_LIMIT).map_err(|failure| told(failure, guest, &host))
    }

    fn put_file(&self, guest: &Guest, file: &PutFile) -> Result<()> {
        let host = self.awake(guest)?;
        let domain = host.with_agent(guest)?;
        container::target(&file.path)?;
        if host.is_container() {
            return self.lxc.put(guest, &domain, file);
        }
        self.await_agent(guest, &host, &domain)?;
        agent::put(&domain, file, COMMAND_LIMIT).map_err(|failure| told(failure, guest, &host))
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
        let (_, seen) = self.seen(guest)?;
        if seen.run.is_none() {
            return Err(not_running(guest, seen.status));
        }
        let host = self.host(&guest.host)?;
        let domain = host.with_agent(guest)?;
        if host.is_container()
            && let Some(address) = self.lxc.address(guest, &domain)?
        {
            return Ok(address);
        }
        // The lease is known to libvirt; the agent knows addresses that no lease gave, once it answers.
        for source in
            [sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE, sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT]
        {
            let Ok(interfaces) = domain.interface_addresses(source, 0) else { continue };
            let first = xml::hardware_address(&guest.labels.id, 0);
            let mine = interfaces.iter().filter(|i| i.hwaddr.as_deref() == Some(&first));
            if let Some(address) = mine.flat_map(|i| &i.addrs).find(|a| !a.addr.starts_with("fe80:")) {
                return Ok(address.addr.clone());
            }
        }
        Err(HypervisorError::NotFound(format!("{} has no address yet", guest.name)).into())
    }

    fn counters(&self, guest: &Guest) -> Result<Counters> {
        let (host, seen) = self.seen(guest)?;
        if seen.run.is_none() {
            return Err(not_running(guest, seen.status));
        }
        let domain = host.domain(guest)?;
        let class = |e: &virt::error::Error| failure::of(e, HypervisorError::Connection, &guest.name, &host);
        let text = domain.xml_desc(0).map_err(|e| class(&e))?;
        let mut sum = Counters::default();
        // Both ends of a cable: what the host's end has sent, the guest has received; libvirt tells it the guest's way.
        for device in xml::host_devices(&text)? {
            let stats = domain.interface_stats(&device).map_err(|e| class(&e))?;
            let number = |value: i64| u64::try_from(value).unwrap_or(0);
            sum.rx_bytes += number(stats.rx_bytes);
            sum.tx_bytes += number(stats.tx_bytes);
            sum.pkt_drops += number(stats.rx_drop) + number(stats.tx_drop);
        }
        Ok(sum)
    }

    fn set_forwarding(&self, guest: &Guest, on: bool) -> Result<()> {
        self.seen(guest)?;
        let sysctls = self.kept(guest)?.sysctls;
        if !sysctls.forwards() {
            return Ok(());
        }
        let host = self.host(&guest.host)?;
        if host.is_container() {
            return self.lxc.set_sysctls(guest, &host.domain(guest)?, &sysctls, on);
        }
        let values = if on { sysctls.forwarding() } else { sysctls.withheld() };
        self.set_sysctls(guest, &values)
    }

    fn netns(&self, guest: &Guest) -> Result<File> {
        let host = self.host(&guest.host)?;
        if host.is_container() {
            return self.lxc.netns(guest, &host.domain(guest)?);
        }
        let message = format!(
            "{} is a virtual machine: service chains connect containers of this machine only",
            guest.name
        );
        Err(NfioError::posix(libc::EOPNOTSUPP, message))
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
