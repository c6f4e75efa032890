//! A guest's control groups: `/nfio/<short>` for its processes, `/nfio/<short>.monitor` for its monitor, so
//! that neither ends or starves with nfio's own service. Version 1, version 2 and both beside one another;
//! libcontainer puts the guest's processes in, everything else happens here.
//!
//! `hierarchies.rs` finds what is mounted, `limits.rs` makes a guest's groups, `freezer.rs` pauses it; how groups are
//! entered, left and removed stands here.

mod freezer;
mod hierarchies;
mod limits;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use hierarchies::{Hierarchy, hierarchies};
pub(super) use limits::Limits;

const PARENT: &str = "nfio";
const PATIENCE: Duration = Duration::from_secs(5);

/// The control groups of one guest.
#[derive(Debug)]
pub(super) struct Cgroup {
    short: String,
    hierarchies: &'static [Hierarchy],
}

impl Cgroup {
    pub(super) fn of(short: &str) -> io::Result<Self> {
        Ok(Self { short: short.into(), hierarchies: hierarchies()? })
    }

    /// The name that libcontainer gets.
    pub(super) fn path(short: &str) -> String {
        format!("/{PARENT}/{short}")
    }

    /// Moves this process, the monitor, out of nfio's service. Where nfio is in the root group there is nothing
    /// to leave (and every move waits for all CPUs); a hierarchy that refuses (delegated to somebody else)
    /// leaves it where it is.
    pub(super) fn enter_as_monitor(&self) {
        let me = std::process::id().to_string();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        for hierarchy in self.hierarchies {
            // A new cpuset takes nobody in before it has been given CPUs, and has no part in whose we are.
            if hierarchy.controllers.iter().any(|c| c == "cpuset") && !hierarchy.v2 {
                continue;
            }
            if hierarchy.path_in(&own) == Some("/") {
                continue;
            }
            let entered = make_dir(&hierarchy.mount, &self.monitor_name())
                .and_then(|dir| write(&dir.join("cgroup.procs"), &me));
            if let Err(e) = entered {
                tracing::warn!("the monitor stays in nfio's control group: {e}");
            }
        }
    }

    /// The reverse: the monitor leaves its groups so that it can remove them.
    pub(super) fn leave_as_monitor(&self) {
        let me = std::process::id().to_string();
        for hierarchy in self.hierarchies {
            if hierarchy.mount.join(PARENT).join(self.monitor_name()).is_dir() {
                // Where the root takes nobody in, destroy finds and removes the empty group.
                let _ = write(&hierarchy.mount.join("cgroup.procs"), &me);
            }
        }
        self.remove_monitor();
    }

    /// Kills whatever is left in the guest's groups and removes them.
    pub(super) fn remove(&self) -> io::Result<()> {
        for hierarchy in self.hierarchies {
            let dir = hierarchy.mount.join(PARENT).join(&self.short);
            if !dir.is_dir() {
                continue;
            }
            let gone = until(PATIENCE, || {
                for pid in fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines() {
                    if let Ok(pid) = pid.parse() {
                        // The pid is in our group now; a process that ended in between is what we want.
                        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                    }
                }
                if self.is_frozen() {
                    self.thaw()?;
                }
                match fs::remove_dir(&dir) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
                    // Its last process is about to go.
                    Err(e) if e.raw_os_error() == Some(libc::EBUSY) => Ok(false),
                    other => other.map(|()| true),
                }
            })?;
            if !gone {
                let text = format!("processes in {} do not end", dir.display());
                return Err(io::Error::other(text));
            }
            remove_parent(&hierarchy.mount);
        }
        Ok(())
    }

    /// Removes the groups of a monitor that has ended.
    pub(super) fn remove_monitor(&self) {
        for hierarchy in self.hierarchies {
            // Missing, or still somebody in it: both are left to the next one who passes.
            let _ = fs::remove_dir(hierarchy.mount.join(PARENT).join(self.monitor_name()));
            remove_parent(&hierarchy.mount);
        }
    }

    fn monitor_name(&self) -> String {
        format!("{}.monitor", self.short)
    }
}

/// Asks every few milliseconds until the answer is yes or the time is up.
pub(super) fn until(limit: Duration, mut done: impl FnMut() -> io::Result<bool>) -> io::Result<bool> {
    let end = Instant::now() + limit;
    loop {
        if done()? {
            return Ok(true);
        }
        if Instant::now() >= end {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Makes `/nfio/<name>`; a guest that just went may take the empty parent with it.
fn make_dir(mount: &Path, name: &str) -> io::Result<PathBuf> {
    let dir = mount.join(PARENT).join(name);
    for _ in 0..100 {
        match fs::create_dir_all(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(io::Error::new(e.kind(), format!("{}: {e}", dir.display()))),
            Ok(()) => return Ok(dir),
        }
    }
    Err(io::Error::other(format!("{} cannot be made", dir.display())))
}

fn remove_parent(mount: &Path) {
    // Other guests in it: it stays.
    let _ = fs::remove_dir(mount.join(PARENT));
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)
        .map_err(|e| io::Error::new(e.kind(), format!("{text:?} into {}: {e}", path.display())))
}
