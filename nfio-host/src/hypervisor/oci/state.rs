//! What the driver keeps of a guest: one directory, JSON files written atomically.
//!
//! ```text
//! spec.json    what was deployed: a directory without it is no guest
//! run.json     while it runs: init, monitor, address
//! exit.json    how it ended last
//! config.json  the OCI bundle of the last start
//! upper/ work/ the guest's layer;  rootfs/: where the monitor mounts it, in its own mount namespace
//! rc/          libcontainer's state while it runs
//! lock         held by its monitor, from before the first trace of a start to after the last of an end
//! ```

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::cgroup::until;
use crate::hypervisor::GuestSpec;
use crate::hypervisor::container::process::{Held, Identity};

/// A guest's directory.
#[derive(Debug, Clone)]
pub(super) struct GuestDir(PathBuf);

/// What was deployed. The paths in it are absolute: after a move of ROOT the image is looked for again at the next start,
/// which also tells where the log is now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Deployed {
    pub(super) spec: GuestSpec,
    /// The image's directory: the layer's lower one.
    pub(super) image: PathBuf,
    /// Name of cgroup, container and network interface: the same wherever the guest is looked at.
    pub(super) short: String,
    /// The network as configured at deploy.
    pub(super) network: NetworkSettings,
}

/// The driver's settings that a guest is bound to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct NetworkSettings {
    pub(super) bridge: String,
    pub(super) subnet: String,
    pub(super) run: PathBuf,
}

/// A guest that runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Running {
    pub(super) init: Identity,
    pub(super) monitor: Identity,
    pub(super) address: String,
    /// Its program runs. Before that it is being made: it can be neither asked nor configured yet.
    pub(super) started: bool,
}

/// How a guest ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Exited {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    /// Seconds since 1970.
    pub(super) time: u64,
    /// The address that it had, which it gets again if it is still free.
    pub(super) address: String,
}

impl Exited {
    pub(super) fn now(code: Option<i32>, signal: Option<i32>, address: &str) -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Self { code, signal, time, address: address.into() }
    }
}

impl GuestDir {
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn deployed(&self) -> io::Result<Option<Deployed>> {
        read_json(&self.join("spec.json"))
    }

    pub(super) fn write_deployed(&self, deployed: &Deployed) -> io::Result<()> {
        write_json(&self.join("spec.json"), deployed)
    }

    pub(super) fn running(&self) -> io::Result<Option<Running>> {
        read_json(&self.join("run.json"))
    }

    pub(super) fn write_running(&self, running: &Running) -> io::Result<()> {
        write_json(&self.join("run.json"), running)
    }

    pub(super) fn forget_running(&self) -> io::Result<()> {
        remove(&self.join("run.json"))
    }

    pub(super) fn exited(&self) -> io::Result<Option<Exited>> {
        read_json(&self.join("exit.json"))
    }

    pub(super) fn write_exited(&self, exited: &Exited) -> io::Result<()> {
        write_json(&self.join("exit.json"), exited)
    }

    /// Takes the monitor's place; waits for one that is still at work.
    pub(super) fn lock(&self, patience: Duration) -> io::Result<Flock<File>> {
        let open = || {
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(self.join("lock"))
        };
        let mut file = Some(open()?);
        let mut lock = None;
        until(patience, || {
            match file
                .take()
                .map_or_else(open, Ok)
                .map(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock))?
            {
                Ok(taken) => lock = Some(taken),
                Err((back, Errno::EAGAIN)) => file = Some(back),
                Err((_, e)) => return Err(e.into()),
            }
            Ok(lock.is_some())
        })?;
        let seconds = patience.as_secs();
        lock.ok_or_else(|| io::Error::other(format!("its monitor is still at work after {seconds} s")))
    }

    /// The guest's first process, if its program runs.
    pub(super) fn hold_init(&self) -> io::Result<Option<Held>> {
        match self.running()? {
            Some(running) if running.started => running.init.hold(),
            _ => Ok(None),
        }
    }
}

/// Removes a file; one that is not there is no error.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Reads a record; None where there is none.
fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|e| io::Error::other(format!("{}: {e}", path.display()))),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Writes a record whole or not at all, also over a crash of the machine.
pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_replaced_whole_and_leave_nothing_aside() {
        let dir = tempfile::tempdir().unwrap();
        let guest = GuestDir::new(dir.path());
        assert!(guest.exited().unwrap().is_none());
        guest.write_exited(&Exited::now(Some(3), None, "10.0.0.2")).unwrap();
        guest.write_exited(&Exited::now(None, Some(9), "10.0.0.2")).unwrap();
        assert_eq!(guest.exited().unwrap().unwrap().signal, Some(9));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
