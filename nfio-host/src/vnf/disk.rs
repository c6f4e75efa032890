//! Directories below ROOT: opened beneath it, listed, removed.

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use crate::beneath;
use crate::error::{NfioError, Result};

/// An errno of a system call as our error.
pub(super) fn io(errno: Errno) -> NfioError {
    std::io::Error::from(errno).into()
}

/// Opens a directory that must exist.
pub(super) fn open_dir(parent: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    beneath::open_dir(parent, path)?
        .ok_or_else(|| NfioError::posix(libc::ENOENT, format!("{} is not there any more", path.display())))
}

/// Removes one of nfio's own files for good; one that is missing is fine.
pub(super) fn remove_synced(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e.into()),
    }
    let parent = path.parent().unwrap_or(Path::new("."));
    Ok(fs::File::open(parent)?.sync_all()?)
}

/// Removes one of nfio's own directories; one that is missing is fine.
pub(super) fn remove_private(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}

/// Names in a directory; those that are no UTF-8 are shown with replacement characters, since callers only judge
/// whether a name is known.
pub(super) fn names(parent: BorrowedFd<'_>, path: &str) -> Result<Vec<String>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut names = Vec::new();
    for entry in Dir::openat(parent, path, flags, Mode::empty()).map_err(io)?.iter() {
        let entry = entry.map_err(io)?;
        if let Ok(name) = entry.file_name().to_str()
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Removes whatever `name` is, with all that is below.
pub(super) fn remove_tree(parent: BorrowedFd<'_>, name: &str) -> Result<()> {
    match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => return Ok(()),
        Err(e) => return Err(io(e)),
        Ok(stat) if stat.st_mode & libc::S_IFMT != libc::S_IFDIR => {
            return unlinkat(parent, name, UnlinkatFlags::NoRemoveDir).map_err(io);
        }
        Ok(_) => {}
    }
    for below in names(parent, name)? {
        remove_tree(parent, &format!("{name}/{below}"))?;
    }
    unlinkat(parent, name, UnlinkatFlags::RemoveDir).map_err(io)
}
