//! How mounts come and go: ready when the command returns, one nfio for a ROOT, gone when `nfio umount` returns,
//! clean after signals, mended after a kill. Real mounts: as root, with /dev/fuse.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(15);

/// A ROOT and a mountpoint, taken down at the end whatever happened.
struct Room(tempfile::TempDir);

impl Room {
    #[track_caller]
    fn new() -> Self {
        let uid = std::fs::metadata("/proc/self").unwrap().uid();
        assert_eq!(uid, 0, "this test mounts, which only root may: run it as root");
        assert!(Path::new("/dev/fuse").exists(), "this test mounts: load the module fuse, or bind /dev/fuse");
        let dir = tempfile::tempdir().unwrap();
        for name in ["root", "mnt", "other", "plugins"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nfio"));
        command.current_dir(self.0.path()).args(words);
        command
    }

    fn nfio(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn mount(&self) -> Output {
        self.nfio(&["mount", "--hypervisor", "Oci", "--module-root", "plugins", "root", "mnt"])
    }

    fn foreground(&self) -> Child {
        let words = ["mount", "-f", "--hypervisor", "Oci", "--module-root", "plugins", "root", "mnt"];
        let child = self.command(&words).stderr(Stdio::piped()).spawn().unwrap();
        assert!(eventually(|| self.mounted()), "it does not come up");
        child
    }

    fn mounted(&self) -> bool {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let path = self.path("mnt").canonicalize().unwrap_or_else(|_| self.path("mnt"));
        table.lines().any(|line| line.split(' ').nth(4) == path.to_str() && line.contains(" - fuse.nfio "))
    }

    fn pid(&self) -> String {
        std::fs::read_to_string(self.path("root/.nfio/lock")).unwrap().trim().into()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("root/.nfio/log")).unwrap()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        while self.mounted() {
            let _ = Command::new("umount").arg("-l").arg(self.path("mnt")).status();
        }
    }
}

fn eventually(done: impl Fn() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

fn kill(signal: &str, pid: &str) {
    assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
}

/// Gone, or waiting to be reaped by whoever inherited it.
fn ended(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

#[track_caller]
fn succeeds(output: Output) {
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
}

#[track_caller]
fn fails(output: Output, words: &[&str]) {
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
    assert!(words.iter().all(|word| stderr.contains(word)), "{stderr}");
}

#[test]
fn the_command_returns_when_the_mount_answers_and_umount_when_it_has_gone() {
    let room = Room::new();
    for _ in 0..5 {
        succeeds(room.mount());
        assert!(room.mounted() && room.path("mnt").is_dir());
        let pid = room.pid();
        succeeds(room.nfio(&["umount", "mnt"]));
        let lock = std::fs::File::open(room.path("root/.nfio/lock")).unwrap();
        assert!(lock.try_lock_shared().is_ok(), "nfio still holds ROOT");
        assert!(!room.mounted());
        assert!(eventually(|| ended(&pid)));
    }
}

#[test]
fn a_background_mount_has_its_own_session_and_keeps_neither_directory_nor_terminal() {
    let room = Room::new();
    succeeds(room.mount());
    let pid = room.pid();
    let link = |name: &str| std::fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
    assert_eq!(link("cwd"), Path::new("/"));
    assert_eq!((link("fd/0"), link("fd/1")), ("/dev/null".into(), "/dev/null".into()));
    assert_eq!(link("fd/2"), room.path("root/.nfio/log").canonicalize().unwrap());
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session = stat.rsplit(") ").next().unwrap().split(' ').nth(3).unwrap();
    assert_eq!(session, pid);
    assert!(room.log().contains("mounting"), "{}", room.log());
}

#[test]
fn a_root_that_is_mounted_is_refused_with_the_holders_pid() {
    let room = Room::new();
    succeeds(room.mount());
    let pid = format!("pid {}", room.pid());
    let words = ["mount", "--hypervisor", "Oci", "--module-root", "plugins", "root", "other"];
    fails(room.nfio(&words), &["/root is mounted already", &pid, "nfio umount"]);
    std::fs::create_dir(room.path("second")).unwrap();
    let words = ["mount", "--hypervisor", "Oci", "--module-root", "plugins", "second", "mnt"];
    fails(room.nfio(&words), &["/mnt is busy, fuse.nfio (", "/root) is mounted there", "nfio umount"]);
}

#[test]
fn a_mount_in_use_is_not_unmounted_and_names_how_to_find_its_users() {
    let room = Room::new();
    succeeds(room.mount());
    let mut user = Command::new("sleep").arg("60").current_dir(room.path("mnt")).spawn().unwrap();
    fails(room.nfio(&["umount", "mnt"]), &["/mnt is in use", "fuser -vm"]);
    assert!(room.mounted());
    user.kill().unwrap();
    user.wait().unwrap();
    succeeds(room.nfio(&["umount", "mnt"]));
}

#[test]
fn a_killed_nfio_leaves_a_stale_mount_that_the_next_one_cleans_and_umount_too() {
    let room = Room::new();
    succeeds(room.mount());
    for _ in 0..2 {
        let pid = room.pid();
        kill("-KILL", &pid);
        assert!(eventually(|| ended(&pid)));
        assert!(std::fs::read_dir(room.path("mnt")).is_err());
        succeeds(room.mount());
        assert!(room.path("mnt").is_dir());
        assert!(room.log().contains("stale mount of an nfio that has gone: cleaned"), "{}", room.log());
    }
    let pid = room.pid();
    kill("-KILL", &pid);
    assert!(eventually(|| ended(&pid)));
    succeeds(room.nfio(&["umount", "mnt"]));
    assert!(!room.mounted());
}

#[test]
fn signals_unmount_cleanly() {
    let room = Room::new();
    for signal in ["-TERM", "-INT", "-HUP"] {
        let mut child = room.foreground();
        kill(signal, &child.id().to_string());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{signal}");
        assert!(!room.mounted(), "{signal}");
    }
    succeeds(room.mount());
    let pid = room.pid();
    kill("-TERM", &pid);
    assert!(eventually(|| ended(&pid)));
    assert!(!room.mounted() && room.log().contains("unmounted"));
}

#[test]
fn a_signal_ends_nfio_though_the_mount_is_in_use() {
    let room = Room::new();
    let mut child = room.foreground();
    let mut user = Command::new("sleep").arg("60").current_dir(room.path("mnt")).spawn().unwrap();
    kill("-TERM", &child.id().to_string());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!room.mounted());
    user.kill().unwrap();
    user.wait().unwrap();
}

#[test]
fn what_nfio_starts_inherits_no_blocked_signal() {
    let room = Room::new();
    succeeds(room.mount());
    let status = std::fs::read_to_string(format!("/proc/{}/status", room.pid())).unwrap();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    assert_eq!(u64::from_str_radix(blocked.trim(), 16), Ok(0));
}

#[test]
fn nfio_may_have_as_many_descriptors_as_its_hard_limit_allows() {
    let room = Room::new();
    let words = "ulimit -S -n 256; ulimit -H -n 4096; exec \"$0\" mount --hypervisor Oci --module-root plugins root mnt";
    let mut shell = Command::new("sh");
    shell.current_dir(room.0.path()).args(["-c", words, env!("CARGO_BIN_EXE_nfio")]);
    assert!(shell.status().unwrap().success());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", room.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["4096", "4096"]);
}
