//! Commands, files and kernel parameters in a guest.

use std::time::Duration;
use virt::domain::Domain;

use super::agent::{self, Failure};
use super::host::Host;
use super::{COMMAND_LIMIT, Libvirt, failure};
use crate::error::{HypervisorError, NfioError, Result};
use crate::hypervisor::container::check as container;
use crate::hypervisor::{Execution, Guest, Output, PutFile};

/// How long a guest may take from its start until its agent answers.
const BOOT_LIMIT: Duration = Duration::from_secs(120);

/// Waits until the guest's agent answers: as long as the guest may still be booting, or for one answer.
pub(super) fn await_agent(guest: &Guest, host: &Host, domain: &Domain) -> Result<()> {
    let seen = host.seen(guest)?;
    agent::wait(domain, seen.since + BOOT_LIMIT).map_err(|failure| told(failure, guest, host))?;
    if let Some(run) = seen.run {
        host.note_answer(guest, &run);
    }
    Ok(())
}

/// Runs a command in the guest.
pub(super) fn execute(driver: &Libvirt, guest: &Guest, execution: &Execution) -> Result<Output> {
    let host = driver.awake(guest)?;
    let domain = host.with_agent(guest)?;
    container::command(&execution.argv, "the command")?;
    if host.is_container() {
        return driver.lxc.execute(guest, &domain, execution);
    }
    await_agent(guest, &host, &domain)?;
    agent::execute(&domain, execution, COMMAND_LIMIT).map_err(|failure| told(failure, guest, &host))
}

/// Writes a file in the guest.
pub(super) fn put_file(driver: &Libvirt, guest: &Guest, file: &PutFile) -> Result<()> {
    let host = driver.awake(guest)?;
    let domain = host.with_agent(guest)?;
    container::target(&file.path)?;
    if host.is_container() {
        return driver.lxc.put(guest, &domain, file);
    }
    await_agent(guest, &host, &domain)?;
    put(guest, &host, &domain, file)
}

/// Writes a file by the agent, which answers.
pub(super) fn put(guest: &Guest, host: &Host, domain: &Domain, file: &PutFile) -> Result<()> {
    agent::put(domain, file, COMMAND_LIMIT).map_err(|failure| told(failure, guest, host))
}

/// Fails for a device node that is not in a virtual machine: its own kernel has them, nobody passes them in.
pub(super) fn find_devices(guest: &Guest, host: &Host, domain: &Domain, devices: &[String]) -> Result<()> {
    for device in devices {
        let argv = ["test", "-b", device, "-o", "-c", device].map(str::to_owned).to_vec();
        let output = agent::execute(domain, &Execution { argv, stdin: Vec::new() }, COMMAND_LIMIT)
            .map_err(|failure| told(failure, guest, host))?;
        if output.exit_code != 0 {
            let message = format!(
                "{}: its type needs the device {device}, which its machine has not: take an image whose kernel has it",
                guest.name
            );
            return Err(HypervisorError::Start(message).into());
        }
    }
    Ok(())
}

/// Lets the guest forward packets, or has it forward none.
pub(super) fn set_forwarding(driver: &Libvirt, guest: &Guest, on: bool) -> Result<()> {
    driver.seen(guest)?;
    let sysctls = driver.kept(guest)?.sysctls;
    if !sysctls.forwards() {
        return Ok(());
    }
    let host = driver.host(&guest.host)?;
    if host.is_container() {
        return driver.lxc.set_sysctls(guest, &host.domain(guest)?, &sysctls, on);
    }
    let values = if on { sysctls.forwarding() } else { sysctls.withheld() };
    set_sysctls(driver, guest, &values)
}

/// Writes kernel parameters in a virtual machine: path below /proc/sys and value.
pub(super) fn set_sysctls(driver: &Libvirt, guest: &Guest, values: &[(String, String)]) -> Result<()> {
    let host = driver.awake(guest)?;
    let domain = host.with_agent(guest)?;
    for (path, value) in values {
        let place = format!("/proc/sys/{path}");
        let argv = ["sh", "-c", "cat > \"$1\"", "sh", &place].map(str::to_owned).to_vec();
        let execution = Execution { argv, stdin: value.as_bytes().to_vec() };
        let output = agent::execute(&domain, &execution, COMMAND_LIMIT)
            .map_err(|failure| told(failure, guest, &host))?;
        if output.exit_code != 0 {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let message = format!("{}: the sysctl {path} cannot be set to {value:?}: {words}", guest.name);
            return Err(HypervisorError::Start(message).into());
        }
    }
    Ok(())
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
