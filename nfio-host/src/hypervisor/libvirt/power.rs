//! A guest is started, asked to end, ended, and removed.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt::sys;

use super::host::Host;
use super::kept::Kept;
use super::{Libvirt, agent, deploy, failure, inside, network, tell};
use crate::error::{HypervisorError, NfioError, Result};
use crate::hypervisor::container::sysctl::Sysctls;
use crate::hypervisor::{Guest, Prepared, Status};

/// From one request to end to the next.
const AGAIN: Duration = Duration::from_secs(1);
/// From one look at a guest that is to end to the next.
const PAUSE: Duration = Duration::from_millis(50);

/// Starts a guest that does not run.
pub(super) fn start(driver: &Libvirt, guest: &Guest, prepared: &Prepared) -> Result<()> {
    let container = driver.host(&guest.host)?.is_container();
    if !container && (prepared.command.is_some() || !prepared.env.is_empty()) {
        let message = format!(
            "{}: its type sets a command or an environment, which a virtual machine has not: use a driver of containers",
            guest.name
        );
        return Err(HypervisorError::Start(message).into());
    }
    let (host, seen) = driver.seen(guest)?;
    match seen.status {
        Status::Running => return Ok(()),
        Status::Paused => {
            let message = format!("{} is paused: write unpause into action", guest.name);
            return Err(HypervisorError::Start(message).into());
        }
        _ => {}
    }
    if container {
        let (links, files) = (deploy::links(driver, &driver.lxc.spec(guest)?), driver.boot_files.of(guest)?);
        return driver.lxc.start(guest, &host, &links, prepared, files.iter().chain(&prepared.files));
    }
    boot(driver, guest, &host, prepared)
}

/// Boots a virtual machine. One that its agent has to prepare is up when this answers, with an address where its network
/// leases one.
fn boot(driver: &Libvirt, guest: &Guest, host: &Host, prepared: &Prepared) -> Result<()> {
    if let Some(log) = &prepared.log {
        redirect(guest, host, log)?;
    }
    let domain = host.domain(guest)?;
    domain.create().map_err(|e| failure::of(&e, HypervisorError::Start, &guest.name, host))?;
    host.look(guest)?;
    let Kept { sysctls, devices, .. } = driver.kept(guest)?;
    let files = driver.boot_files.of(guest)?;
    if sysctls == Sysctls::default() && devices.is_empty() && files.is_empty() && prepared.files.is_empty() {
        return Ok(());
    }
    let domain = host.with_agent(guest)?;
    inside::await_agent(guest, host, &domain)?;
    inside::find_devices(guest, host, &domain, &devices)?;
    inside::set_sysctls(driver, guest, &sysctls.withheld())?;
    for file in files.iter().chain(&prepared.files) {
        inside::put(guest, host, &domain, file)?;
    }
    network::await_address(guest, host, &domain);
    Ok(())
}

/// Has the console of a guest that does not run written to `log`.
fn redirect(guest: &Guest, host: &Host, log: &Path) -> Result<()> {
    if !host.local {
        return host.look_after(guest, log);
    }
    let class = |e: &Error| failure::of(e, HypervisorError::Start, &guest.name, host);
    let flags = sys::VIR_DOMAIN_XML_INACTIVE | sys::VIR_DOMAIN_XML_SECURE;
    let text = host.domain(guest)?.xml_desc(flags).map_err(|e| class(&e))?;
    if let Some(text) = tell::with_log(&text, log)? {
        host.connection()?.connect.define_domain_xml(&text).map_err(|e| class(&e))?;
    }
    host.look_after(guest, log)
}

/// Ends a guest: by request, and without one where it does not heed that in time.
pub(super) fn stop(driver: &Libvirt, guest: &Guest) -> Result<()> {
    let (host, seen) = driver.seen(guest)?;
    if seen.run.is_none() {
        return Ok(());
    }
    let domain = host.domain(guest)?;
    if seen.status == Status::Paused {
        domain.resume().map_err(|e| failure::of(&e, HypervisorError::Stop, &guest.name, &host))?;
    }
    end(driver, guest, &host, &domain, driver.kept(guest)?.stop_timeout)?;
    host.look(guest)
}

/// Asks the guest to end, and ends it where it does not within `wait` seconds.
fn end(driver: &Libvirt, guest: &Guest, host: &Host, domain: &Domain, wait: u32) -> Result<()> {
    let class = |e: &Error| failure::of(e, HypervisorError::Stop, &guest.name, host);
    let until = Instant::now() + Duration::from_secs(wait.into());
    if host.is_container() {
        if driver.lxc.ask_to_end(guest, domain)? {
            while Instant::now() < until && domain.is_active().map_err(|e| class(&e))? {
                thread::sleep(PAUSE);
            }
        }
        return destroyed(domain).map_err(|e| class(&e));
    }
    // A guest that is still booting does not hear it: it is asked again, until it ends. One that cannot be asked is ended.
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

/// Ends a domain at once; one that has ended is no error.
fn destroyed(domain: &Domain) -> std::result::Result<(), Error> {
    match domain.destroy() {
        Err(e) if !failure::is_wrong_state(&e) => Err(e),
        _ => Ok(()),
    }
}

/// Removes a guest and what was kept of it; one that is gone is no error.
pub(super) fn destroy(driver: &Libvirt, guest: &Guest, force: bool) -> Result<()> {
    let host = driver.host(&guest.host)?;
    match host.domain(guest) {
        Err(NfioError::Hypervisor(HypervisorError::NotFound(_))) => {}
        Err(e) => return Err(e),
        Ok(domain) => remove(guest, &host, &domain, force)?,
    }
    host.let_go(guest);
    driver.clear(&guest.labels.id)
}

fn remove(guest: &Guest, host: &Host, domain: &Domain, force: bool) -> Result<()> {
    let class = |e: &Error| failure::of(e, HypervisorError::Destroy, &guest.name, host);
    if domain.is_active().map_err(|e| class(&e))? {
        if !force {
            let message =
                format!("{} runs: write stop into action first, or destroy it with force", guest.name);
            return Err(HypervisorError::Destroy(message).into());
        }
        destroyed(domain).map_err(|e| class(&e))?;
    }
    let flags = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_NVRAM;
    let undefined = domain.undefine_flags(flags).or_else(|e| match e {
        // Not every driver of libvirt's has such things.
        e if failure::is(&e, ErrorNumber::InvalidArg) => domain.undefine(),
        e => Err(e),
    });
    undefined.map_err(|e| class(&e))
}
