//! Unpacks a tar of a root file system. The tar is somebody else's: every path in it is resolved inside the
//! target ([`Inside`]), so links in the tar mean what they will mean in the guest, and nothing is written
//! outside.

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fchmod, futimens, mkdirat};
use nix::sys::statvfs::fstatvfs;
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};
use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tar::{Archive, Entry, EntryType};

use super::inside::Inside;
use crate::hypervisor::container::check::parts;

/// Unpacks `tar` into the directory `target`.
pub(super) fn unpack(tar: impl Read, target: &Path) -> io::Result<()> {
    // The guest's `/`, unless the tar says otherwise; the umask has no say.
    std::fs::set_permissions(target, Permissions::from_mode(0o755))?;
    let inside = Inside::open(target)?;
    for entry in Archive::new(tar).entries()? {
        let mut entry = entry.map_err(no_tar)?;
        let path = entry.path().map_err(no_tar)?.into_owned();
        unpack_entry(&inside, &path, &mut entry)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
    }
    Ok(())
}

/// What the crate tar says of a file that is no tar quotes the file, and whoever named it may not read it.
fn no_tar(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(_) => error,
        None => io::Error::new(error.kind(), "it is no tar archive, or a damaged one"),
    }
}

fn unpack_entry<R: Read>(inside: &Inside, path: &Path, entry: &mut Entry<'_, R>) -> io::Result<()> {
    let names = parts(path)?;
    let kind = entry.header().entry_type();
    if kind.is_dir() {
        return directory(inside, path, names.is_empty(), entry);
    }
    if matches!(kind, EntryType::Block | EntryType::Char | EntryType::Fifo) {
        // A guest's /dev is made by the driver: what a tar brings below it would never be seen.
        return match names.first() {
            Some(&first) if first == OsStr::new("dev") => Ok(()),
            _ => Err(io::Error::other("device nodes and fifos are not allowed in an image")),
        };
    }
    let link = entry.link_name()?.map(std::borrow::Cow::into_owned);
    let (dir, name) = inside.parent(path)?;
    match unlinkat(&dir, name, UnlinkatFlags::NoRemoveDir) {
        Err(e) if e != Errno::ENOENT => return Err(e.into()),
        _ => {}
    }
    match (kind, link) {
        (EntryType::Symlink, Some(to)) => {
            symlinkat(&to, &dir, name)?;
            own(dir.as_fd(), name, entry)
        }
        (EntryType::Link, Some(to)) => {
            let names = parts(&to)?;
            let (&last, before) = names.split_last().ok_or_else(|| io::Error::other("links to nothing"))?;
            let from = inside.at(&before.iter().collect::<PathBuf>(), OFlag::O_PATH | OFlag::O_DIRECTORY)?;
            Ok(linkat(&from, last, &dir, name, AtFlags::empty())?)
        }
        (EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse, _) => {
            // A file with holes is as long as it says: exabytes, if it likes.
            let room = fstatvfs(&dir)?;
            if entry.size() / room.fragment_size().max(1) > room.blocks_available() {
                return Err(io::Error::other(format!("its {} bytes do not fit on the disk", entry.size())));
            }
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            let mut file = File::from(openat(&dir, name, flags, Mode::from_bits_truncate(0o600))?);
            io::copy(entry, &mut file)?;
            own(dir.as_fd(), name, entry)?;
            fchmod(&file, mode(entry)?)?;
            let time = TimeSpec::new(entry.header().mtime()? as i64, 0);
            Ok(futimens(&file, &time, &time)?)
        }
        (kind, _) => Err(io::Error::other(format!("entries of kind {kind:?} are not allowed in an image"))),
    }
}

fn directory<R: Read>(inside: &Inside, path: &Path, root: bool, entry: &Entry<'_, R>) -> io::Result<()> {
    if !root {
        let (dir, name) = inside.parent(path)?;
        match mkdirat(&dir, name, Mode::from_bits_truncate(0o755)) {
            // Already there (made on the way to a file), or a link to a directory: as tar does, it stays.
            Err(e) if e != Errno::EEXIST => return Err(e.into()),
            _ => {}
        }
    }
    let made = inside.at(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    let (uid, gid) = owner(entry)?;
    nix::unistd::fchown(&made, Some(uid), Some(gid))?;
    Ok(fchmod(&made, mode(entry)?)?)
}

fn own<R: Read>(dir: BorrowedFd<'_>, name: &OsStr, entry: &Entry<'_, R>) -> io::Result<()> {
    let (uid, gid) = owner(entry)?;
    Ok(fchownat(dir, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?)
}

fn owner<R: Read>(entry: &Entry<'_, R>) -> io::Result<(Uid, Gid)> {
    let id = |id: u64| u32::try_from(id).map_err(|_| io::Error::other("an owner is out of range"));
    Ok((Uid::from_raw(id(entry.header().uid()?)?), Gid::from_raw(id(entry.header().gid()?)?)))
}

fn mode<R: Read>(entry: &Entry<'_, R>) -> io::Result<Mode> {
    Ok(Mode::from_bits_truncate(entry.header().mode()? & 0o7777))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    enum What<'a> {
        File(&'a [u8]),
        Link(EntryType, &'a str),
        Node(EntryType),
    }

    fn tar(entries: &[(&str, What<'_>)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, what) in entries {
            let mut header = tar::Header::new_gnu();
            // Straight into the header: the crate's own setters refuse what an attacker writes.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_mode(0o755);
            header.set_mtime(7);
            header.set_uid(0);
            header.set_gid(0);
            header.set_size(0);
            let mut data: &[u8] = b"";
            match what {
                What::File(bytes) => {
                    header.set_size(bytes.len() as u64);
                    data = bytes;
                }
                What::Link(kind, to) => {
                    header.set_entry_type(*kind);
                    header.as_mut_bytes()[157..157 + to.len()].copy_from_slice(to.as_bytes());
                }
                What::Node(kind) => header.set_entry_type(*kind),
            }
            header.set_cksum();
            builder.append(&header, data).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn links_mean_what_they_mean_in_the_guest() {
        let outer = tempfile::tempdir().unwrap();
        let target = outer.path().join("t");
        fs::create_dir(&target).unwrap();
        let tar = tar(&[
            ("usr/bin/sh", What::File(b"sh")),
            ("bin", What::Link(EntryType::Symlink, "/usr/bin")),
            ("bin/ls", What::File(b"ls")),
            ("up", What::Link(EntryType::Symlink, "../../..")),
            ("up/escaped", What::File(b"x")),
            ("bin/hard", What::Link(EntryType::Link, "bin/sh")),
            ("dev/sda", What::Node(EntryType::Block)),
        ]);
        unpack(&tar[..], &target).unwrap();
        assert_eq!(fs::read(target.join("usr/bin/ls")).unwrap(), b"ls");
        assert_eq!(fs::read(target.join("usr/bin/hard")).unwrap(), b"sh");
        assert!(target.join("escaped").exists() && !outer.path().join("escaped").exists());
        assert!(!target.join("dev/sda").exists());
    }

    #[test]
    fn what_no_image_holds_is_refused_by_name() {
        for (path, what) in [
            ("a/../../b", What::File(b"x")),
            ("srv/raw", What::Node(EntryType::Block)),
            ("srv/hard", What::Link(EntryType::Link, "../../etc/passwd")),
        ] {
            let target = tempfile::tempdir().unwrap();
            let error = unpack(&tar(&[(path, what)])[..], target.path()).unwrap_err().to_string();
            assert!(error.contains(path), "{error}");
        }
    }
}
