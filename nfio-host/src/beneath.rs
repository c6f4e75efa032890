//! Opening files on nfio's own behalf, where a tenant may have put what it likes: only regular files, beneath a
//! directory that is held open, following no symbolic link, never blocking, no hard link to a file of another owner.
//! A tenant's link to `/etc/shadow` or a fifo is EINVAL with a sentence that names it. Nothing here looks at who asks:
//! that is the caller's business. What no tenant writes, nfio's own files, is in `own.rs`.

mod own;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, fchown};
use std::path::Path;

use crate::error::{NfioError, Result};
pub use own::{clear_half_written, open_own, read_own, write_atomic, write_sound, write_whole};

/// How often an open is tried again that a rename elsewhere made uncertain (the kernel says EAGAIN).
const ATTEMPTS: usize = 8;

/// Reads a regular file beneath `dir`; None where there is none. One of more than `limit` bytes is EFBIG.
pub fn read_file(dir: BorrowedFd<'_>, path: &Path, limit: usize) -> Result<Option<Vec<u8>>> {
    Ok(read_with_stat(dir, path, limit)?.map(|(data, _)| data))
}

/// The same, with the attributes of the very file that was read: its name may be another's by now.
pub fn read_with_stat(dir: BorrowedFd<'_>, path: &Path, limit: usize) -> Result<Option<(Vec<u8>, FileStat)>> {
    let Some(file) = open_regular(dir, path, OFlag::O_RDONLY)? else { return Ok(None) };
    let stat = fstat(&file).map_err(|e| refused(path, e))?;
    Ok(Some((read_limited(file, path, limit)?, stat)))
}

fn read_limited(file: File, path: &Path, limit: usize) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    // One byte more than allowed tells a file that is too long from one that just fits, whatever stat says.
    let taken = file.take(limit as u64 + 1).read_to_end(&mut data).map_err(|e| failed(path, e))?;
    if taken > limit {
        return Err(NfioError::posix(
            Errno::EFBIG as i32,
            format!("{} is longer than the {limit} bytes that nfio takes: shorten it", path.display()),
        ));
    }
    Ok(data)
}

/// Writes a regular file beneath `dir`.
///
/// An existing file is written in place: it stays the file that it was, with its owner, mode, xattr, links and the
/// descriptors that others hold. A new one gets exactly `mode` and belongs to the owner of its directory, so that a
/// tenant keeps the say over what nfio writes for it. Directories on the way must exist.
pub fn write_file(dir: BorrowedFd<'_>, path: &Path, data: &[u8], mode: u32) -> Result<()> {
    let mut file = match open_regular(dir, path, OFlag::O_WRONLY)? {
        Some(file) => file,
        None => create(dir, path, mode)?,
    };
    // First the bytes, then the length: a reader never finds the file empty in between.
    file.write_all(data).and_then(|()| file.set_len(data.len() as u64)).map_err(|e| failed(path, e))
}

/// Opens a directory beneath `dir`; None where there is none.
pub fn open_dir(dir: BorrowedFd<'_>, path: &Path) -> Result<Option<OwnedFd>> {
    match open(dir, path, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::ENOENT) => Ok(None),
        Err(Errno::ENOTDIR) => Err(not_a(path, "directory")),
        Err(e) => Err(refused(path, e)),
    }
}

fn create(dir: BorrowedFd<'_>, path: &Path, mode: u32) -> Result<File> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = open_dir(dir, parent)?.ok_or_else(|| refused(path, Errno::ENOENT))?;
    let owner = fstat(&parent).map_err(|e| refused(path, e))?;
    let name = path.file_name().ok_or_else(|| not_a(path, "file"))?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    let file: File =
        open(parent.as_fd(), Path::new(name), flags, 0o600).map_err(|e| refused(path, e))?.into();
    // The owner first: chown takes setuid and setgid bits away. Then the mode, which the umask must not bend.
    fchown(&file, Some(owner.st_uid), Some(owner.st_gid))
        .and_then(|()| file.set_permissions(std::fs::Permissions::from_mode(mode & 0o7777)))
        .map_err(|e| failed(path, e))?;
    Ok(file)
}

fn open_regular(dir: BorrowedFd<'_>, path: &Path, flags: OFlag) -> Result<Option<File>> {
    let beneath = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    let Some(fd) = open_regular_at(dir, path, flags, beneath)? else { return Ok(None) };
    let stat = fstat(&fd).map_err(|e| refused(path, e))?;
    // Where the kernel does not keep people from linking to what is not theirs (fs.protected_hardlinks), a tenant
    // would have us read it, or write it.
    if stat.st_nlink > 1 && stat.st_uid != fstat(dir).map_err(|e| refused(path, e))?.st_uid {
        let message = format!(
            "{} is a hard link to a file of another owner (user id {}): put a copy in its place",
            path.display(),
            stat.st_uid
        );
        return Err(NfioError::posix(Errno::EINVAL as i32, message));
    }
    Ok(Some(fd.into()))
}

fn open_regular_at(
    dir: impl AsFd,
    path: &Path,
    flags: OFlag,
    resolve: ResolveFlag,
) -> Result<Option<OwnedFd>> {
    let fd = match open_at(dir, path, flags, 0, resolve) {
        Ok(fd) => fd,
        Err(Errno::ENOENT) => return Ok(None),
        // A directory opened for writing, a fifo without reader, a socket.
        Err(Errno::EISDIR | Errno::ENXIO | Errno::ENODEV) => return Err(not_a(path, "regular file")),
        Err(e) => return Err(refused(path, e)),
    };
    let stat = fstat(&fd).map_err(|e| refused(path, e))?;
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(not_a(path, "regular file"));
    }
    Ok(Some(fd))
}

fn open(dir: BorrowedFd<'_>, path: &Path, flags: OFlag, mode: u32) -> nix::Result<OwnedFd> {
    open_at(dir, path, flags, mode, ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS)
}

fn open_at(
    dir: impl AsFd,
    path: &Path,
    flags: OFlag,
    mode: u32,
    resolve: ResolveFlag,
) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .mode(Mode::from_bits_truncate(mode))
        .resolve(resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let mut answer = Err(Errno::EAGAIN);
    for _ in 0..ATTEMPTS {
        answer = openat2(dir.as_fd(), path, how);
        if !matches!(answer, Err(Errno::EAGAIN | Errno::EINTR)) {
            break;
        }
    }
    answer
}

fn not_a(path: &Path, wanted: &str) -> NfioError {
    let message =
        format!("{} is not a {wanted}: nfio opens nothing else, put one in its place", path.display());
    NfioError::posix(Errno::EINVAL as i32, message)
}

fn refused(path: &Path, errno: Errno) -> NfioError {
    let path = path.display();
    match errno {
        Errno::ELOOP => NfioError::posix(
            Errno::EINVAL as i32,
            format!(
                "{path} leads through a symbolic link, which nfio does not follow: put the file itself there"
            ),
        ),
        Errno::EXDEV => NfioError::posix(
            Errno::EINVAL as i32,
            format!("{path} leads out of its directory, where nfio does not follow: name a file within"),
        ),
        Errno::ENOTDIR => NfioError::posix(
            Errno::EINVAL as i32,
            format!("{path} leads through something that is not a directory: make it one"),
        ),
        other => NfioError::posix(other as i32, format!("{path}: {}", other.desc())),
    }
}

fn failed(path: &Path, error: std::io::Error) -> NfioError {
    NfioError::posix(
        error.raw_os_error().unwrap_or(Errno::EIO as i32),
        format!("{}: {error}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::mkfifo;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn room() -> (tempfile::TempDir, File) {
        let dir = tempfile::tempdir().unwrap();
        let fd = File::open(dir.path()).unwrap();
        (dir, fd)
    }

    fn read(dir: &File, path: &str) -> Result<Option<Vec<u8>>> {
        read_file(dir.as_fd(), Path::new(path), 16)
    }

    #[test]
    fn a_missing_file_is_none_and_a_regular_one_its_bytes() {
        let (path, dir) = room();
        std::fs::write(path.path().join("boot.conf"), "x = 1\n").unwrap();
        assert_eq!(read(&dir, "none").unwrap(), None);
        assert_eq!(read(&dir, "none/none").unwrap(), None);
        assert_eq!(read(&dir, "boot.conf").unwrap().unwrap(), b"x = 1\n");
    }

    #[test]
    fn a_file_of_exactly_the_limit_is_read_and_a_longer_one_is_efbig() {
        let (path, dir) = room();
        std::fs::write(path.path().join("fits"), [b'x'; 16]).unwrap();
        std::fs::write(path.path().join("long"), [b'x'; 17]).unwrap();
        assert_eq!(read(&dir, "fits").unwrap().unwrap().len(), 16);
        let error = read(&dir, "long").unwrap_err();
        assert_eq!(error.errno(), Errno::EFBIG as i32);
        assert!(error.to_string().contains("long is longer than the 16 bytes"), "{error}");
    }

    #[test]
    fn links_fifos_directories_sockets_and_devices_are_einval_naming_the_path_and_do_not_block() {
        let (path, dir) = room();
        let at = |name: &str| path.path().join(name);
        std::fs::write(at("file"), "").unwrap();
        symlink("/etc/shadow", at("link")).unwrap();
        symlink("file", at("inner-link")).unwrap();
        symlink("/etc", at("linked-dir")).unwrap();
        mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
        std::fs::create_dir(at("dir")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let odd = [
            "link",
            "inner-link",
            "linked-dir/shadow",
            "fifo",
            "dir",
            "socket",
            "file/below",
            "../x",
            "/etc/shadow",
        ];
        for name in odd {
            for error in [
                read(&dir, name).unwrap_err(),
                write_file(dir.as_fd(), Path::new(name), b"x", 0o600).unwrap_err(),
            ] {
                assert_eq!(error.errno(), Errno::EINVAL as i32, "{name}: {error}");
                assert!(error.to_string().starts_with(name), "{error}");
            }
        }
        let dev = File::open("/dev").unwrap();
        assert_eq!(read(&dev, "null").unwrap_err().errno(), Errno::EINVAL as i32);
    }

    #[test]
    fn a_hard_link_to_a_file_of_another_owner_is_einval_and_one_to_an_own_is_a_file() {
        let (path, dir) = room();
        let at = |name: &str| path.path().join(name);
        std::fs::write(at("file"), "x").unwrap();
        std::fs::hard_link(at("file"), at("name")).unwrap();
        assert_eq!(read(&dir, "name").unwrap().unwrap(), b"x");
        // Giving away needs root.
        if std::os::unix::fs::chown(at("file"), Some(1234), None).is_err() {
            return;
        }
        for error in [
            read(&dir, "name").unwrap_err(),
            write_file(dir.as_fd(), Path::new("name"), b"y", 0o600).unwrap_err(),
        ] {
            assert_eq!(error.errno(), Errno::EINVAL as i32);
            assert!(error.to_string().starts_with("name is a hard link"), "{error}");
        }
        std::fs::remove_file(at("file")).unwrap();
        assert_eq!(read(&dir, "name").unwrap().unwrap(), b"x", "one name alone is no link");
    }

    #[test]
    fn a_file_keeps_its_owner_mode_and_identity_and_a_new_one_is_its_directorys_owners() {
        let (path, dir) = room();
        let at = |name: &str| path.path().join(name);
        std::fs::write(at("old"), "a long old text").unwrap();
        std::fs::set_permissions(at("old"), std::fs::Permissions::from_mode(0o604)).unwrap();
        let before = std::fs::metadata(at("old")).unwrap();
        write_file(dir.as_fd(), Path::new("old"), b"new", 0o777).unwrap();
        let after = std::fs::metadata(at("old")).unwrap();
        assert_eq!((after.ino(), after.mode(), after.uid()), (before.ino(), before.mode(), before.uid()));
        assert_eq!(std::fs::read(at("old")).unwrap(), b"new");

        std::fs::create_dir(at("config")).unwrap();
        // Giving away needs root; without it the directory is ours and so is the file.
        let _ = std::os::unix::fs::chown(at("config"), Some(1234), Some(1235));
        let owner = std::fs::metadata(at("config")).unwrap();
        write_file(dir.as_fd(), Path::new("config/new"), b"x", 0o666).unwrap();
        let new = std::fs::metadata(at("config/new")).unwrap();
        assert_eq!((new.uid(), new.gid(), new.mode() & 0o7777), (owner.uid(), owner.gid(), 0o666));
        let error = write_file(dir.as_fd(), Path::new("none/new"), b"x", 0o600).unwrap_err();
        assert_eq!(error.errno(), Errno::ENOENT as i32);
    }

    #[test]
    fn a_directory_is_opened_and_nothing_else() {
        let (path, dir) = room();
        std::fs::create_dir(path.path().join("dir")).unwrap();
        std::fs::write(path.path().join("file"), "").unwrap();
        symlink("dir", path.path().join("link")).unwrap();
        assert!(open_dir(dir.as_fd(), Path::new("dir")).unwrap().is_some());
        assert!(open_dir(dir.as_fd(), Path::new("none")).unwrap().is_none());
        for name in ["file", "link"] {
            assert_eq!(open_dir(dir.as_fd(), Path::new(name)).unwrap_err().errno(), Errno::EINVAL as i32);
        }
    }
}
