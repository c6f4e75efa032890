//! The floor: libfuse's `passthrough_hp` with its own defaults, over the same directory as nfio. It takes what it shows
//! for unchanged for a day, so each use that others could spoil has a fresh one.

use nfio_tests::eventually;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// A mount of `passthrough_hp`.
pub(crate) struct Floor {
    mountpoint: PathBuf,
    child: Child,
}

impl Floor {
    /// Mounts it over a directory.
    pub(crate) fn over(source: &Path) -> Self {
        let mountpoint = tempfile::tempdir_in("/run").expect("a mount point").keep();
        let before = fs::metadata(&mountpoint).expect("stat").dev();
        let binary = std::env::var_os("NFIO_FLOOR").expect("NFIO_FLOOR, as tests/bench.sh sets it");
        let mut command = Command::new(binary);
        let child = command.arg("--foreground").arg(source).arg(&mountpoint).spawn().expect("passthrough_hp");
        eventually("the floor is mounted", || {
            fs::metadata(&mountpoint).is_ok_and(|stat| stat.dev() != before)
        });
        Self { mountpoint, child }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.mountpoint
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let umount = Command::new("umount").arg("--lazy").arg(&self.mountpoint).status();
        assert!(umount.is_ok_and(|code| code.success()) || std::thread::panicking(), "umount of the floor");
        // It ends with its mount.
        let _ = self.child.wait();
        let _ = fs::remove_dir(&self.mountpoint);
    }
}
