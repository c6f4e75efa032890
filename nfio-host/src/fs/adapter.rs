//! The way into and out of the kernel: the only room that names fuser. Its next release changes names and types;
//! they are met here.

mod answers;
mod convert;
mod filesystem;
mod negotiation;
mod notices;
mod opened;
mod probe;

use fuser::{Config, MountOption, Session, SessionACL};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::statfs::statfs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

pub use probe::try_passthrough;

use super::Nfio;
use crate::error::{NfioError, Result};

/// How to mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountConfig {
    /// Where: an existing directory.
    pub mountpoint: PathBuf,
    /// What mount(8) shows as the source: the path of ROOT.
    pub fsname: String,
    /// Whether other users than the one who mounts may use it.
    pub allow_other: bool,
    /// More options, as words of `-o`: `ro`, `rw`, `exec`, `noexec`, `atime`, `noatime`, `sync`, `async`,
    /// `dirsync`, `allow_other`; `nosuid`, `nodev` and `default_permissions` hold in any case.
    pub options: Vec<String>,
    /// How many requests are taken up side by side, at least 1.
    pub threads: usize,
}

/// A mounted file system. Dropping it unmounts.
#[derive(Debug)]
pub struct Mounted {
    unmounter: Unmounter,
}

/// Unmounts from anywhere, for example when a signal comes.
#[derive(Debug, Clone)]
pub struct Unmounter {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    mountpoint: PathBuf,
    /// What the session ended with, once it has.
    end: Mutex<Option<std::result::Result<(), NfioError>>>,
    ended: Condvar,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Option<std::result::Result<(), NfioError>>> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing of ours is mounted any more. The kernel now and then tells an unmount in the words of an abort,
    /// which leaves a dead mount behind.
    fn is_gone(&self) -> bool {
        !matches!(statfs(&self.mountpoint), Err(Errno::ENOTCONN | Errno::ECONNABORTED))
    }
}

/// Mounts; the file system is ready when this returns.
///
/// # Errors
/// EINVAL for an option that is not known or allowed, else the errno of mount(2), in a sentence.
pub fn mount(nfio: Nfio, config: MountConfig) -> Result<Mounted> {
    let at = |doing: &str, e: std::io::Error| {
        let errno = e.raw_os_error().unwrap_or(libc::EIO);
        NfioError::posix(errno, format!("cannot {doing} {}: {e}", config.mountpoint.display()))
    };
    let mountpoint = config.mountpoint.canonicalize().map_err(|e| at("find", e))?;
    let fuse = fuse_config(&config)?;
    let nfio = Arc::new(nfio);
    let adapter = opened::Adapter::new(Arc::clone(&nfio));
    let session = Session::new(adapter, &mountpoint, &fuse).map_err(|e| at("mount", e))?;
    nfio.kept.set_kernel(Box::new(notices::Notices(session.notifier())));
    drop(nfio);
    let state = Arc::new(State { mountpoint, end: Mutex::new(None), ended: Condvar::new() });
    let serving = Arc::clone(&state);
    let body = move || {
        let end = match session.run() {
            Err(e) if e.raw_os_error() == Some(libc::ECONNABORTED) && serving.is_gone() => Ok(()),
            end => end.map_err(NfioError::from),
        };
        *serving.lock() = Some(end);
        serving.ended.notify_all();
    };
    thread::Builder::new().name("nfio-session".into()).spawn(body).map_err(|e| at("serve", e))?;
    Ok(Mounted { unmounter: Unmounter { state } })
}

fn fuse_config(config: &MountConfig) -> Result<Config> {
    let mut options = vec![
        MountOption::FSName(config.fsname.clone()),
        // fuser gives its own Subtype to fusermount alone.
        MountOption::CUSTOM("subtype=nfio".into()),
        MountOption::DefaultPermissions,
        MountOption::NoSuid,
        MountOption::NoDev,
    ];
    let mut everybody = config.allow_other;
    for word in &config.options {
        match word.as_str() {
            "allow_other" => everybody = true,
            "default_permissions" | "nosuid" | "nodev" => {}
            "ro" => options.push(MountOption::RO),
            "rw" => options.push(MountOption::RW),
            "exec" => options.push(MountOption::Exec),
            "noexec" => options.push(MountOption::NoExec),
            "atime" => options.push(MountOption::Atime),
            "noatime" => options.push(MountOption::NoAtime),
            "sync" => options.push(MountOption::Sync),
            "async" => options.push(MountOption::Async),
            "dirsync" => options.push(MountOption::DirSync),
            other => {
                let message =
                    format!("mount option {other:?} is not known or not allowed; see nfio mount --help");
                return Err(NfioError::posix(libc::EINVAL, message));
            }
        }
    }
    let mut fuse = Config::default();
    fuse.mount_options = options;
    fuse.acl = if everybody { SessionACL::All } else { SessionACL::Owner };
    fuse.n_threads = Some(config.threads.max(1));
    fuse.clone_fd = true;
    Ok(fuse)
}

impl Mounted {
    /// What unmounts it, to be handed to whoever waits for signals.
    pub fn unmounter(&self) -> Unmounter {
        self.unmounter.clone()
    }

    /// Where it is mounted.
    pub fn mountpoint(&self) -> &Path {
        &self.unmounter.state.mountpoint
    }

    /// Waits until it is unmounted, by whomever, and its last open file is closed.
    ///
    /// # Errors
    /// What ended the session, where it was not an unmount.
    pub fn wait(&self) -> Result<()> {
        let state = &self.unmounter.state;
        let mut end = state.lock();
        loop {
            if let Some(end) = end.as_ref() {
                return end.clone();
            }
            end = state.ended.wait(end).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for at most this long; whether the session has ended.
    pub fn wait_for(&self, limit: Duration) -> bool {
        let state = &self.unmounter.state;
        let waited = state.ended.wait_timeout_while(state.lock(), limit, |end| end.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_some()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(e) = self.unmounter.unmount() {
            tracing::warn!("{e}");
        }
    }
}

impl Unmounter {
    /// Unmounts. While somebody is at work in the mount it is detached instead: nobody new comes in, and the session
    /// ends with the last open file ([`Mounted::wait_for`] bounds the patience).
    ///
    /// # Errors
    /// The errno of umount(2). Having been unmounted already is none.
    pub fn unmount(&self) -> Result<()> {
        if self.state.lock().is_some() {
            return Ok(());
        }
        let unmount = |flags: MntFlags| umount2(&self.state.mountpoint, flags | MntFlags::UMOUNT_NOFOLLOW);
        let done = match unmount(MntFlags::empty()) {
            Err(Errno::EBUSY) => unmount(MntFlags::MNT_DETACH),
            done => done,
        };
        match done {
            // Not a mount point: somebody was faster.
            Ok(()) | Err(Errno::EINVAL) => Ok(()),
            Err(errno) => {
                let message = format!("cannot unmount {}: {errno}", self.state.mountpoint.display());
                Err(NfioError::posix(errno as i32, message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(options: &[&str]) -> MountConfig {
        MountConfig {
            mountpoint: "/mnt".into(),
            fsname: "/srv/nfio".into(),
            allow_other: false,
            options: options.iter().map(|word| (*word).into()).collect(),
            threads: 0,
        }
    }

    #[test]
    fn permissions_and_nosuid_hold_whatever_is_asked() {
        let fuse = fuse_config(&config(&["nosuid", "ro", "allow_other"])).unwrap();
        for expected in [
            MountOption::DefaultPermissions,
            MountOption::NoSuid,
            MountOption::NoDev,
            MountOption::RO,
            MountOption::CUSTOM("subtype=nfio".into()),
        ] {
            assert!(fuse.mount_options.contains(&expected), "{expected:?}");
        }
        assert_eq!((fuse.acl, fuse.n_threads), (SessionACL::All, Some(1)));
        assert_eq!(fuse_config(&config(&[])).unwrap().acl, SessionACL::Owner);
    }

    #[test]
    fn an_option_that_would_open_a_hole_is_refused_by_name() {
        for word in ["suid", "dev", "auto_unmount", "nonsense"] {
            let error = fuse_config(&config(&[word])).unwrap_err();
            assert_eq!(error.errno(), libc::EINVAL);
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
