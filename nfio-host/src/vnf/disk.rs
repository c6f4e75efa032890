//! Directories below ROOT: opened beneath it, listed, removed.

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, fstatat};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::beneath;
use crate::error::{NfioError, Result};

/// An errno of a system call as our error.
pub(crate) fn io(errno: Errno) -> NfioError {
    std::io::Error::from(errno).into()
}

/// Opens a directory that must exist.
pub(crate) fn open_dir(parent: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    beneath::open_dir(parent, path)?
        .ok_or_else(|| NfioError::posix(libc::ENOENT, format!("{} is not there any more", path.display())))
}

/// Removes one of nfio's own files for good; one that is missing is fine.
pub(crate) fn remove_synced(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e.into()),
    }
    let parent = path.parent().unwrap_or(Path::new("."));
    Ok(fs::File::open(parent)?.sync_all()?)
}

/// Removes a directory that is nobody's but nfio's, with all that is below; one that is missing is fine.
pub(crate) fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}

/// Names in a directory, whatever their bytes, each with whether it is a directory itself.
pub(crate) fn names(parent: BorrowedFd<'_>, path: &Path) -> Result<Vec<(OsString, bool)>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut names = Vec::new();
    for entry in Dir::openat(parent, path, flags, Mode::empty()).map_err(io)?.iter() {
        let entry = entry.map_err(io)?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let is_directory = match entry.file_type() {
            Some(kind) => kind == Type::Directory,
            // A file system that does not tell.
            None => {
                let stat = fstatat(parent, &path.join(name), AtFlags::AT_SYMLINK_NOFOLLOW).map_err(io)?;
                stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits()
            }
        };
        names.push((name.to_owned(), is_directory));
    }
    Ok(names)
}
