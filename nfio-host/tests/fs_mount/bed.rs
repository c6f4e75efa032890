//! A mount of its own for each test, gone when the test ends.

use nfio_host::fs::{MountConfig, Mounted, Nfio, mount};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

use crate::fake::Fake;

/// Only a test that fails waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Bed {
    dir: TempDir,
    mounted: Option<Mounted>,
    pub(crate) fake: Arc<Fake>,
}

impl Bed {
    /// A mount with an instance `box/a`.
    pub(crate) fn new() -> Self {
        assert!(
            std::env::var_os("NFIO_TESTBED").is_some_and(|set| set == "1"),
            "these tests mount: run them inside `unshare --mount --pid --fork --kill-child --mount-proc \
             --propagation private` with NFIO_TESTBED=1, as `make test` does"
        );
        let dir = TempDir::with_prefix("nfio-fs-").unwrap();
        let open = |path: PathBuf| {
            fs::create_dir_all(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        open(dir.path().to_path_buf());
        for name in ["root", "root/nf-types", "root/nf-types/gone", "root/chns", "root/.nfio", "mnt"] {
            open(dir.path().join(name));
        }
        let root = dir.path().join("root");
        let fake = Arc::new(Fake::new(root.clone()));
        let fd = OwnedFd::from(fs::File::open(&root).unwrap());
        let nfio = Nfio::new(fd, Arc::<Fake>::clone(&fake)).unwrap();
        let config = MountConfig {
            mountpoint: dir.path().join("mnt"),
            fsname: root.to_str().unwrap().into(),
            allow_other: true,
            options: Vec::new(),
            threads: 4,
        };
        let mounted = Some(mount(nfio, config).unwrap());
        let bed = Self { dir, mounted, fake };
        fs::create_dir(bed.path("nf-types/box/a")).unwrap();
        bed
    }

    /// A path below MOUNT.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("mnt").join(path)
    }

    /// A path below the instance `box/a`.
    pub(crate) fn a(&self, path: &str) -> PathBuf {
        self.path("nf-types/box/a").join(path)
    }

    /// A path below ROOT.
    pub(crate) fn root(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path)
    }

    pub(crate) fn mounted(&self) -> &Mounted {
        self.mounted.as_ref().unwrap()
    }

    /// A shell command in the instance `box/a`, as a user without privileges if `uid` says so.
    pub(crate) fn shell(&self, uid: u32, script: &str) -> Output {
        let mut command = Command::new("bash");
        command.args(["-c", script]).current_dir(self.a("")).env("LC_ALL", "C");
        if uid != 0 {
            command.uid(uid).gid(uid);
        }
        command.output().unwrap()
    }

    /// As [`shell`](Self::shell); it must succeed, and what it printed comes back.
    pub(crate) fn sh(&self, uid: u32, script: &str) -> String {
        let output = self.shell(uid, script);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{script}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(mounted) = self.mounted.take() {
            mounted.unmounter().unmount().unwrap();
            let ended = mounted.wait_for(PATIENCE);
            assert!(ended || std::thread::panicking(), "the session goes on after unmount");
        }
    }
}

/// The errno of a failure; 0 for success.
pub(crate) fn errno<T>(result: io::Result<T>) -> i32 {
    result.err().map_or(0, |e| e.raw_os_error().unwrap_or(-1))
}

/// Waits for something that another thread or process brings about.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
