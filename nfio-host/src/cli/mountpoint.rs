//! MOUNTPOINT: what is there, and what is mounted on it. The answers come from `/proc/self/mountinfo`, which tells
//! them without asking a file system that may no longer answer.

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::statfs::statfs;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use tracing::warn;

use crate::error::{NfioError, Result};

/// The type of our mounts in mount tables.
pub(super) const FSTYPE: &str = "fuse.nfio";

/// How many stale mounts on top of each other are cleaned before something else must be wrong.
const STALE_LAYERS: usize = 16;

/// A directory that something is, or may be, mounted on.
#[derive(Debug)]
pub(super) struct Mountpoint {
    path: PathBuf,
}

/// A line of the mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where.
    path: PathBuf,
    /// The type of the file system, for example `ext4` or `fuse.nfio`.
    pub(super) fstype: String,
    /// What is mounted: a device, or ROOT for ours.
    pub(super) source: PathBuf,
}

impl Mountpoint {
    /// Finds the directory; changes nothing.
    ///
    /// # Errors
    /// Nothing is there, or something that is not a directory.
    pub(super) fn locate(given: &Path) -> Result<Self> {
        let path = match std::fs::canonicalize(given) {
            Ok(path) => path,
            // A stale mount answers nothing: look at it from outside.
            Err(e) if is_stale(e.raw_os_error()) => outside(given)?,
            Err(e) => return Err(unusable(given, &e)),
        };
        match std::fs::metadata(&path) {
            Ok(found) if !found.is_dir() => {
                let message = format!("MOUNTPOINT {} is not a directory: name an empty one", given.display());
                Err(NfioError::posix(Errno::ENOTDIR as i32, message))
            }
            Err(e) if !is_stale(e.raw_os_error()) => Err(unusable(given, &e)),
            _ => Ok(Self { path }),
        }
    }

    /// The directory, absolute and without symbolic links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is mounted on it, the topmost where there are several.
    pub(super) fn mounted(&self) -> Result<Option<Mount>> {
        let table = std::fs::read("/proc/self/mountinfo").map_err(|e| unusable(&self.path, &e))?;
        // Later lines lie on top of earlier ones.
        Ok(table.split(|b| *b == b'\n').rev().filter_map(parse).find(|mount| mount.path == self.path))
    }

    /// Whether a mount of ours on it has lost its nfio (killed, or crashed).
    pub(super) fn is_stale(&self) -> bool {
        // Attributes may still be answered from the kernel's memory; this question always reaches the daemon.
        statfs(&self.path).is_err_and(|e| is_stale(Some(e as i32)))
    }

    /// Takes a mount off that nobody serves any more, whoever still stands in it.
    pub(super) fn detach(&self) -> Result<()> {
        umount2(&self.path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
            .map_err(|e| unusable(&self.path, &e.into()))
    }

    /// Leaves the directory as a mount needs it: nothing is mounted on it, for which stale mounts of ours are
    /// cleaned, and nothing is in it.
    ///
    /// # Errors
    /// Something lives there: it is named and left alone.
    pub(super) fn make_free(&self) -> Result<()> {
        for _ in 0..STALE_LAYERS {
            let Some(mount) = self.mounted()? else { return self.check_empty() };
            if mount.fstype != FSTYPE || !self.is_stale() {
                return Err(self.busy(&mount));
            }
            warn!("{} is the stale mount of an nfio that has gone: cleaned", self.path.display());
            self.detach()?;
        }
        let message =
            format!("MOUNTPOINT {} is covered by too many stale mounts: choose another", self.path.display());
        Err(NfioError::posix(Errno::EBUSY as i32, message))
    }

    fn busy(&self, mount: &Mount) -> NfioError {
        let path = self.path.display();
        let tool = if mount.fstype == FSTYPE { "nfio umount" } else { "umount" };
        let message = format!(
            "MOUNTPOINT {path} is busy, {} ({}) is mounted there: unmount that with {tool} {path}, or choose another",
            mount.fstype,
            mount.source.display()
        );
        NfioError::posix(Errno::EBUSY as i32, message)
    }

    fn check_empty(&self) -> Result<()> {
        let entry = match self.path.read_dir().map(|mut entries| entries.next()) {
            Ok(None) => return Ok(()),
            Ok(Some(Ok(entry))) => entry,
            Ok(Some(Err(e))) | Err(e) => return Err(unusable(&self.path, &e)),
        };
        let message = format!(
            "MOUNTPOINT {} is not empty (it holds {}): the mount would hide that, choose an empty directory",
            self.path.display(),
            entry.file_name().display()
        );
        Err(NfioError::posix(Errno::ENOTEMPTY as i32, message))
    }
}

fn is_stale(errno: Option<i32>) -> bool {
    matches!(errno.map(Errno::from_raw), Some(Errno::ENOTCONN | Errno::ECONNABORTED))
}

/// The absolute path of a mount that does not answer: all but its last name can be asked.
fn outside(given: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(given).map_err(|e| unusable(given, &e))?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Ok(absolute);
    };
    Ok(std::fs::canonicalize(parent).map_err(|e| unusable(given, &e))?.join(name))
}

fn unusable(path: &Path, error: &std::io::Error) -> NfioError {
    let what = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) => "does not exist: make it with mkdir -p".to_string(),
        Some(Errno::ENOTDIR) => "is not a directory: name an empty one".to_string(),
        Some(Errno::EPERM | Errno::EACCES) => "may not be used by you: run it as root".to_string(),
        _ => format!("cannot be used ({error}): choose another"),
    };
    let errno = error.raw_os_error().unwrap_or(Errno::EIO as i32);
    NfioError::posix(errno, format!("MOUNTPOINT {} {what}", path.display()))
}

/// One line of mountinfo: `id parent dev root PATH options [tags] - FSTYPE SOURCE superoptions`.
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ');
    let path = unescape(fields.nth(4)?);
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let fstype = String::from_utf8_lossy(fields.next()?).into_owned();
    Some(Mount { path, fstype, source: unescape(fields.next()?) })
}

/// The kernel writes blanks and the like as `\040`.
fn unescape(text: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|digits| first == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        match octal {
            Some(digits) => {
                plain.push(digits.iter().fold(0u8, |value, digit| value.wrapping_mul(8) + (digit - b'0')));
                rest = &after[3..];
            }
            None => {
                plain.push(first);
                rest = after;
            }
        }
    }
    OsString::from_vec(plain).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_mount_table_is_read_with_its_escapes() {
        let line = br"36 35 0:42 / /mnt/a\040b\134c rw,nosuid shared:7 master:1 - fuse.nfio /srv/my\040root rw,user_id=0";
        assert_eq!(
            parse(line),
            Some(Mount {
                path: r"/mnt/a b\c".into(),
                fstype: "fuse.nfio".into(),
                source: "/srv/my root".into()
            })
        );
        let bare = b"36 35 0:42 / /proc rw - proc proc rw";
        assert_eq!(parse(bare).unwrap().fstype, "proc");
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn what_is_mounted_is_found_and_a_plain_directory_has_nothing() {
        let proc = Mountpoint::locate(Path::new("/proc/")).unwrap();
        assert_eq!(proc.mounted().unwrap().unwrap().fstype, "proc");
        let error = proc.make_free().unwrap_err().to_string();
        assert!(error.contains("/proc is busy, proc (") && error.contains("umount /proc"), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let plain = Mountpoint::locate(dir.path()).unwrap();
        assert_eq!(plain.mounted().unwrap(), None);
        plain.make_free().unwrap();
        std::fs::write(dir.path().join("left"), "").unwrap();
        let error = plain.make_free().unwrap_err().to_string();
        assert!(error.contains("not empty (it holds left)"), "{error}");
    }

    #[test]
    fn a_missing_mountpoint_and_a_file_name_themselves() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mnt");
        let error = Mountpoint::locate(&path).unwrap_err().to_string();
        assert!(error.contains("mnt does not exist: make it with mkdir"), "{error}");
        std::fs::write(&path, "").unwrap();
        let error = Mountpoint::locate(&path).unwrap_err().to_string();
        assert!(error.contains("mnt is not a directory"), "{error}");
    }
}
