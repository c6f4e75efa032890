//! Our own binary, as helpers are started from it. A process that joins a guest can be made to run
//! `/proc/self/exe` there (a `#!` line is enough), and so a guest comes to hold this very file
//! (CVE-2019-5736). It gets it by a read-only mount that is attached nowhere, so that nobody in the guest can
//! write through it, nor change the mount.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The binary that has the hidden subcommand `oci`.
#[derive(Debug)]
pub(in crate::hypervisor) struct Binary {
    path: PathBuf,
    /// Opened with the first helper: a mount without guests needs no mount of its own.
    mounted: OnceLock<OwnedFd>,
}

impl Binary {
    pub(in crate::hypervisor) fn new(path: PathBuf) -> Self {
        Self { path, mounted: OnceLock::new() }
    }

    /// The path to start helpers from. It holds for this process alone.
    pub(super) fn path(&self) -> io::Result<PathBuf> {
        let fd = match self.mounted.get() {
            Some(fd) => fd,
            None => {
                let fresh = read_only(&self.path).map_err(|e| {
                    let path = self.path.display();
                    io::Error::new(e.kind(), format!("{path} cannot be mounted read-only (Linux 5.12): {e}"))
                })?;
                self.mounted.get_or_init(|| fresh)
            }
        };
        Ok(format!("/proc/self/fd/{}", fd.as_raw_fd()).into())
    }
}

fn read_only(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: open_tree reads the path, which lives beyond the call, and answers a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us alone.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    // SAFETY: the structure is four integers, for which zero means "leave as it is".
    let mut attributes: libc::mount_attr = unsafe { std::mem::zeroed() };
    attributes.attr_set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    // SAFETY: mount_setattr reads an empty path and the structure of the size given.
    let set = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if set == 0 { Ok(fd) } else { Err(io::Error::last_os_error()) }
}
