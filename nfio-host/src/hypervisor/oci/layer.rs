//! A guest's layer: an overlay of its own over the shared image, mounted by the monitor in a mount namespace
//! that nobody else sees. The host's mount table stays as it is, and the mount goes with the guest however it
//! ends.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::state::GuestDir;

/// How long a thread that was joined may take to be gone.
const LAST_MOMENT: Duration = Duration::from_secs(5);

/// Makes the directories of an empty layer over `image`.
pub(super) fn make(dir: &GuestDir, image: &Path) -> io::Result<()> {
    for name in ["upper", "work", "rootfs"] {
        fs::create_dir(dir.join(name))?;
    }
    // The upper directory is the guest's `/`: it looks as the image's does.
    let image = fs::metadata(image)?;
    let upper = dir.join("upper");
    fs::set_permissions(&upper, fs::Permissions::from_mode(image.mode() & 0o7777))?;
    std::os::unix::fs::chown(&upper, Some(image.uid()), Some(image.gid()))
}

/// The way back from a mount namespace of one's own.
pub(super) struct Way(File);

/// Enters a mount namespace of one's own and mounts the guest's root file system there.
pub(super) fn mount_private(dir: &GuestDir, image: &Path) -> io::Result<Way> {
    let way = Way(File::open("/proc/self/ns/mnt")?);
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    // By descriptor: no path of the host appears in the guest's mount table, none needs escaping.
    let (lower, upper, work) =
        (directory(image)?, directory(&dir.join("upper"))?, directory(&dir.join("work"))?);
    let options = format!(
        "lowerdir=/proc/self/fd/{},upperdir=/proc/self/fd/{},workdir=/proc/self/fd/{}",
        lower.as_raw_fd(),
        upper.as_raw_fd(),
        work.as_raw_fd()
    );
    // nodev: device nodes live in the guest's /dev alone, wherever else it may make some.
    mount(Some("overlay"), &dir.join("rootfs"), Some("overlay"), MsFlags::MS_NODEV, Some(options.as_str()))?;
    Ok(way)
}

impl Way {
    /// Back to the host's mount namespace. The private one is a copy of all mounts of the host: kept, it would
    /// hold file systems (a FUSE mount: its daemon) that the host has long unmounted.
    pub(super) fn back(self) -> io::Result<()> {
        // The kernel refuses a process of several threads. A thread that was joined may still be one for a moment: it
        // tells its end before it lets go of what it shares.
        let end = Instant::now() + LAST_MOMENT;
        loop {
            match setns(&self.0, CloneFlags::CLONE_NEWNS) {
                Err(Errno::EINVAL) if Instant::now() < end => thread::sleep(Duration::from_millis(1)),
                outcome => return Ok(outcome?),
            }
        }
    }
}

fn directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)
}
