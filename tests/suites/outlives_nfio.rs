//! Guests outlive nfio, also its kill -9.

use nfio_tests::{Mounted, errno};
use std::fs;

#[test]
fn a_guest_survives_kill_9_of_nfio_and_is_found_again() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    let address = fw.address().to_string();
    let ping = || {
        std::process::Command::new("ping")
            .args(["-c", "1", "-W", "1", &address])
            .output()
            .expect("ping")
            .status
            .success()
    };
    assert!(ping());
    let before = fw.counter("rx_bytes");
    mounted.kill();
    assert!(ping(), "pings pass without nfio");
    // A request that nfio took up while it was dying is ECONNABORTED.
    nfio_tests::eventually("the mount is stale", || errno(fs::read_dir(mounted.path())) == libc::ENOTCONN);
    mounted.mount();
    assert_eq!(fw.status(), "running");
    assert_eq!(fw.address().to_string(), address);
    assert!(fw.counter("rx_bytes") > before, "counters go on");
    assert_eq!(fw.run("echo still here"), "still here");
    fw.act("destroy");
    assert_eq!(fw.status(), "undeployed");
    assert!(!ping());
}

#[test]
fn a_guest_survives_umount_and_what_happened_meanwhile_is_seen() {
    let mounted = Mounted::new();
    let (fw, short) = (mounted.firewall("fw-a"), mounted.firewall("fw-b"));
    short.put("config/boot.conf", "command = [\"sleep\", \"4\"]\n");
    fw.act("activate");
    short.act("activate");
    mounted.umount();
    mounted.mount();
    assert_eq!(fw.status(), "running");
    nfio_tests::eventually("a guest that ended by itself is exited", || short.status() == "exited");
    fw.act("destroy");
    short.act("destroy");
}

#[test]
fn a_second_mount_of_one_root_is_refused_with_the_holders_pid() {
    let mounted = Mounted::new();
    let output = mounted.try_mount();
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(words.trim().lines().count(), 1, "{words}");
}

#[test]
fn a_destroyed_guest_leaves_nothing() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    let id = fs::read_to_string(mounted.root().join(".nfio/instances/firewall/fw-a/id")).expect("the id");
    fw.act("destroy");
    let record = mounted.root().join(".nfio/instances/firewall/fw-a/record.toml");
    assert!(!record.exists());
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    // Other tests' engines have layers too.
    let root = mounted.root().display().to_string();
    let ours = |line: &&str| line.starts_with("overlay ") && line.contains(&root);
    assert_eq!(mounts.lines().find(ours), None);
    let commands = fs::read_dir("/proc").expect("proc").flatten().filter_map(|process| {
        fs::read(process.path().join("cmdline")).ok().map(|line| String::from_utf8_lossy(&line).into_owned())
    });
    assert!(commands.into_iter().all(|line| !line.contains(id.trim())), "a process of the guest was left");
}
