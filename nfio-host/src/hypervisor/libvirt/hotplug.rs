//! Interfaces that a virtual machine gets and loses while it runs.

use std::thread;
use std::time::{Duration, Instant};
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt::sys;

use super::host::Host;
use super::{Libvirt, failure, not_running, tell, xml};
use crate::error::{HypervisorError, NfioError, Result};
use crate::hypervisor::{Cable, Guest, Machine, Status};

/// How long a machine may take to let go of an interface.
const LIMIT: Duration = Duration::from_secs(20);
/// From one look at it to the next.
const PAUSE: Duration = Duration::from_millis(50);

/// A virtual machine of this host that runs. It is up once its agent has opened its channel, which libvirt sees.
pub(super) fn machine(guest: &Guest, host: &Host) -> Result<Machine> {
    if !host.local {
        let message = format!(
            "{} runs on another host ({}): service chains connect guests of this machine only",
            guest.name, guest.host
        );
        return Err(NfioError::posix(libc::EOPNOTSUPP, message));
    }
    let seen = host.seen(guest)?;
    let Some(run) = seen.run else { return Err(not_running(guest, seen.status)) };
    let is_up = host.has_answered(guest, &run) || {
        let text = host.domain(guest)?.xml_desc(0).map_err(|e| told(&e, guest, host))?;
        tell::agent_is_there(&text)?
    };
    if is_up {
        host.note_answer(guest, &run);
    }
    Ok(Machine { run, is_up, is_paused: seen.status == Status::Paused })
}

/// Plugs an interface in.
pub(super) fn attach(driver: &Libvirt, guest: &Guest, cable: &Cable) -> Result<()> {
    let host = driver.awake(guest)?;
    let domain = host.domain(guest)?;
    domain.attach_device_flags(&xml::plug(cable)?, sys::VIR_DOMAIN_AFFECT_LIVE).map_err(|e| {
        if !failure::is(&e, ErrorNumber::InternalError) || !e.message().contains("PCI slots") {
            return told(&e, guest, &host);
        }
        let message = format!(
            "{} has no slot free for another link: a virtual machine has room for {} links of chains; one that an older \
             nfio made has none: destroy it and activate it again",
            guest.name,
            xml::SPARE
        );
        NfioError::configuration(message)
    })
}

/// Unplugs an interface, and waits until the machine has let go of it.
pub(super) fn detach(driver: &Libvirt, guest: &Guest, cable: &Cable) -> Result<bool> {
    let (host, seen) = driver.seen(guest)?;
    if seen.run.is_none() {
        return Ok(false);
    }
    let domain = host.domain(guest)?;
    let is_there = |domain: &Domain| match domain.xml_desc(0) {
        Ok(text) => Ok(tell::has_interface(&text, &cable.hardware)?),
        Err(e) => Err(told(&e, guest, &host)),
    };
    // One that is paused answers nothing, and one whose interface is not there is not held up.
    if seen.status == Status::Paused && is_there(&domain)? {
        let message = format!(
            "{} is paused, so that no interface can be taken from it: write unpause into action",
            guest.name
        );
        return Err(HypervisorError::NotRunning(message).into());
    }
    match domain.detach_device_flags(&xml::plug(cable)?, sys::VIR_DOMAIN_AFFECT_LIVE) {
        Ok(()) => {}
        Err(e) if failure::is(&e, ErrorNumber::DeviceMissing) || failure::is_wrong_state(&e) => {
            return Ok(false);
        }
        // It was asked for before, and the machine takes its time.
        Err(_) if is_there(&domain)? => {}
        Err(e) => return Err(told(&e, guest, &host)),
    }
    let until = Instant::now() + LIMIT;
    while is_there(&domain)? {
        if Instant::now() >= until {
            let message = format!(
                "{} did not let go of an interface ({}) within {} s: stop it, which takes the interface away too",
                guest.name,
                cable.hardware,
                LIMIT.as_secs()
            );
            return Err(NfioError::posix(libc::EIO, message));
        }
        thread::sleep(PAUSE);
    }
    Ok(true)
}

fn told(error: &Error, guest: &Guest, host: &Host) -> NfioError {
    match failure::is_wrong_state(error) {
        true => not_running(guest, Status::Exited),
        false => failure::of(error, HypervisorError::Deploy, &guest.name, host),
    }
}
