//! Faults of the machine, injected on purpose: mounts over what the driver Oci works on. The daemon shares the mount
//! namespace of the test bed, so it meets them; they are undone by drop.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Instance, Mounted, eventually};

/// A directory mounted over itself.
pub struct Covered(PathBuf);

impl Covered {
    /// Makes a directory a mount point, so that it can be neither renamed nor removed.
    #[track_caller]
    pub fn busy(directory: &Path) -> Self {
        mount(Some(directory), directory, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .expect("a bind mount");
        Self(directory.to_owned())
    }

    /// Makes a directory read-only, also for root.
    #[track_caller]
    pub fn read_only(directory: &Path) -> Self {
        let covered = Self::busy(directory);
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, directory, None::<&str>, flags, None::<&str>).expect("a read-only remount");
        covered
    }
}

impl Drop for Covered {
    fn drop(&mut self) {
        // Somebody may look into it at this moment; it goes when nobody does.
        if let Err(e) = umount2(&self.0, MntFlags::MNT_DETACH) {
            eprintln!("umount of {}: {e}", self.0.display());
        }
    }
}

/// Ends a guest behind nfio's back, paused or not, and waits until its monitor has cleared up.
#[track_caller]
pub fn end_guest(guest: &Path) {
    let run = guest.join("run.json");
    kill(first_process(guest), Signal::SIGKILL).expect("kill");
    // What is frozen takes its death only once it goes on.
    let id = guest.file_name().and_then(|name| name.to_str()).expect("a guest's directory");
    for (file, text) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        // One that was not frozen may be gone already, and its group with it.
        let file = find_freezer(id).map(|group| group.join(file)).filter(|file| file.exists());
        if let Some(Err(e)) = file.map(|file| fs::write(file, text)) {
            assert!(matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)), "thaw: {e}");
        }
    }
    eventually("the guest is gone", || !run.exists());
}

/// The first process of a guest that runs.
#[track_caller]
pub fn first_process(guest: &Path) -> Pid {
    let text = fs::read_to_string(guest.join("run.json")).expect("a guest that runs");
    let pid = text.split("\"pid\":").nth(1).and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    Pid::from_raw(pid.and_then(|digits| digits.parse().ok()).expect("its first process"))
}

/// The control group that freezes the guest of this id.
fn find_freezer(id: &str) -> Option<PathBuf> {
    let short: String = id.chars().filter(char::is_ascii_hexdigit).take(12).collect();
    // Version 1 first, as the driver has it.
    ["/sys/fs/cgroup/freezer/nfio", "/sys/fs/cgroup/unified/nfio", "/sys/fs/cgroup/nfio"]
        .iter()
        .map(|parent| Path::new(parent).join(&short))
        .find(|group| group.is_dir())
}

impl Mounted {
    /// UUID of an instance.
    #[track_caller]
    pub fn id(&self, instance: &Instance) -> String {
        let private = self.private(instance).join("id");
        fs::read_to_string(private).expect("the instance's id").trim().to_owned()
    }

    /// What nfio keeps of an instance: `ROOT/.nfio/instances/TYPE/NAME`.
    pub fn private(&self, instance: &Instance) -> PathBuf {
        let below =
            instance.path().strip_prefix(self.path().join("nf-types")).expect("an instance of this mount");
        self.root().join(".nfio/instances").join(below)
    }

    /// Where the driver Oci keeps the guest of an instance.
    #[track_caller]
    pub fn guest(&self, instance: &Instance) -> PathBuf {
        self.root().join(".nfio/oci/guests").join(self.id(instance))
    }

    /// The control group that freezes the guest of an instance.
    #[track_caller]
    pub fn freezer(&self, instance: &Instance) -> PathBuf {
        find_freezer(&self.id(instance)).expect("a freezer control group of the guest")
    }
}
