//! ROOT on a disk that is full, or read-only: what cannot be done is refused by name and leaves nothing half-made, what
//! needs no room goes on, and all is well again when there is room.

use nfio_tests::{Covered, Instance, Mounted, Options, errno, eventually};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use super::RULES;
use super::points::only;

/// A small disk of its own, ended by drop.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Self {
        let disk = Self(tempfile::tempdir_in("/run").expect("a directory below /run"));
        mount(&["-t", "tmpfs", "-o", "size=64m", "tmpfs"], disk.0.path());
        disk
    }

    /// A mount whose ROOT is on it.
    fn mounted(&self) -> Mounted {
        let root = self.0.path().join("root");
        let mounted = Mounted::unmounted(Options { root: Some(root), ..Options::default() });
        only(&mounted, &["firewall"]);
        mounted.mount();
        mounted
    }

    /// Takes up all room.
    fn fill(&self) {
        let mut file = fs::File::create(self.0.path().join("fill")).expect("a file");
        let mut block = vec![0; 1 << 16];
        while !block.is_empty() {
            while file.write_all(&block).is_ok() {}
            block.truncate(block.len() / 2);
        }
    }

    fn empty(&self) {
        fs::remove_file(self.0.path().join("fill")).expect("rm");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A guest's last process may look into it at this moment.
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[track_caller]
fn mount(options: &[&str], place: &Path) {
    try_mount(options, place).unwrap_or_else(|e| panic!("mount: {e}"));
}

fn try_mount(options: &[&str], place: &Path) -> Result<(), String> {
    let done = Command::new("mount").args(options).arg(place).output().expect("mount");
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}

/// What stands below a directory of ROOT, by nfio's own names.
fn below(directory: &Path) -> Vec<String> {
    let mut all: Vec<_> = fs::read_dir(directory)
        .expect("a directory")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    all.sort();
    all
}

/// Verbs fail with this errno and name it, change nothing, and reading goes on.
#[track_caller]
fn refused(mounted: &Mounted, up: &Instance, down: &Instance, expected: i32) {
    let new = mounted.instance("firewall", "new");
    for _ in 0..2 {
        assert_eq!(errno(fs::create_dir(new.path())), expected, "mkdir");
        assert!(!new.path().exists());
        assert_eq!(below(&mounted.root().join("nf-types/firewall")), ["down", "up"], "nothing half-made");
        assert_eq!(errno(down.try_act("activate")), expected, "{}", down.get("last_error"));
        assert_eq!(down.status(), "undeployed");
        assert!(!mounted.guest(down).exists(), "nothing half-made");
        assert!(!mounted.private(down).join("record.toml").exists());
        // The guest and its rules are not in ROOT.
        assert_eq!((up.status().as_str(), up.answers_ping()), ("running", false));
        assert!(up.try_get("stats/rx_bytes").is_ok() && up.try_get("log").is_ok());
        assert_eq!(errno(fs::write(up.file("config/mine"), [b'x'; 1 << 17])), expected, "an ordinary file");
        assert_eq!(errno(up.try_act("stop")), expected, "{}", up.get("last_error"));
        assert_eq!(up.status(), "running", "what cannot be noted is not done");
        up.act("pause");
        up.act("unpause");
        // A command in a guest needs a little room.
        assert_eq!(errno(up.try_write("command", "true")), expected);
    }
}

/// Everything works.
#[track_caller]
fn works(mounted: &Mounted, up: &Instance, down: &Instance) {
    assert_eq!(up.get("config/nf_conf"), RULES.trim_end(), "nothing is lost");
    let _ = fs::remove_file(up.file("config/mine"));
    for verb in ["stop", "start", "restart"] {
        up.act(verb);
    }
    down.act("activate");
    let new = mounted.firewall("new");
    for fw in [up, down, &new] {
        if fw.status() == "running" {
            fw.act("destroy");
        }
        assert_eq!((fw.status().as_str(), fw.get("last_error").as_str()), ("undeployed", ""));
        fs::remove_dir(fw.path()).expect("rmdir");
    }
    assert!(below(&mounted.root().join(".nfio/oci/guests")).is_empty());
    assert!(below(&mounted.root().join(".nfio/instances/firewall")).is_empty());
    assert!(below(&mounted.root().join("nf-types/firewall")).is_empty());
}

fn pair(mounted: &Mounted) -> (Instance, Instance) {
    let (up, down) = (mounted.firewall("up"), mounted.firewall("down"));
    up.put("config/nf_conf", RULES);
    up.act("activate");
    (up, down)
}

#[test]
fn on_a_full_disk_verbs_are_enospc_and_all_works_when_there_is_room_again() {
    let disk = Disk::new();
    let mounted = disk.mounted();
    let (up, down) = pair(&mounted);
    disk.fill();
    refused(&mounted, &up, &down, libc::ENOSPC);
    // What is on the disk already is served again after a crash.
    mounted.kill();
    mounted.mount();
    assert_eq!((up.status().as_str(), down.status().as_str()), ("running", "undeployed"));
    // A guest can be removed: that is how room is made.
    up.act("destroy");
    assert!(!mounted.guest(&up).exists());
    assert!(
        mounted.module("firewall", "error").contains("No space left on device"),
        "plugins are copied to load"
    );
    disk.empty();
    mounted.umount();
    mounted.mount();
    up.act("activate");
    works(&mounted, &up, &down);
}

#[test]
fn a_read_only_root_is_erofs_and_all_works_when_it_can_be_written_again() {
    let mounted = Mounted::new();
    let (up, down) = pair(&mounted);
    let covers: Vec<_> = ["nf-types/firewall", ".nfio/instances", ".nfio/oci"]
        .iter()
        .map(|place| Covered::read_only(&mounted.root().join(place)))
        .collect();
    refused(&mounted, &up, &down, libc::EROFS);
    assert_eq!(errno(up.try_act("destroy")), libc::EROFS, "{}", up.get("last_error"));
    drop(covers);
    up.act("running");
    works(&mounted, &up, &down);
}

#[test]
fn a_root_on_a_read_only_disk_is_not_mounted_and_says_so() {
    let disk = Disk::new();
    let mounted = disk.mounted();
    fs::create_dir(mounted.instance("firewall", "kept").path()).expect("mkdir");
    mounted.umount();
    eventually("nfio has closed its files", || try_mount(&["-o", "remount,ro"], disk.0.path()).is_ok());
    let output = mounted.try_mount();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && words.contains("is on a read-only file system: remount it"),
        "{words}"
    );
    mount(&["-o", "remount,rw"], disk.0.path());
    mounted.mount();
    assert_eq!(mounted.instance("firewall", "kept").status(), "undeployed");
}
