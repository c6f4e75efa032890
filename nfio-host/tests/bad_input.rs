//! What a user can get wrong on the command line: exactly one sentence on stderr that names the thing and the way
//! out, exit 1 (2 for wrong usage), and nothing half-made. Run as root: most cases are root's own mistakes.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory with a ROOT, an empty mountpoint and an empty module_root.
struct Room(tempfile::TempDir);

impl Room {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["root", "mnt", "plugins"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `nfio mount` in this directory, with these words behind what every case has.
    fn mount(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nfio"));
        command.current_dir(self.0.path()).args(["mount", "--module-root", "plugins"]).args(words);
        command
    }

    /// The same in a mount namespace of its own, prepared by a line of shell.
    fn mount_within(&self, prepare: &str, words: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.current_dir(self.0.path()).args(["--mount", "sh", "-c"]);
        command.arg(format!("{prepare} && exec \"$0\" mount --module-root plugins \"$@\""));
        command.arg(env!("CARGO_BIN_EXE_nfio")).args(words);
        command
    }
}

/// Where a refusal fails to come a mount is left: the next run shall not find it.
impl Drop for Room {
    fn drop(&mut self) {
        for path in ["mnt", "root/mnt", "root", "plugins"].map(|name| self.path(name)) {
            if mounted(&path) {
                let _ = Command::new("umount").arg("-l").arg(path).status();
            }
        }
    }
}

const OCI: [&str; 4] = ["--hypervisor", "Oci", "root", "mnt"];

/// Runs it, in the background and in the foreground, and holds it to one sentence with all `words` and exit 1.
fn refused(command: impl Fn(&[&str]) -> Command, words: &[&str]) {
    for extra in [&[][..], &["--foreground"]] {
        let output = command(extra).output().unwrap();
        let stderr = one_sentence(&output);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        for word in words {
            assert!(stderr.contains(word), "{word:?} is not named: {stderr}");
        }
    }
}

fn one_sentence(output: &Output) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(output.stdout.is_empty(), "{output:?}");
    assert!(stderr.starts_with("nfio: ") && stderr.ends_with('\n'), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr
}

/// These tests need what nfio itself needs.
#[track_caller]
fn require_root() {
    let uid = std::fs::metadata("/proc/self").unwrap().uid();
    assert_eq!(uid, 0, "this test mounts, which only root may: run it as root");
}

fn mounted(path: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().any(|line| line.split(' ').nth(4) == path.to_str())
}

#[test]
fn wrong_usage_exits_2() {
    for words in [
        &[][..],
        &["mont"],
        &["mount"],
        &["mount", "a"],
        &["mount", "--bogus", "a", "b"],
        &["umount"],
        &["plugin"],
        &["plugin", "check"],
        &["module", "probe"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_nfio")).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{words:?}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_nfio")).arg("--help").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
}

#[test]
fn somebody_who_is_not_root_is_told_so() {
    require_root();
    // The binary may stand where nobody else can read: take it to where they can.
    let room = Room::new();
    std::fs::set_permissions(room.0.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_nfio"), room.path("nfio")).unwrap();
    let mount = |extra: &[&str]| {
        let mut command = Command::new(room.path("nfio"));
        command.current_dir(room.0.path()).arg("mount").args(extra).args(OCI).uid(65534).gid(65534);
        command
    };
    refused(mount, &["only root can mount", "sudo"]);
    assert_eq!(std::fs::read_dir(room.path("root")).unwrap().count(), 0);
}

#[test]
fn a_missing_fuse_device_is_named_with_the_way_to_get_it() {
    require_root();
    let room = Room::new();
    let mount = |extra: &[&str]| room.mount_within("mount -t tmpfs none /dev", &[extra, &OCI].concat());
    refused(mount, &["/dev/fuse does not exist", "modprobe fuse"]);
    let mount =
        |extra: &[&str]| room.mount_within("mount --bind /dev/null /dev/fuse", &[extra, &OCI].concat());
    refused(mount, &["/dev/fuse is not the FUSE device", "mknod"]);
}

#[test]
fn an_unknown_hypervisor_and_one_that_was_left_out_are_named() {
    require_root();
    let room = Room::new();
    let mut refusals = vec![("Xen", "Xen")];
    if cfg!(not(feature = "libvirt")) {
        refusals.push(("Libvirt", "Libvirt is not in this build; use --hypervisor Docker or Oci"));
    }
    for (hypervisor, words) in refusals {
        let given = ["--hypervisor", hypervisor, "root", "mnt"];
        refused(|extra| room.mount(&[extra, &given].concat()), &[words, "Oci"]);
    }
}

#[test]
fn a_missing_unwritable_or_odd_root_is_named() {
    require_root();
    let room = Room::new();
    std::fs::write(room.path("file"), "").unwrap();
    let at = |root: &'static str| {
        let room = &room;
        move |extra: &[&str]| room.mount(&[extra, &["--hypervisor", "Oci", root, "mnt"]].concat())
    };
    refused(at("none"), &["ROOT none does not exist", "mkdir"]);
    refused(at("file"), &["ROOT file is not a directory"]);
    refused(at("file/below"), &["ROOT file/below is not a directory"]);
    let read_only =
        |extra: &[&str]| room.mount_within("mount -t tmpfs -o ro none root", &[extra, &OCI].concat());
    refused(read_only, &["/root is on a read-only file system", "remount"]);
    // Known good before, read-only since.
    std::fs::create_dir_all(room.path("root/.nfio")).unwrap();
    std::fs::set_permissions(room.path("root/.nfio"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let read_only = |extra: &[&str]| {
        room.mount_within("mount --bind root root && mount -o remount,bind,ro root", &[extra, &OCI].concat())
    };
    refused(read_only, &["/root is on a read-only file system"]);
}

#[test]
fn a_root_of_a_newer_nfio_is_refused() {
    require_root();
    let room = Room::new();
    std::fs::create_dir(room.path("root/.nfio")).unwrap();
    std::fs::write(room.path("root/.nfio/root.toml"), "format = 99\n").unwrap();
    refused(|extra| room.mount(&[extra, &OCI].concat()), &["/root was written by a newer nfio (format 99"]);
}

#[test]
fn a_missing_busy_or_non_empty_mountpoint_is_named() {
    require_root();
    let room = Room::new();
    std::fs::write(room.path("file"), "").unwrap();
    let at = |mountpoint: &'static str| {
        let room = &room;
        move |extra: &[&str]| room.mount(&[extra, &["--hypervisor", "Oci", "root", mountpoint]].concat())
    };
    refused(at("none"), &["MOUNTPOINT none does not exist", "mkdir"]);
    refused(at("file"), &["MOUNTPOINT file is not a directory"]);
    refused(at("/proc"), &["MOUNTPOINT /proc is busy, proc (", "umount /proc"]);
    std::fs::write(room.path("mnt/left"), "").unwrap();
    refused(at("mnt"), &["/mnt is not empty (it holds left)", "choose an empty directory"]);
    let busy = |extra: &[&str]| room.mount_within("mount -t tmpfs lair mnt", &[extra, &OCI].concat());
    refused(busy, &["/mnt is busy, tmpfs (lair) is mounted there", "umount"]);
}

#[test]
fn root_mountpoint_and_module_root_must_lie_apart() {
    require_root();
    let room = Room::new();
    std::fs::create_dir(room.path("root/mnt")).unwrap();
    let at = |words: &'static [&'static str]| {
        let room = &room;
        move |extra: &[&str]| room.mount(&[extra, &["--hypervisor", "Oci"], words].concat())
    };
    refused(at(&["root", "root/mnt"]), &["MOUNTPOINT", "lies within ROOT", "choose"]);
    refused(at(&["root/mnt", "root"]), &["ROOT", "lies within MOUNTPOINT", "choose"]);
    refused(at(&["root", "root"]), &["lies within"]);
    refused(at(&["root", "plugins"]), &["module_root", "lies within MOUNTPOINT", "elsewhere"]);
    assert!(!room.path("root/.nfio").exists());
}

#[test]
fn a_missing_module_root_is_named_in_full() {
    require_root();
    let room = Room::new();
    std::fs::remove_dir(room.path("plugins")).unwrap();
    let full = format!("module_root {} does not exist", room.path("plugins").display());
    refused(|extra| room.mount(&[extra, &OCI].concat()), &[&full, "--module-root"]);
    std::fs::write(room.path("plugins"), "").unwrap();
    refused(|extra| room.mount(&[extra, &OCI].concat()), &["plugins is not a directory"]);
}

#[test]
fn an_unknown_key_in_nfio_toml_is_named_with_file_and_line() {
    require_root();
    let room = Room::new();
    std::fs::write(room.path("my.toml"), "hypervisor = \"Oci\"\n\n[policy]\npriviledged = true\n").unwrap();
    let mount = |extra: &[&str]| room.mount(&[extra, &["--config", "my.toml"], &OCI].concat());
    refused(mount, &["my.toml line 4", "unknown key `priviledged`", "`privileged`"]);
    let mount = |extra: &[&str]| room.mount(&[extra, &["--config", "none.toml"], &OCI].concat());
    refused(mount, &["none.toml", "no such file", "--config"]);
    let mount = |extra: &[&str]| room.mount(&[extra, &["-o", "allow_other,sudo"], &OCI].concat());
    refused(mount, &["unknown mount option \"sudo\"", "allow_other"]);
}

#[test]
fn what_is_not_ours_is_not_unmounted() {
    let room = Room::new();
    for (path, words) in [
        (room.path("mnt"), ["nothing is mounted at", "findmnt"]),
        (room.path("none"), ["none does not exist, so nothing is mounted there", "findmnt"]),
        ("/proc".into(), ["/proc is a mount of proc, not of nfio", "umount /proc"]),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_nfio")).arg("umount").arg(&path).output().unwrap();
        let stderr = one_sentence(&output);
        assert_eq!(output.status.code(), Some(1));
        assert!(words.iter().all(|word| stderr.contains(word)), "{stderr}");
    }
    assert!(mounted(Path::new("/proc")));
}
