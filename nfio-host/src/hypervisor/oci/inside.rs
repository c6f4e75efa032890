//! Files below a directory that somebody else fills: a guest's root, an image being unpacked. Paths are
//! resolved by the kernel as if that directory were `/` (openat2), so no symbolic link leads out of it.

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2, renameat};
use nix::sys::stat::{Mode, fchmod, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{HypervisorError, Result};
use crate::hypervisor::container::check::parts;
use crate::hypervisor::container::process::Held;
use crate::hypervisor::{Guest, PutFile};

/// A directory that is `/` for every path given to it.
#[derive(Debug)]
pub(in crate::hypervisor) struct Inside(OwnedFd);

impl Inside {
    pub(in crate::hypervisor) fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(open(root, flags, Mode::empty())?))
    }

    /// Opens what `path` names inside.
    pub(super) fn at(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let path = if path.as_os_str().is_empty() { Path::new("/") } else { path };
        patiently(|| openat2(&self.0, path, how))
    }

    /// Opens a directory inside; it and those on the way are made (0755) where they are missing.
    pub(super) fn make_dirs(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        match self.at(path, flags) {
            Err(Errno::ENOENT) => {}
            other => return Ok(other?),
        }
        let mut so_far = PathBuf::from("/");
        let mut dir = self.at(&so_far, flags)?;
        for part in parts(path)? {
            so_far.push(part);
            dir = match self.at(&so_far, flags) {
                Err(Errno::ENOENT) => match mkdirat(&dir, part, Mode::from_bits_truncate(0o755)) {
                    Err(e) if e != Errno::EEXIST => return Err(e.into()),
                    _ => self.at(&so_far, flags)?,
                },
                other => other?,
            };
        }
        Ok(dir)
    }

    /// Opens the directory that holds `path`, making it where it is missing, and answers the last name.
    pub(super) fn parent<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let mut parts = parts(path)?;
        let name = parts.pop().ok_or_else(|| io::Error::from(Errno::EISDIR))?;
        Ok((self.make_dirs(&parts.iter().collect::<PathBuf>())?, name))
    }

    /// Writes a whole file, or leaves everything as it was.
    pub(in crate::hypervisor) fn write(&self, path: &Path, mode: u32, data: &[u8]) -> io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (dir, name) = self.parent(path)?;
        if is_dir(dir.as_fd(), name) {
            return Err(Errno::EISDIR.into());
        }
        let aside = format!(".nfio-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(&dir, aside.as_str(), flags, Mode::from_bits_truncate(0o600))?);
        let written = file
            .write_all(data)
            .and_then(|()| Ok(fchmod(&file, Mode::from_bits_truncate(mode & 0o777))?))
            .and_then(|()| Ok(renameat(&dir, aside.as_str(), &dir, name)?));
        if written.is_err() {
            // What matters is the first failure; the name is ours and nobody waits for it.
            let _ = unlinkat(&dir, aside.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    /// Reads a regular file up to `limit` bytes; None where there is none.
    pub(super) fn read(&self, path: &Path, limit: u64) -> io::Result<Option<String>> {
        // O_NONBLOCK: a fifo in an image must not hold us up.
        let fd = match self.at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            other => other?,
        };
        let file = File::from(fd);
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let mut text = String::new();
        file.take(limit).read_to_string(&mut text)?;
        Ok(Some(text))
    }

    pub(in crate::hypervisor) fn exists(&self, path: &Path) -> bool {
        self.at(path, OFlag::O_PATH).is_ok()
    }
}

/// Writes a file into a container of this machine, whose first process is `init`.
///
/// # Errors
/// [`HypervisorError::CommandExecution`] where it cannot be written, or the guest has ended.
pub(in crate::hypervisor) fn put(guest: &Guest, init: &Held, file: &PutFile) -> Result<()> {
    let put = || {
        let root = Inside::open(Path::new(&format!("/proc/{}/root", init.pid())))?;
        // Asked after opening: as long as it lives, its pid is nobody else's.
        if !init.alive() {
            return Err(io::Error::other("it has just ended"));
        }
        root.write(Path::new(&file.path), file.mode, &file.data)
    };
    put().map_err(|e| {
        let text = format!("{}: {} cannot be written: {e}", guest.name, file.path);
        HypervisorError::CommandExecution(text).into()
    })
}

fn is_dir(dir: BorrowedFd<'_>, name: &OsStr) -> bool {
    fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

/// Opens what `name` names below `dir`, refusing names and links that lead out of it.
pub(in crate::hypervisor) fn beneath(dir: &Path, name: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let dir = nix::fcntl::openat(AT_FDCWD, dir, flags, Mode::empty())?;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    patiently(|| openat2(&dir, name, how))
}

/// The kernel asks to be asked again when a rename went by while it went up by a `..`. Not for ever: a guest
/// can rename all day.
fn patiently(open: impl Fn() -> nix::Result<OwnedFd>) -> nix::Result<OwnedFd> {
    let mut tries = (0..1000).map(|_| open());
    tries.find(|tried| !matches!(tried, Err(Errno::EAGAIN))).unwrap_or(Err(Errno::EAGAIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn no_link_leads_out_and_files_come_whole() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        fs::create_dir(&root).unwrap();
        symlink("../../../..", root.join("up")).unwrap();
        symlink("/abs", root.join("etc")).unwrap();
        let inside = Inside::open(&root).unwrap();
        inside.write(Path::new("/up/escaped"), 0o644, b"x").unwrap();
        assert!(root.join("escaped").exists() && !outer.path().join("escaped").exists());
        // A dangling link on the way is no directory, and none is made through it.
        assert!(inside.write(Path::new("/etc/conf"), 0o644, b"x").is_err());
        inside.write(Path::new("/a/b/c"), 0o640, b"1").unwrap();
        inside.write(Path::new("a/b/c"), 0o600, b"22").unwrap();
        assert_eq!(inside.read(Path::new("/a/b/c"), 100).unwrap().as_deref(), Some("22"));
        assert_eq!(fs::metadata(root.join("a/b/c")).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(inside.write(Path::new("/a/../x"), 0o600, b"").is_err());
        assert!(inside.write(Path::new("/a/b"), 0o600, b"").is_err());
        assert_eq!(fs::read_dir(root.join("a")).unwrap().count(), 1);
    }

    #[test]
    fn a_name_stays_beneath_also_through_links() {
        let outer = tempfile::tempdir().unwrap();
        let images = outer.path().join("images");
        fs::create_dir_all(images.join("fw")).unwrap();
        symlink("fw", images.join("latest")).unwrap();
        symlink("/etc", images.join("out")).unwrap();
        assert!(beneath(&images, Path::new("latest")).is_ok());
        for name in ["out", "..", "fw/../..", "/etc"] {
            assert!(beneath(&images, Path::new(name)).is_err(), "{name}");
        }
    }
}
