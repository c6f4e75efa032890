//! Containers on libvirt's driver LXC, of this machine alone: nfio enters their namespaces for commands, and makes each
//! a root directory of its own, a copy of the image.
//!
//! A container has the addresses that `[[interface]]` of boot.conf says, or those that its own DHCP client fetches.
//! Forwarding is withheld as soon as libvirt has started it, so some milliseconds after its first process.

mod console;
mod xml;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;
use nix::unistd::sethostname;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use virt::domain::Domain;

use super::failure;
use super::host::{Host, Seen};
use super::xml::Link;
use super::{COMMAND_LIMIT, LibvirtConfig};
use crate::beneath;
use crate::error::{HypervisorError, NfioError, Result};
use crate::hypervisor::container::caps;
use crate::hypervisor::container::check as container;
use crate::hypervisor::container::process::{Held, Identity};
use crate::hypervisor::container::sysctl::Sysctls;
use crate::hypervisor::oci::binary::Binary;
use crate::hypervisor::oci::helper;
use crate::hypervisor::oci::images::Images;
use crate::hypervisor::oci::inside::{self, Inside};
use crate::hypervisor::oci::remove::remove_tree;
use crate::hypervisor::oci::spec::{arguments, env, home, hostname};
use crate::hypervisor::{Execution, Guest, GuestSpec, Output, Prepared, PutFile, image_names};
use crate::netlink::in_netns;

/// What containers need beside libvirt.
#[derive(Debug)]
pub(super) struct Lxc {
    images: Images,
    layers: PathBuf,
    state: PathBuf,
    helper: Binary,
    /// The run of each guest whose console is drained, so that it is drained once.
    followed: Mutex<HashMap<String, String>>,
}

impl Lxc {
    pub(super) fn new(config: &LibvirtConfig) -> Self {
        Self {
            images: Images::new(config.settings.images.clone(), config.state.join("images")),
            layers: config.settings.layers.clone(),
            state: config.state.clone(),
            helper: Binary::new("/proc/self/exe".into()),
            followed: Mutex::default(),
        }
    }

    fn layer(&self, id: &str) -> PathBuf {
        self.layers.join(format!("{id}.root"))
    }

    fn kept_path(&self, id: &str) -> PathBuf {
        self.state.join(format!("{id}.lxc"))
    }

    /// Judges what is asked for without touching anything.
    pub(super) fn check(&self, spec: &GuestSpec, host: &Host) -> Result<()> {
        if !host.local {
            let message = format!(
                "machine/ip: {} is lxc of another host, and nfio enters containers of this machine alone: \
                 use qemu there, or 127.0.0.1",
                host.uri
            );
            return Err(HypervisorError::Connection(message).into());
        }
        if let Some(device) = spec.needs.devices.first() {
            return Err(NfioError::configuration(format!(
                "the type needs the device {device}, and libvirt's containers get none of their host: use Oci or Docker"
            )));
        }
        let boot = &spec.boot;
        let sysctls = Sysctls::of(spec)?;
        container::unsupported(
            "Libvirt (lxc)",
            &[
                ("user", boot.user.is_some()),
                ("dns", !boot.dns.is_empty()),
                ("privileged", boot.privileged),
                ("pull", boot.pull),
                ("[sysctls] outside net", !sysctls.ipc.is_empty()),
                ("[[port]]", !boot.ports.is_empty()),
                ("[vm]", boot.vm.is_some()),
            ],
        )?;
        container::check(spec)?;
        boot.env.iter().try_for_each(|(key, value)| xml::variable(key, value))?;
        boot.interfaces.iter().try_for_each(xml::judge)?;
        self.images.check_name(&spec.image, spec.absolute_image)
    }

    /// Makes the container's root directory, and its domain.
    pub(super) fn define(&self, spec: &GuestSpec, host: &Host, links: &[Link]) -> Result<()> {
        let image = self.images.find(&spec.image, spec.absolute_image)?;
        // A container's files are nobody's business on the host.
        fs::DirBuilder::new().recursive(true).mode(0o711).create(&self.layers)?;
        let layer = self.layer(&spec.labels.id);
        remove_tree(&layer)?;
        let mut command = Command::new("cp");
        command.args(["-a", "--reflink=auto", "--"]).arg(&image).arg(&layer);
        let output =
            command.output().map_err(|e| HypervisorError::Deploy(format!("cp cannot be run: {e}")))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(image_names::deploy(format!("{} cannot be copied: {words}", image.display())));
        }
        let text = serde_json::to_vec(spec).map_err(io::Error::other)?;
        beneath::write_atomic(&self.kept_path(&spec.labels.id), &text)?;
        self.write_domain(spec, host, links, &Prepared::default())
    }

    /// Defines the domain, or defines it anew, as what it runs is told by each start.
    fn write_domain(&self, spec: &GuestSpec, host: &Host, links: &[Link], prepared: &Prepared) -> Result<()> {
        let layer = self.layer(&spec.labels.id);
        let inside = Inside::open(&layer)?;
        let mut arguments = arguments(spec, prepared, &inside)?;
        let environment = env(spec, prepared, &home(&inside, 0))?;
        // All of them: the home stands in a file that the guest can write.
        let mut variables = environment.iter().filter_map(|variable| variable.split_once('='));
        variables.try_for_each(|(key, value)| xml::variable(key, value))?;
        let program = arguments.first().map_or("", String::as_str);
        let found = find_program(&inside, program, &environment).ok_or_else(|| {
            HypervisorError::Start(format!("{}: {program}: not found in the image {}", spec.name, spec.image))
        })?;
        // libvirt looks for no program itself.
        arguments[..1].fill(found);
        // As in the embedded runtime, but for MKNOD, which libvirt withholds by itself.
        let capabilities = caps::of(spec, &caps::held()?, false)?;
        let xml = xml::Container {
            spec,
            links,
            layer: &layer,
            arguments: &arguments,
            environment: &environment,
            capabilities: &capabilities,
        };
        let defined = host.connection()?.connect.define_domain_xml(&xml.to_xml()?);
        defined.map(drop).map_err(|e| failure::of(&e, HypervisorError::Deploy, &spec.name, host))
    }

    /// The specification that a guest was deployed with.
    pub(super) fn spec(&self, guest: &Guest) -> Result<GuestSpec> {
        match fs::read(self.kept_path(&guest.labels.id)) {
            Ok(text) => Ok(serde_json::from_slice(&text).map_err(io::Error::other)?),
            Err(e) if e.kind() == ErrorKind::NotFound => Err(failure::not_found(&guest.name)),
            Err(e) => Err(e.into()),
        }
    }

    /// Starts a container that does not run; `files` are in it before its first process is.
    pub(super) fn start<'a>(
        &self,
        guest: &Guest,
        host: &Host,
        links: &[Link],
        prepared: &Prepared,
        mut files: impl Iterator<Item = &'a PutFile>,
    ) -> Result<()> {
        let spec = self.spec(guest)?;
        self.write_domain(&spec, host, links, prepared)?;
        let root = Inside::open(&self.layer(&guest.labels.id))?;
        files.try_for_each(|file| {
            let wrote = root.write(Path::new(&file.path), file.mode, &file.data);
            wrote.map_err(|e| {
                let text = format!("{}: {} cannot be written: {e}", guest.name, file.path);
                NfioError::from(HypervisorError::Start(text))
            })
        })?;
        let domain = host.domain(guest)?;
        domain.create().map_err(|e| failure::of(&e, HypervisorError::Start, &guest.name, host))?;
        host.look(guest)?;
        self.set_hostname(guest, &domain, hostname(&spec))?;
        self.set_sysctls(guest, &domain, &Sysctls::of(&spec)?, false)?;
        self.follow(guest, &domain, &host.seen(guest)?, prepared.log.as_deref().unwrap_or(&spec.log))
    }

    /// Drains the console of a container that runs into its log, unless that is done already.
    pub(super) fn follow(&self, guest: &Guest, domain: &Domain, seen: &Seen, log: &Path) -> Result<()> {
        let Some(run) = &seen.run else { return Ok(()) };
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if followed.get(&guest.labels.id) == Some(run) {
            return Ok(());
        }
        let told = domain.xml_desc(0).map_err(io::Error::other)?;
        let Some(terminal) = xml::console(&told)? else { return Ok(()) };
        match console::follow(&terminal, log) {
            // One that ended at once has taken its console along.
            Err(_) if !domain.is_active().unwrap_or(false) => {}
            other => other?,
        }
        followed.insert(guest.labels.id.clone(), run.clone());
        Ok(())
    }

    /// The container's first process: the child of libvirt's own process for it, whose pid is the domain's number.
    fn init(&self, guest: &Guest, domain: &Domain) -> Result<Held> {
        let ended = || {
            let text = format!("{} does not run any more: write start into action", guest.name);
            NfioError::from(HypervisorError::NotRunning(text))
        };
        let controller = domain.id().ok_or_else(ended)?;
        let name = fs::read_to_string(format!("/proc/{controller}/comm")).map_err(|_| ended())?;
        if name.trim() != "libvirt_lxc" {
            let text = format!(
                "{}: the process {controller} is not its libvirt_lxc: nfio has to run where libvirtd does",
                guest.name
            );
            return Err(HypervisorError::Connection(text).into());
        }
        let children = || fs::read_to_string(format!("/proc/{controller}/task/{controller}/children"));
        let first = |text: String| text.split_whitespace().next()?.parse::<i32>().ok();
        let pid = children().ok().and_then(first).ok_or_else(ended)?;
        let held = Held::open(pid).map_err(|_| ended())?;
        // Its child still: the pid is not somebody else's by now.
        if children().ok().and_then(first) != Some(pid) || !held.alive() {
            return Err(ended());
        }
        Ok(held)
    }

    /// Asks the container's first process to end; false where that would not hear it. libvirt itself asks init systems
    /// alone, by their fifo.
    pub(super) fn ask_to_end(&self, guest: &Guest, domain: &Domain) -> Result<bool> {
        match self.init(guest, domain) {
            Ok(init) if init.hears_sigterm() => Ok(init.signal(Signal::SIGTERM).map(|()| true)?),
            Ok(_) | Err(NfioError::Hypervisor(HypervisorError::NotRunning(_))) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Names the container; libvirt gives it the domain's name.
    fn set_hostname(&self, guest: &Guest, domain: &Domain, name: &str) -> Result<()> {
        let init = self.init(guest, domain)?;
        // A thread of its own: the namespace that it enters is its own alone.
        let named = thread::scope(|scope| {
            let worker = thread::Builder::new().name("uts".into()).spawn_scoped(scope, || {
                setns(init.as_fd(), CloneFlags::CLONE_NEWUTS)?;
                Ok(sethostname(name)?)
            })?;
            worker.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
        });
        named.map_err(|e| HypervisorError::Start(format!("{}: hostname: {e}", guest.name)).into())
    }

    /// Runs a command in the container.
    pub(super) fn execute(&self, guest: &Guest, domain: &Domain, execution: &Execution) -> Result<Output> {
        let init = self.init(guest, domain)?;
        let log = self.state.join("helper.log");
        let done = Identity::of(init.pid())
            .map_err(NfioError::from)
            .and_then(|identity| helper::join(&self.helper, &identity, &log, execution, COMMAND_LIMIT));
        done.map_err(|e| match e {
            NfioError::Posix { message, .. } => {
                HypervisorError::CommandExecution(format!("{}: {message}", guest.name)).into()
            }
            other => other,
        })
    }

    /// Writes a file in the running container.
    pub(super) fn put(&self, guest: &Guest, domain: &Domain, file: &PutFile) -> Result<()> {
        let init = self.init(guest, domain)?;
        inside::put(guest, &init, file)
    }

    /// The container's network namespace.
    pub(super) fn netns(&self, guest: &Guest, domain: &Domain) -> Result<File> {
        self.init(guest, domain)?.netns().map_err(|_| {
            let text = format!("{} has just ended: write start into action", guest.name);
            HypervisorError::NotRunning(text).into()
        })
    }

    /// Writes the network's kernel parameters, with forwarding on or withheld.
    pub(super) fn set_sysctls(
        &self,
        guest: &Guest,
        domain: &Domain,
        sysctls: &Sysctls,
        forwarding: bool,
    ) -> Result<()> {
        let netns = self.netns(guest, domain)?;
        let applied = sysctls.apply(netns, forwarding);
        applied.map_err(|e| HypervisorError::Start(format!("{}: {e}", guest.name)).into())
    }

    /// The container's first address that leads out of it.
    pub(super) fn address(&self, guest: &Guest, domain: &Domain) -> Result<Option<String>> {
        let addresses = in_netns(self.netns(guest, domain)?, || {
            let all = getifaddrs()?.filter(|i| !i.flags.contains(InterfaceFlags::IFF_LOOPBACK));
            let addresses = all.filter_map(|interface| {
                let address = interface.address?;
                let (v4, v6) = (address.as_sockaddr_in(), address.as_sockaddr_in6());
                v4.map(|a| a.ip().to_string()).or_else(|| v6.map(|a| a.ip().to_string()))
            });
            Ok(addresses.filter(|address| !address.starts_with("fe80:")).collect::<Vec<_>>())
        })?;
        Ok(addresses.into_iter().next())
    }

    /// Removes what is kept of a guest outside libvirt.
    pub(super) fn clear(&self, id: &str) -> Result<()> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        remove_tree(&self.layer(id))?;
        remove_tree(&self.kept_path(id))?;
        Ok(())
    }
}

/// Where a program lies in an image: a plain name is looked for as PATH says.
fn find_program(inside: &Inside, program: &str, environment: &[String]) -> Option<String> {
    if program.contains('/') {
        return inside.exists(Path::new(program)).then(|| program.to_owned());
    }
    let path = environment.iter().find_map(|variable| variable.strip_prefix("PATH="))?;
    let places = path.split(':').filter(|place| place.starts_with('/'));
    places.map(|place| format!("{place}/{program}")).find(|place| inside.exists(Path::new(place)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_a_type_needs_is_refused_by_its_name() {
        let state = tempfile::tempdir().unwrap();
        let config = LibvirtConfig {
            state: state.path().into(),
            settings: crate::config::Libvirt::default(),
            hosts: Default::default(),
        };
        let (lxc, host) = (Lxc::new(&config), Host::new("lxc:///system".into(), true).unwrap());
        let mut spec = GuestSpec::example();
        lxc.check(&spec, &host).unwrap();
        spec.needs.devices.push("/dev/net/tun".into());
        let error = lxc.check(&spec, &host).unwrap_err();
        assert!(error.code() == 720 && error.to_string().contains("/dev/net/tun"), "{error}");
    }

    #[test]
    fn a_program_is_looked_for_in_the_image() {
        let root = tempfile::tempdir().unwrap();
        let inside = Inside::open(root.path()).unwrap();
        inside.write(Path::new("/opt/bin/fw"), 0o755, b"").unwrap();
        let environment = ["HOME=/".to_owned(), "PATH=relative:/bin:/opt/bin".to_owned()];
        let find = |program: &str| find_program(&inside, program, &environment);
        assert_eq!(find("fw").as_deref(), Some("/opt/bin/fw"));
        assert_eq!(find("/opt/bin/fw").as_deref(), Some("/opt/bin/fw"));
        // The host's own shell is not the image's.
        assert_eq!((find("sh"), find("/bin/sh")), (None, None));
    }
}
