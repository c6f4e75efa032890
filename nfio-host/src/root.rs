//! ROOT: the backing directory with all persistent state. [`Root`] is the proof that it is there, writable, of a
//! format that this nfio knows, and ours alone for as long as the value lives.

use nix::errno::Errno;
use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

mod identity;

pub use identity::{FORMAT, Relocation};

use crate::beneath;
use crate::error::{NfioError, Result};
use crate::tree::{CHNS, NF_TYPES, PRIVATE};

/// What a mount holds locked, in the private directory; it holds the pid of the holder.
const LOCK: &str = "lock";
/// Directories that others make below the private one, outermost first: what is not theirs is not entered.
const BELOW_PRIVATE: [&str; 7] =
    ["chains", "instances", "types", "modules", "oci", "oci/guests", "oci/images"];
/// How long a lock may be held by somebody who only looks whether it is free ([`wait_until_free`]).
const GLANCE: Duration = Duration::from_millis(200);

/// An opened, locked ROOT.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    dir: File,
    uuid: String,
    /// Released by the kernel when the last descriptor goes, however we end.
    _lock: File,
}

impl Root {
    /// Opens ROOT for one mount: makes what is missing in it, checks its format and where it was last, takes its
    /// lock.
    ///
    /// # Errors
    /// A ROOT that is missing, no directory, not writable, of a newer format, mounted by another nfio, or last used
    /// elsewhere without a `relocation` that says why.
    pub fn open(path: &Path, relocation: Relocation) -> Result<Self> {
        let path = locate(path)?;
        let dir = File::open(&path).map_err(|e| unusable(&path, &e))?;
        let private = path.join(PRIVATE);
        make_dir(&path, &private, 0o700)?;
        for below in BELOW_PRIVATE {
            real_dir(&path, &private.join(below))?;
        }
        let lock = lock(&path, &private.join(LOCK))?;
        beneath::clear_half_written(&private).map_err(|e| unusable(&path, &e))?;
        for name in [NF_TYPES, CHNS] {
            make_dir(&path, &path.join(name), 0o755)?;
        }
        let uuid = identity::identify(&path, &dir, relocation)?;
        Ok(Self { path, dir, uuid, _lock: lock })
    }

    /// ROOT's own path, absolute and without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// ROOT, held open.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// nfio's own directory in ROOT, absolute: mode 0700, not visible in MOUNT.
    pub fn private(&self) -> PathBuf {
        self.path.join(PRIVATE)
    }

    /// What tells this ROOT from all others, for good.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }
}

/// ROOT's absolute path, without symbolic links; changes nothing.
///
/// # Errors
/// Nothing is there, or something that is not a directory.
pub fn locate(path: &Path) -> Result<PathBuf> {
    let real = std::fs::canonicalize(path).map_err(|e| match e.kind() {
        ErrorKind::NotFound => refusal(Errno::ENOENT, path, "does not exist: make it with mkdir -p"),
        ErrorKind::NotADirectory => refusal(Errno::ENOTDIR, path, "is not a directory: name a directory"),
        _ => unusable(path, &e),
    })?;
    if !real.is_dir() {
        return Err(refusal(Errno::ENOTDIR, path, "is not a directory: name a directory"));
    }
    Ok(real)
}

/// Waits until no mount holds the lock of the ROOT at `path`, at most `limit`. True: it is free.
pub fn wait_until_free(path: &Path, limit: Duration) -> bool {
    let Ok(lock) = File::open(path.join(PRIVATE).join(LOCK)) else { return true };
    // Shared: several who look do not stand in each other's way.
    patiently(limit, || lock.try_lock_shared()).is_ok()
}

/// The pid in the lock file of the ROOT at `path`, where there is one.
pub fn holder(path: &Path) -> Option<i32> {
    std::fs::read_to_string(path.join(PRIVATE).join(LOCK)).ok()?.trim().parse().ok()
}

fn lock(root: &Path, path: &Path) -> Result<File> {
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(|e| unusable(root, &e))?;
    match patiently(GLANCE, || file.try_lock()) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let by = match file.read_to_string(&mut pid) {
                Ok(_) if !pid.trim().is_empty() => format!("pid {}", pid.trim()),
                _ => "its pid is not known".to_string(),
            };
            let what =
                format!("is mounted already by another nfio ({by}): unmount that one first with nfio umount");
            return Err(refusal(Errno::EBUSY, root, &what));
        }
        Err(TryLockError::Error(e)) => return Err(unusable(root, &e)),
    }
    let pid = format!("{}\n", std::process::id());
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(pid.as_bytes()))
        .map_err(|e| unusable(root, &e))?;
    Ok(file)
}

fn patiently(
    limit: Duration,
    try_once: impl Fn() -> std::result::Result<(), TryLockError>,
) -> std::result::Result<(), TryLockError> {
    let end = Instant::now() + limit;
    loop {
        match try_once() {
            Err(TryLockError::WouldBlock) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(10));
            }
            answer => return answer,
        }
    }
}

/// Makes a directory of ROOT's frame, or finds it as it must be. The umask has no say.
fn make_dir(root: &Path, path: &Path, mode: u32) -> Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            let found = std::fs::symlink_metadata(path).map_err(|e| unusable(root, &e))?;
            if !found.is_dir() {
                let what = format!(
                    "holds {} that is not a directory: move it away, nfio needs the name",
                    path.file_name().unwrap_or_default().display()
                );
                return Err(refusal(Errno::ENOTDIR, root, &what));
            }
            // nf-types and chns may have been given to a group since. The private directory may not: whoever owns
            // it could forge the records.
            if mode != 0o700 {
                return Ok(());
            }
            if found.uid() != nix::unistd::geteuid().as_raw() {
                let what = format!(
                    "holds a {PRIVATE} that belongs to uid {}: remove it, nfio makes its own",
                    found.uid()
                );
                return Err(refusal(Errno::EPERM, root, &what));
            }
        }
        Err(e) => return Err(unusable(root, &e)),
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|e| unusable(root, &e))
}

/// Refuses what stands where a directory of ROOT's belongs and is none.
fn real_dir(root: &Path, path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.is_dir() => {
            let name = path.strip_prefix(root).unwrap_or(path).display();
            let what = format!("holds {name} that is not a directory: remove it, nfio makes its own");
            Err(refusal(Errno::ENOTDIR, root, &what))
        }
        _ => Ok(()),
    }
}

fn refusal(errno: Errno, root: &Path, what: &str) -> NfioError {
    NfioError::posix(errno as i32, format!("ROOT {} {what}", root.display()))
}

fn unusable(root: &Path, error: &std::io::Error) -> NfioError {
    let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    match errno {
        Errno::EROFS => refusal(
            errno,
            root,
            "is on a read-only file system: remount it read-write or choose another directory",
        ),
        Errno::EACCES | Errno::EPERM => refusal(
            errno,
            root,
            "cannot be written: give it to the user that runs nfio, or choose another directory",
        ),
        Errno::ELOOP => refusal(errno, root, "holds symbolic links in .nfio: remove them, nfio follows none"),
        _ => refusal(
            errno,
            root,
            &format!("cannot be used ({}): mend that or choose another directory", errno.desc()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Result<Root> {
        Root::open(path, Relocation::None)
    }

    #[test]
    fn a_new_root_gets_its_frame_and_keeps_its_uuid_for_good() {
        let dir = tempfile::tempdir().unwrap();
        let root = open(dir.path()).unwrap();
        let uuid = root.uuid().to_string();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode(&root.private()), 0o700);
        assert_eq!(mode(&root.path().join("nf-types")), 0o755);
        assert_eq!(mode(&root.path().join("chns")), 0o755);
        assert_eq!(holder(root.path()), Some(std::process::id() as i32));
        drop(root);
        assert_eq!(open(dir.path()).unwrap().uuid(), uuid);
    }

    #[test]
    fn a_second_mount_is_refused_with_the_holders_pid_and_works_once_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path()).unwrap();
        let error = open(dir.path()).unwrap_err();
        assert_eq!(error.errno(), Errno::EBUSY as i32);
        let pid = format!("pid {}", std::process::id());
        assert!(error.to_string().contains(&pid) && error.to_string().contains("nfio umount"), "{error}");
        assert!(!wait_until_free(dir.path(), Duration::ZERO));
        drop(first);
        assert!(wait_until_free(dir.path(), Duration::ZERO));
        open(dir.path()).unwrap();
    }

    #[test]
    fn somebody_who_looks_whether_the_lock_is_free_does_not_stop_a_mount() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        let looking = File::open(dir.path().join(".nfio/lock")).unwrap();
        looking.try_lock_shared().unwrap();
        let release = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(looking);
        });
        open(dir.path()).unwrap();
        release.join().unwrap();
    }

    #[test]
    fn a_missing_root_or_one_that_is_a_file_names_itself_and_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("none");
        let error = open(&missing).unwrap_err();
        assert_eq!(error.errno(), Errno::ENOENT as i32);
        assert!(error.to_string().contains("mkdir") && error.to_string().contains("none"), "{error}");
        std::fs::write(&missing, "").unwrap();
        assert_eq!(open(&missing).unwrap_err().errno(), Errno::ENOTDIR as i32);
        std::fs::write(dir.path().join("nf-types"), "").unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("holds nf-types that is not a directory"), "{error}");
    }
}
