//! What a guest leaves on the machine when it no longer runs, and how it goes.

use nix::sys::signal::Signal;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use super::cgroup::Cgroup;
use super::lease;
use super::network;
use super::remove::remove_tree;
use super::state::{Exited, GuestDir, Running};
use crate::fault::{self, Step};

/// How long a killed guest may take to be gone and recorded.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How often a removal looks again while a monitor is at work.
const GLANCE: Duration = Duration::from_millis(20);

/// Records the end and removes processes, control groups, link and libcontainer's state. Repeatable: every
/// step takes what is not there for done. A record that cannot be written (the guest has filled the disk) keeps
/// nothing else from going.
pub(super) fn clear(dir: &GuestDir, exited: Option<&Exited>) -> io::Result<()> {
    let recorded = exited.map_or(Ok(()), |exited| dir.write_exited(exited));
    take_away(dir).and(recorded)?;
    // Last: as long as it is there, somebody still has this to do.
    dir.forget_running()
}

fn take_away(dir: &GuestDir) -> io::Result<()> {
    if let Some(deployed) = dir.deployed()? {
        let cgroup = Cgroup::of(&deployed.short)?.remove();
        fault::at(Step::OciCgroups);
        network::unwire(&deployed.network, &deployed.short)?;
        fault::at(Step::OciUnwired);
        cgroup?;
    }
    for entry in fs::read_dir(dir.path())? {
        let entry = entry?;
        let name = entry.file_name();
        if name == "rc" || name.as_encoded_bytes().starts_with(b"exec.") {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

/// Waits until the monitor of a guest that has ended (or been told to) has cleared up; does it in the place
/// of a monitor that was killed.
pub(super) fn settle(dir: &GuestDir) -> io::Result<()> {
    let _no_monitor = dir.lock(PATIENCE)?;
    if let Some(running) = dir.running()? {
        // Nobody saw how it ended.
        clear(dir, Some(&Exited::now(None, None, &running.address)))?;
    } else if dir.join("rc").exists() {
        // A start that was cut off before it could record anything.
        clear(dir, None)?;
    }
    dir.deployed()?.map_or(Ok(()), |deployed| {
        Cgroup::of(&deployed.short)?.remove_monitor();
        Ok(())
    })
}

/// Kills a guest that runs, frozen or not, and waits until it is cleared up.
pub(super) fn kill(dir: &GuestDir, running: &Running) -> io::Result<()> {
    end_it(dir, running)?;
    settle(dir)
}

/// Kills a guest and waits until its monitor has done what it can.
fn end_it(dir: &GuestDir, running: &Running) -> io::Result<()> {
    if let Some(init) = running.init.hold()? {
        init.signal(Signal::SIGKILL)?;
        if let Some(deployed) = dir.deployed()? {
            let cgroup = Cgroup::of(&deployed.short)?;
            // A frozen process takes its death only once it is thawed.
            if cgroup.is_frozen() {
                cgroup.thaw()?;
            }
        }
        if !init.ended_within(PATIENCE) {
            let seconds = PATIENCE.as_secs();
            return Err(io::Error::other(format!("pid {} does not die within {seconds} s", init.pid())));
        }
    }
    fault::at(Step::OciKilled);
    if let Some(monitor) = running.monitor.hold()? {
        // It has the rest to do; whoever takes its lock sees whether it has.
        monitor.ended_within(PATIENCE);
    }
    Ok(())
}

/// Removes a guest whatever state it is in.
pub(super) fn remove(dir: &GuestDir) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    let _no_monitor = loop {
        // Also that of a start under way whose nfio did not live to see it.
        if let Some(running) = dir.running()? {
            end_it(dir, &running)?;
        }
        match dir.lock(GLANCE) {
            Ok(lock) => break lock,
            // What the system refuses it refuses again.
            Err(e) if e.raw_os_error().is_some() || Instant::now() >= end => return Err(e),
            Err(_) => {}
        }
    };
    // Also what a start left that was cut off before it could record anything.
    clear(dir, None)?;
    fault::at(Step::OciCleared);
    if let Some(deployed) = dir.deployed()? {
        Cgroup::of(&deployed.short)?.remove_monitor();
        lease::release(&deployed.network.run, dir.path())?;
        fault::at(Step::OciReleased);
    }
    // Aside first, whole: half of it is no guest.
    let name = dir.path().file_name().unwrap_or_default().to_string_lossy();
    let aside = dir.path().with_file_name(format!(".gone-{name}"));
    // What an earlier removal did not get through with.
    remove_tree(&aside)?;
    fs::rename(dir.path(), &aside)?;
    fault::at(Step::OciAside);
    remove_tree(&aside)
}
