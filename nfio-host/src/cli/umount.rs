//! `nfio umount`: takes one of our mounts down and returns when its nfio has ended, so that the next mount of the
//! same ROOT works at once.

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use std::path::Path;
use std::time::Duration;

use super::mountpoint::{FSTYPE, Mountpoint};
use crate::error::{NfioError, Result};
use crate::root;

/// How long nfio may take to end once its mount is gone: verbs under way run to their end.
const PATIENCE: Duration = Duration::from_secs(70);

/// The command.
pub(super) fn run(given: &Path) -> Result<()> {
    let mountpoint = Mountpoint::locate(given).map_err(|e| {
        // What to make of a path is advice for who mounts.
        let what = match Errno::from_raw(e.errno()) {
            Errno::ENOENT => "does not exist",
            Errno::ENOTDIR => "is not a directory",
            _ => return e,
        };
        let message = format!(
            "MOUNTPOINT {} {what}, so nothing is mounted there: see findmnt -t {FSTYPE}",
            given.display()
        );
        NfioError::posix(e.errno(), message)
    })?;
    let path = mountpoint.path().display();
    let refuse = |errno: Errno, message: String| Err(NfioError::posix(errno as i32, message));
    let mount = match mountpoint.mounted()? {
        None => {
            return refuse(Errno::EINVAL, format!("nothing is mounted at {path}: see findmnt -t {FSTYPE}"));
        }
        Some(mount) if mount.fstype != FSTYPE => {
            let message = format!("{path} is a mount of {}, not of nfio: use umount {path}", mount.fstype);
            return refuse(Errno::EINVAL, message);
        }
        Some(mount) => mount,
    };
    if !nix::unistd::geteuid().is_root() {
        let message = format!("only root can unmount {path}, and you are not: run it with sudo or as root");
        return refuse(Errno::EPERM, message);
    }
    if mountpoint.is_stale() {
        return mountpoint.detach();
    }
    match umount2(mountpoint.path(), MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) => {}
        Err(Errno::EBUSY) => {
            let message = format!("{path} is in use: see by whom with fuser -vm {path}, then try again");
            return refuse(Errno::EBUSY, message);
        }
        Err(e) => return refuse(e, format!("{path} cannot be unmounted ({}): see dmesg", e.desc())),
    }
    if root::wait_until_free(&mount.source, PATIENCE) {
        return Ok(());
    }
    let by = root::holder(&mount.source).map_or("unknown".into(), |pid| pid.to_string());
    let message = format!(
        "{path} is unmounted, but its nfio (pid {by}) has not ended yet: wait for it before you mount {} again",
        mount.source.display()
    );
    refuse(Errno::EBUSY, message)
}
