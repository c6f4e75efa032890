//! Operations on files.

use nfio_tests::Mounted;
use nix::errno::Errno;
use nix::fcntl::{
    AT_FDCWD, FallocateFlags, FcntlArg, Flock, FlockArg, OFlag, RenameFlags, copy_file_range, fallocate,
    fcntl, renameat2,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::sendfile::sendfile;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Whence, lseek};
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Operations;
use super::outcome::{of, told};

/// A file, and a user's own one beside it.
pub(super) struct Node {
    path: PathBuf,
    other: PathBuf,
}

/// What an ordinary file holds: at least what one page and a script need.
const TEXT: &str = "#!/bin/sh\nexit 0\n";

/// Each in an instance of its own, which has no guest.
pub(super) fn make(mounted: &Mounted, node: &str) -> Node {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let (ty, path) = match node {
        "ordinary" => ("firewall", "config/nf_conf"),
        "status" | "action" | "command" | "log" | "last_error" => ("firewall", node),
        "a counter" => ("firewall", "stats/rx_bytes"),
        "own value" => ("nat", "stats/translations"),
        "own verb" => ("nginx", "command"),
        "own log" => ("nginx", "access_log"),
        "of a module" => ("firewall", ""),
        other => panic!("no file is known as {other}"),
    };
    let instance = mounted.path().join(format!("nf-types/{ty}/i-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
    fs::create_dir(&instance).expect("mkdir of an instance");
    let other = instance.join("own");
    fs::write(&other, TEXT).expect("a file of one's own");
    if node == "ordinary" {
        fs::write(instance.join(path), TEXT).expect("an ordinary file");
    }
    let path =
        if path.is_empty() { mounted.path().join("modules/firewall/state") } else { instance.join(path) };
    Node { path, other }
}

fn reader(n: &Node) -> io::Result<File> {
    File::open(&n.path)
}

fn writer(n: &Node) -> io::Result<File> {
    OpenOptions::new().write(true).open(&n.path)
}

/// Opened in a way that a read-only file still allows.
fn flagged(n: &Node, flags: OFlag) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(&n.path)
}

/// What stat tells of its length: whether it is that of what is read.
fn size(n: &Node) -> io::Result<String> {
    let size = fs::metadata(&n.path)?.len();
    Ok(match fs::read(&n.path) {
        Ok(text) if text.len() as u64 == size => "true".into(),
        _ => size.to_string(),
    })
}

/// One write of a line that means nothing to a verb.
fn write(mut file: File) -> io::Result<()> {
    let count = file.write(b"# nothing\n")?;
    if count == 10 { Ok(()) } else { Err(io::Error::other(format!("{count} bytes"))) }
}

/// Maps the first page.
fn map(n: &Node, flags: i32) -> io::Result<()> {
    let file = reader(n)?;
    // SAFETY: a new mapping at a place that the kernel chooses touches no memory of ours.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), 1, libc::PROT_READ, flags, file.as_raw_fd(), 0) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping that was just made; nothing of it is kept.
    Ok(Errno::result(unsafe { libc::munmap(at, 1) }).map(drop)?)
}

/// Sets access and modification time.
pub(super) fn touch(path: &Path) -> io::Result<()> {
    let time = TimeSpec::new(1_000_000_000, 0);
    Ok(utimensat(AT_FDCWD, path, &time, &time, UtimensatFlags::NoFollowSymlink)?)
}

fn text(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("no NUL")
}

/// setxattr(2) of a value that is an access control list, or any other text.
pub(super) fn set_attribute(path: &Path, name: &str) -> io::Result<()> {
    let name = CString::new(name).expect("no NUL");
    // Version 2, one entry each for owner, group and others.
    let value: Vec<u8> = [2_u32.to_le_bytes().to_vec()]
        .into_iter()
        .chain([(1_u16, 6_u16), (4, 4), (32, 4)].map(|(tag, bits)| {
            let entry = [tag.to_le_bytes(), bits.to_le_bytes()].concat();
            [entry, u32::MAX.to_le_bytes().to_vec()].concat()
        }))
        .flatten()
        .collect();
    // SAFETY: both names end in NUL and live through the call; the value is readable for its whole length.
    let answer =
        unsafe { libc::setxattr(text(path).as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Ok(Errno::result(answer).map(drop)?)
}

/// getxattr(2) of an attribute that nobody has set.
pub(super) fn get_attribute(path: &Path) -> io::Result<()> {
    // SAFETY: both names end in NUL and live through the call; a length of 0 lets the kernel touch nothing.
    let answer =
        unsafe { libc::getxattr(text(path).as_ptr(), c"user.never".as_ptr(), std::ptr::null_mut(), 0) };
    Ok(Errno::result(answer).map(drop)?)
}

/// What poll(2) says at once.
fn polled(n: &Node) -> io::Result<String> {
    let file = reader(n)?;
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN | PollFlags::POLLPRI)];
    poll(&mut fds, PollTimeout::ZERO)?;
    let flags = fds[0].revents().unwrap_or(PollFlags::empty());
    Ok(flags.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join("+"))
}

fn posix_lock(n: &Node) -> io::Result<()> {
    let lock = libc::flock { l_type: libc::F_RDLCK as i16, l_whence: 0, l_start: 0, l_len: 1, l_pid: 0 };
    fcntl(&reader(n)?, FcntlArg::F_SETLK(&lock))?;
    Ok(())
}

fn copied(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (File::open(from)?, OpenOptions::new().write(true).open(to)?);
    copy_file_range(&from, None, &to, None, 16)?;
    Ok(())
}

/// What busybox's cat does: into an ordinary file.
fn sent(n: &Node) -> io::Result<usize> {
    let (from, to) = (reader(n)?, OpenOptions::new().write(true).open(&n.other)?);
    Ok(sendfile(&to, &from, None, 4096)?)
}

fn beside(n: &Node, name: &str) -> PathBuf {
    n.other.with_file_name(name)
}

pub(super) const OPERATIONS: Operations<Node> = &[
    ("stat", |n| of(fs::metadata(&n.path))),
    ("size", |n| told(size(n))),
    ("read", |n| of(fs::read(&n.path))),
    ("read at an offset", |n| of(reader(n).and_then(|file| file.read_at(&mut [0; 4], 2)))),
    ("readlink", |n| of(fs::read_link(&n.path))),
    ("open to write", |n| of(writer(n))),
    ("write", |n| of(writer(n).and_then(write))),
    ("write at an offset", |n| of(writer(n).and_then(|file| file.write_at(b"# nothing\n", 4096)))),
    ("append", |n| of(OpenOptions::new().append(true).open(&n.path).and_then(write))),
    ("open with O_TRUNC", |n| of(OpenOptions::new().write(true).truncate(true).open(&n.path))),
    ("truncate", |n| of(nix::unistd::truncate(&n.path, 5).map_err(io::Error::from))),
    ("create with O_EXCL", |n| of(File::create_new(&n.path))),
    ("O_DIRECT", |n| {
        let read = flagged(n, OFlag::O_DIRECT).and_then(|mut file| {
            // Aligned as block devices want it.
            let mut room = vec![0_u8; 8192];
            let from = room.as_ptr().align_offset(4096);
            file.read(&mut room[from..from + 4096])
        });
        of(read)
    }),
    ("O_DIRECTORY", |n| of(flagged(n, OFlag::O_DIRECTORY))),
    ("mmap, private", |n| of(map(n, libc::MAP_PRIVATE))),
    ("mmap, shared", |n| of(map(n, libc::MAP_SHARED))),
    ("execute", |n| {
        // Of what cannot be changed, the mode stays.
        let _ = fs::set_permissions(&n.path, fs::Permissions::from_mode(0o755));
        of(Command::new(&n.path).status())
    }),
    ("lseek to the end", |n| told(reader(n).and_then(|f| Ok(lseek(&f, 0, Whence::SeekEnd)?)))),
    ("lseek, SEEK_DATA", |n| of(reader(n).and_then(|f| Ok(lseek(&f, 0, Whence::SeekData)?)))),
    ("fallocate", |n| of(writer(n).and_then(|file| Ok(fallocate(&file, FallocateFlags::empty(), 0, 4096)?)))),
    ("copy_file_range from it", |n| of(copied(&n.path, &n.other))),
    ("copy_file_range to it", |n| of(copied(&n.other, &n.path))),
    ("sendfile from it", |n| of(sent(n))),
    ("ioctl", |n| {
        of(reader(n).and_then(|file| {
            // SAFETY: the call knows no argument on files.
            Ok(Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), libc::TIOCSCTTY, 0) })?)
        }))
    }),
    ("poll", |n| told(polled(n))),
    ("flock", |n| {
        let locked = reader(n).and_then(|file| {
            Flock::lock(file, FlockArg::LockSharedNonblock).map_err(|(_, e)| io::Error::from(e))
        });
        of(locked)
    }),
    ("fcntl lock", |n| of(posix_lock(n))),
    ("fsync", |n| of(reader(n).and_then(|file| file.sync_all()))),
    ("chmod", |n| of(fs::set_permissions(&n.path, fs::Permissions::from_mode(0o640)))),
    ("chown", |n| of(chown(&n.path, Some(1), Some(1)))),
    ("chmod and chown are kept", |n| {
        let changed = chown(&n.path, Some(1), Some(1))
            .and_then(|()| fs::set_permissions(&n.path, fs::Permissions::from_mode(0o604)))
            .and_then(|()| fs::metadata(&n.path));
        told(changed.map(|now| if (now.uid(), now.mode() & 0o777) == (1, 0o604) { "ok" } else { "lost" }))
    }),
    ("utimens", |n| of(touch(&n.path))),
    ("setxattr", |n| of(set_attribute(&n.path, "user.nfio"))),
    ("getxattr", |n| of(get_attribute(&n.path))),
    ("set an ACL", |n| of(set_attribute(&n.path, "system.posix_acl_access"))),
    ("link", |n| of(fs::hard_link(&n.path, beside(n, "linked")))),
    ("rename", |n| of(fs::rename(&n.path, beside(n, "renamed")))),
    ("rename a file onto it", |n| of(fs::rename(&n.other, &n.path))),
    ("rename over another", |n| of(fs::rename(&n.path, &n.other))),
    ("exchange with another", |n| {
        of(renameat2(AT_FDCWD, &n.path, AT_FDCWD, &n.other, RenameFlags::RENAME_EXCHANGE)
            .map_err(io::Error::from))
    }),
    ("mkdir below it", |n| of(fs::create_dir(n.path.join("x")))),
    ("rmdir", |n| of(fs::remove_dir(&n.path))),
    ("unlink", |n| of(fs::remove_file(&n.path))),
    ("unlink, then create to write", |n| {
        let again = fs::remove_file(&n.path).and_then(|()| File::create_new(&n.path));
        told(
            again
                .and_then(|_| Ok(if size(n)? == "0" || size(n)? == "true" { "ordinary" } else { "special" })),
        )
    }),
];
