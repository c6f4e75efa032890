//! What a guest asks for is judged, and its domain is made.

use std::fs;
use std::os::unix::fs::DirBuilderExt;

use super::host::Host;
use super::kept::Kept;
use super::xml::{self, Link};
use super::{Libvirt, failure, images};
use crate::config::Accelerator;
use crate::error::{HypervisorError, NfioError, Result};
use crate::hypervisor::boot_conf::Interface;
use crate::hypervisor::container::check as container;
use crate::hypervisor::container::sysctl::Sysctls;
use crate::hypervisor::{Guest, GuestSpec};

/// Judges what is asked for without touching anything.
pub(super) fn check(driver: &Libvirt, spec: &GuestSpec) -> Result<()> {
    if let Ok(host) = driver.host(&spec.host)
        && host.is_container()
    {
        return driver.lxc.check(spec, &host);
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
    images::judge(&driver.config.settings.images, spec)?;
    driver.host(&spec.host).map(drop)
}

/// Defines a guest that is not there yet; answers its id.
pub(super) fn deploy(driver: &Libvirt, spec: &GuestSpec) -> Result<String> {
    check(driver, spec)?;
    let (host, guest, id) = (driver.host(&spec.host)?, Guest::of(spec), &spec.labels.id);
    match host.domain(&guest) {
        Ok(_) => {
            let message = format!("{}: a domain with its id is there already: destroy it first", spec.name);
            return Err(HypervisorError::Deploy(message).into());
        }
        Err(NfioError::Hypervisor(HypervisorError::NotFound(_))) => {}
        Err(e) => return Err(e),
    }
    let kept = Kept::of(spec)?.write(&driver.kept_path(id));
    let made = kept.and_then(|()| driver.boot_files.keep(spec)).and_then(|()| define(driver, spec, &host));
    made.and_then(|()| host.look_after(&guest, &spec.log)).map_err(|e| match driver.clear(id) {
        Ok(()) => e,
        Err(left) => HypervisorError::InconsistentState(format!("{e}; and {left}")).into(),
    })?;
    Ok(id.clone())
}

/// What a guest's interfaces are connected to.
pub(super) fn links(driver: &Libvirt, spec: &GuestSpec) -> Vec<Link> {
    let usual = || Link::Network(driver.config.settings.network.clone());
    if spec.boot.interfaces.is_empty() {
        return vec![usual()];
    }
    let link = |interface: &Interface| match (&interface.bridge, &interface.network) {
        (Some(bridge), _) => Link::Bridge(bridge.clone()),
        (None, Some(network)) => Link::Network(network.clone()),
        (None, None) => usual(),
    };
    spec.boot.interfaces.iter().map(link).collect()
}

fn define(driver: &Libvirt, spec: &GuestSpec, host: &Host) -> Result<()> {
    let (settings, links) = (&driver.config.settings, links(driver, spec));
    if host.is_container() {
        return driver.lxc.define(spec, host, &links);
    }
    let found = images::find(&settings.images, spec)?;
    let mut boot = found.boot;
    if let Some((base, format)) = found.base {
        if !host.local {
            let message = "disks of other hosts are not served yet: name an image that is kernel and initrd";
            return Err(NfioError::configuration(format!("machine/vm.image: {message}")));
        }
        let layer = driver.layer(&spec.labels.id);
        // QEMU's user goes through; only nfio looks around.
        fs::DirBuilder::new().recursive(true).mode(0o711).create(&settings.layers)?;
        images::make_layer(&layer, &base, format)?;
        boot.disk = Some(layer);
    }
    let kind = match settings.accelerator {
        Accelerator::Kvm => "kvm",
        Accelerator::Qemu => "qemu",
        Accelerator::Auto => host.accelerator()?,
    };
    let xml = xml::Domain { spec, kind, boot: &boot, links: &links, logs: host.local }.to_xml()?;
    let connection = host.connection()?;
    let defined = connection.connect.define_domain_xml(&xml);
    defined.map(drop).map_err(|e| failure::of(&e, HypervisorError::Deploy, &spec.name, host))
}
