//! Ordinary files: system calls on ROOT, done for the caller. Every path is resolved beneath the kept descriptor of
//! ROOT without following a symbolic link, so nothing that a user puts into the tree leads out of it.

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmodat, fstat, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat, ftruncate, linkat, symlinkat};
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::Answer;
use super::attributes::is;
use super::operations::Caller;

/// What setattr changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Change {
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    /// A time, or `TimeSpec::UTIME_NOW`.
    pub(crate) atime: Option<TimeSpec>,
    pub(crate) mtime: Option<TimeSpec>,
}

/// The backing directory.
pub(crate) struct Backing {
    root: OwnedFd,
}

impl Backing {
    /// Takes the descriptor of ROOT.
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self { root }
    }

    /// The descriptor of ROOT.
    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Opens a path below ROOT (empty: ROOT itself).
    pub(crate) fn open(&self, path: &Path, flags: OFlag) -> Answer<OwnedFd> {
        if path.as_os_str().len() < libc::PATH_MAX as usize {
            return open_beneath(&self.root, path, flags);
        }
        // Who goes down step by step gets deeper than a path can name: so do we.
        let step = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let mut above = self.directory(Path::new(""))?;
        let mut names = path.iter().peekable();
        while let Some(name) = names.next() {
            let last = names.peek().is_none();
            above = open_beneath(&above, Path::new(name), if last { flags } else { step })?;
        }
        Ok(above)
    }

    /// A descriptor that stands for whatever the path names, a symbolic link too; good for everything but data.
    pub(crate) fn locate(&self, path: &Path) -> Answer<OwnedFd> {
        self.open(path, OFlag::O_PATH)
    }

    /// A directory to work in by names.
    pub(crate) fn directory(&self, path: &Path) -> Answer<OwnedFd> {
        self.open(path, OFlag::O_PATH | OFlag::O_DIRECTORY)
    }
}

fn open_beneath(dir: &OwnedFd, path: &Path, flags: OFlag) -> Answer<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(dir, if path.as_os_str().is_empty() { Path::new(".") } else { path }, how)
}

/// The path by which a descriptor's file can be reached whatever its name is now. Following it ends at the file
/// itself, also where that is a symbolic link.
pub(crate) fn by_descriptor(fd: impl AsFd) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()).into()
}

/// Opens a descriptor's file once more.
pub(crate) fn reopen(fd: impl AsFd, flags: OFlag) -> Answer<OwnedFd> {
    nix::fcntl::open(&by_descriptor(fd), flags | OFlag::O_CLOEXEC, Mode::empty())
}

/// The flags of an open that its backing file gets. O_APPEND and O_DIRECT stay with the kernel's side: it says at
/// which offset to write, and pages that it writes back must go where they belong.
pub(crate) fn backing_flags(flags: i32) -> OFlag {
    let mode = match flags & libc::O_ACCMODE {
        libc::O_RDONLY => OFlag::O_RDONLY,
        libc::O_WRONLY => OFlag::O_WRONLY,
        _ => OFlag::O_RDWR,
    };
    // A fifo that got there by other ways than ours must not stop this thread.
    let kept = OFlag::O_TRUNC | OFlag::O_SYNC | OFlag::O_DSYNC;
    mode | OFlag::O_NONBLOCK | (OFlag::from_bits_retain(flags) & kept)
}

/// Whether an open asks for writing.
pub(crate) fn writes(flags: i32) -> bool {
    flags & libc::O_ACCMODE != libc::O_RDONLY
}

/// Makes a regular file and opens it.
pub(crate) fn create(
    parent: &OwnedFd,
    name: &OsStr,
    flags: i32,
    mode: u32,
    caller: Caller,
) -> Answer<(OwnedFd, FileStat)> {
    let flags = backing_flags(flags) | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).mode(permissions(mode)).resolve(ResolveFlag::RESOLVE_BENEATH);
    let fd = openat2(parent, name, how)?;
    let stat = give(parent, &fd, mode, caller)?;
    Ok((fd, stat))
}

/// Makes a directory.
pub(crate) fn mkdir(parent: &OwnedFd, name: &OsStr, mode: u32, caller: Caller) -> Answer<FileStat> {
    mkdirat(parent, name, permissions(mode))?;
    made(parent, name, mode, caller)
}

/// Makes a regular file, fifo, socket or device.
pub(crate) fn mknod(
    parent: &OwnedFd,
    name: &OsStr,
    mode: u32,
    rdev: u64,
    caller: Caller,
) -> Answer<FileStat> {
    let kind = SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits());
    mknodat(parent, name, kind, permissions(mode), rdev)?;
    made(parent, name, mode, caller)
}

/// Makes a symbolic link.
pub(crate) fn symlink(parent: &OwnedFd, name: &OsStr, target: &Path, caller: Caller) -> Answer<FileStat> {
    symlinkat(target, parent, name)?;
    made(parent, name, 0o777, caller)
}

/// Gives a file one more name.
pub(crate) fn link(source: impl AsFd, parent: &OwnedFd, name: &OsStr) -> Answer<()> {
    linkat(AT_FDCWD, &by_descriptor(source), parent, name, AtFlags::AT_SYMLINK_FOLLOW)
}

/// What a name in a directory is.
pub(crate) fn stat_in(parent: impl AsFd, name: &OsStr) -> Answer<FileStat> {
    nix::sys::stat::fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

fn permissions(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode & 0o7777)
}

fn made(parent: &OwnedFd, name: &OsStr, mode: u32, caller: Caller) -> Answer<FileStat> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH);
    let fd = openat2(parent, name, how)?;
    give(parent, &fd, mode, caller)
}

/// Gives what was just made to the caller: group of a setgid directory, else the caller's; a directory inherits the
/// bit. Mode last, since a change of owner clears suid and sgid (and our own umask may have taken bits away).
fn give(parent: &OwnedFd, fd: &OwnedFd, mode: u32, caller: Caller) -> Answer<FileStat> {
    let above = fstat(parent)?;
    let inherits = above.st_mode & libc::S_ISGID != 0;
    let group = (!inherits).then(|| Gid::from_raw(caller.gid));
    fchownat(fd, "", Some(Uid::from_raw(caller.uid)), group, AtFlags::AT_EMPTY_PATH)?;
    let stat = fstat(fd)?;
    let sticky = if inherits && is(&stat, SFlag::S_IFDIR) { libc::S_ISGID } else { 0 };
    let wanted = mode & 0o7777 | sticky;
    if is(&stat, SFlag::S_IFLNK) || stat.st_mode & 0o7777 == wanted {
        return Ok(stat);
    }
    chmod(fd, wanted)?;
    fstat(fd)
}

/// chmod(2) of whatever the descriptor stands for.
fn chmod(fd: &impl AsFd, mode: u32) -> Answer<()> {
    fchmodat(AT_FDCWD, &by_descriptor(fd), permissions(mode), FchmodatFlags::FollowSymlink)
}

/// Owner, mode and times; the size is [`truncate`]'s.
pub(crate) fn change(fd: &impl AsFd, change: &Change) -> Answer<()> {
    if change.uid.is_some() || change.gid.is_some() {
        // chown(2) itself clears suid, sgid and security.capability.
        let (uid, gid) = (change.uid.map(Uid::from_raw), change.gid.map(Gid::from_raw));
        fchownat(fd, "", uid, gid, AtFlags::AT_EMPTY_PATH)?;
    }
    if let Some(mode) = change.mode {
        chmod(fd, mode)?;
    }
    if change.atime.is_some() || change.mtime.is_some() {
        let atime = change.atime.unwrap_or(TimeSpec::UTIME_OMIT);
        let mtime = change.mtime.unwrap_or(TimeSpec::UTIME_OMIT);
        utimensat(AT_FDCWD, &by_descriptor(fd), &atime, &mtime, UtimensatFlags::FollowSymlink)?;
    }
    Ok(())
}

/// Sets the length of a file open for writing.
pub(crate) fn truncate(fd: impl AsFd, size: u64, caller: Caller) -> Answer<()> {
    ftruncate(&fd, i64::try_from(size).map_err(|_| Errno::EFBIG)?)?;
    if caller.uid == 0 { Ok(()) } else { strip_privileges(fd) }
}

/// Clears suid, and sgid where the group may execute, after a change of content by somebody without CAP_FSETID (the
/// kernel leaves that to us; security.capability goes with the system call itself).
pub(crate) fn strip_privileges(fd: impl AsFd) -> Answer<()> {
    let mode = fstat(&fd)?.st_mode;
    let group = if mode & libc::S_IXGRP != 0 { libc::S_ISGID } else { 0 };
    let kept = mode & !(libc::S_ISUID | group);
    if kept == mode { Ok(()) } else { chmod(&fd, kept) }
}
