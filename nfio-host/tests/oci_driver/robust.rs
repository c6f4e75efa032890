//! Processes that are killed, at any moment.

use nfio_host::hypervisor::oci::Oci;
use nfio_host::hypervisor::{Guest, Hypervisor, Prepared, Status};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bed::*;

#[test]
fn a_new_nfio_adopts_a_running_guest_and_a_killed_monitor_takes_its_guest_along() {
    let (bed, _one) = bed();
    // Not as root: whoever changes its user loses the parent-death signal unless it is set anew.
    let spec = bed.spec("user = \"1000:1000\"\ncommand = [\"sleep\", \"1000\"]");
    let guest = bed.up(&spec);
    assert_eq!(out(&bed.sh(&guest, "grep CapEff /proc/1/status | cut -f2")), "0000000000000000");
    let before = bed.oci.counters(&guest).unwrap();
    let again = Oci::new(config(bed.dir.path())).unwrap();
    let unanswered = Guest { id: String::new(), ..guest.clone() };
    assert_eq!(again.get_id(&unanswered).unwrap(), guest.id);
    assert_eq!(again.adopt(&guest, Path::new("/dev/null")).unwrap(), Status::Running);
    assert!(again.counters(&guest).unwrap().rx_bytes >= before.rx_bytes);
    kill(bed.monitor(&guest));
    until("the guest ends with its monitor", || again.guest_status(&guest).unwrap() == Status::Exited);
    again.start(&guest, &Prepared::default()).unwrap();
    assert!(pings(&again.get_ip(&guest).unwrap()));
    again.destroy(&guest, true).unwrap();
    assert_eq!(again.adopt(&guest, Path::new("/dev/null")).unwrap_err().code(), 702);
    until("monitors are reaped", || traces().is_empty());
}

#[test]
fn a_start_whose_nfio_was_killed_can_be_destroyed_at_any_moment() {
    let (bed, _one) = bed();
    for delay in [0, 5, 20, 40, 60, 80, 120, 200] {
        let guest = bed.deployed(&bed.spec(""));
        let dir = bed.dir.path().join("oci/guests").join(&guest.id);
        let mut helper = Command::new(env!("CARGO_BIN_EXE_nfio"))
            .args(["oci", "run"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        serde_json::to_writer(helper.stdin.take().unwrap(), &Prepared::default()).unwrap();
        drop(helper.stdout.take());
        helper.wait().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        let begin = Instant::now();
        bed.oci.destroy(&guest, true).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(9), "after {delay} ms: {:?}", begin.elapsed());
        assert!(!dir.exists());
        until("nothing is left", || traces().is_empty() && groups(&guest).is_empty());
        assert_eq!(leases(), 0, "after {delay} ms");
    }
}

#[test]
fn a_monitor_killed_at_any_moment_of_a_start_leaves_nothing_for_long() {
    let (bed, _one) = bed();
    for delay in [0, 3, 6, 10, 15, 20, 30, 40, 60, 90] {
        let guest = bed.deployed(&bed.spec(""));
        let dir = bed.dir.path().join("oci/guests").join(&guest.id);
        std::thread::scope(|scope| {
            let start = scope.spawn(|| bed.oci.start(&guest, &Prepared::default()));
            std::thread::sleep(Duration::from_millis(delay));
            for pid in helpers(&dir) {
                // It may have ended by itself.
                let _ = Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status();
            }
            println!("killed after {delay} ms: {:?}", start.join().unwrap().map_err(|e| e.to_string()));
        });
        // Missed, or it never ran, or it ended with its monitor; it starts again as if nothing had been.
        until("it does not run unwatched", || {
            bed.status(&guest) != Status::Running || !helpers(&dir).is_empty()
        });
        bed.oci.start(&guest, &Prepared::default()).unwrap();
        assert!(pings(&bed.oci.get_ip(&guest).unwrap()), "after {delay} ms");
        bed.oci.destroy(&guest, true).unwrap();
        until("nothing is left", || traces().is_empty() && groups(&guest).is_empty());
        assert_eq!(leases(), 0, "after {delay} ms");
    }
}

/// Our processes at work on that guest.
fn helpers(dir: &Path) -> Vec<i32> {
    let ours = |pid: &i32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        command.contains("\0oci\0") && command.contains(&*dir.to_string_lossy())
    };
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|process| process.file_name().to_str()?.parse().ok()).filter(ours).collect()
}

#[test]
fn two_roots_share_the_bridge_and_the_last_guest_takes_it_along() {
    let (bed, _one) = bed();
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Oci::new(config(elsewhere.path())).unwrap();
    let here = bed.up(&bed.spec(""));
    let spec = bed.spec("");
    let there = Guest { id: other.deploy(&spec).unwrap(), ..Guest::of(&spec) };
    other.start(&there, &Prepared::default()).unwrap();
    let addresses = [bed.oci.get_ip(&here).unwrap(), other.get_ip(&there).unwrap()];
    assert_ne!(addresses[0], addresses[1]);
    assert_eq!(bed.sh(&here, &format!("ping -c 1 -W 2 {}", addresses[1])).exit_code, 0);
    // Neither knows the other's.
    assert_eq!(bed.oci.guest_status(&there).unwrap_err().code(), 702);
    bed.oci.destroy(&there, true).unwrap();
    assert_eq!(other.guest_status(&there).unwrap(), Status::Running);
    bed.oci.destroy(&here, true).unwrap();
    assert!(pings(&addresses[1]), "the bridge went with the other root's guest");
    other.destroy(&there, true).unwrap();
    assert!(!has_link("nfio0"));
    assert_eq!(leases(), 0);
}

/// sysfs shows the network namespace that it was mounted in, which is not the test bed's.
fn has_link(name: &str) -> bool {
    Command::new("ip").args(["link", "show", name]).output().expect("ip").status.success()
}

#[test]
fn a_bridge_that_a_killed_monitor_left_half_made_is_finished_and_a_strangers_is_left_alone() {
    let (bed, _one) = bed();
    let ip = |arguments: &str| {
        let words = arguments.split(' ');
        assert!(Command::new("ip").args(words).status().expect("ip").success(), "ip {arguments}");
    };
    ip("link add nfio0 address 02:42:0a:cb:00:01 type bridge");
    let guest = bed.up(&bed.spec(""));
    assert!(pings(&bed.oci.get_ip(&guest).unwrap()));
    bed.oci.destroy(&guest, true).unwrap();
    assert!(!has_link("nfio0"), "finished, it is ours to remove");

    ip("link add nfio0 address 02:00:00:00:00:07 type bridge");
    let guest = bed.deployed(&bed.spec(""));
    let error = bed.oci.start(&guest, &Prepared::default()).unwrap_err();
    assert!(error.code() == 707 && error.to_string().contains("without the address"), "{error}");
    bed.oci.destroy(&guest, true).unwrap();
    assert!(has_link("nfio0"));
    ip("link del nfio0");
}

#[test]
fn after_a_reboot_or_a_reused_pid_a_guest_has_exited_and_nobody_else_is_touched() {
    let (bed, _one) = bed();
    let mut bystander = Command::new("sleep").arg("1000").spawn().unwrap();
    for (key, value) in [("world", "another boot".into()), ("pid", serde_json::json!(bystander.id()))] {
        let guest = bed.up(&bed.spec(""));
        let record = fs::read(bed.record(&guest)).unwrap();
        let mut record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        kill(bed.monitor(&guest));
        until("it ends with its monitor", || bed.status(&guest) == Status::Exited);
        // As if its processes had been those of another time.
        for process in ["init", "monitor"] {
            record[process][key] = serde_json::Value::clone(&value);
        }
        fs::write(bed.record(&guest), record.to_string()).unwrap();
        let again = Oci::new(config(bed.dir.path())).unwrap();
        assert_eq!(again.adopt(&guest, Path::new("/dev/null")).unwrap(), Status::Exited, "{key}");
        assert_eq!(again.counters(&guest).unwrap_err().code(), 716);
        again.stop(&guest).unwrap();
        again.start(&guest, &Prepared::default()).unwrap();
        assert!(pings(&again.get_ip(&guest).unwrap()));
        again.destroy(&guest, true).unwrap();
        assert!(bystander.try_wait().unwrap().is_none(), "{key}: a process of somebody else was killed");
    }
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    assert_eq!(leases(), 0);
}

#[test]
fn guests_outlive_the_control_group_of_nfios_service() {
    let (bed, _one) = bed();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let unified = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
    let Some(unified) = unified.map(|line| PathBuf::from(line.split(' ').nth(1).unwrap())) else { return };
    let service = unified.join(format!("nfio-test-{}.service", std::process::id()));
    fs::create_dir(&service).unwrap();
    let guest = bed.deployed(&bed.spec(""));
    // A shell in the service's place: it starts the guest and stays.
    let script = "echo $$ > \"$1/cgroup.procs\"; echo '{\"env\":[],\"command\":null,\"files\":[]}' | \"$2\" oci run \"$3\"; \
                  sleep 1000";
    let mut nfio = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(&service)
        .arg(env!("CARGO_BIN_EXE_nfio"))
        .arg(bed.dir.path().join("oci/guests").join(&guest.id))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("it runs", || bed.status(&guest) == Status::Running);
    until("it answers", || pings(&bed.oci.get_ip(&guest).unwrap()));
    fs::write(service.join("cgroup.kill"), "1").unwrap();
    assert!(!nfio.wait().unwrap().success());
    until("the service's group is empty", || fs::remove_dir(&service).is_ok());
    assert!(pings(&bed.oci.get_ip(&guest).unwrap()), "the guest went with nfio's service");
    assert_eq!(bed.status(&guest), Status::Running);
    bed.oci.destroy(&guest, true).unwrap();
    until("nothing is left", || traces().is_empty() && groups(&guest).is_empty());
}

#[test]
fn fifty_lives_leave_descriptors_and_threads_as_they_were() {
    let (bed, _one) = bed();
    let guest = bed.deployed(&bed.spec(""));
    let count = || ["fd", "task"].map(|what| fs::read_dir(format!("/proc/self/{what}")).unwrap().count());
    let mut before = None;
    let (mut starts, mut stops) = (Vec::new(), Vec::new());
    for _ in 0..50 {
        let begin = Instant::now();
        bed.oci.start(&guest, &Prepared::default()).unwrap();
        starts.push(begin.elapsed());
        bed.sh(&guest, "true");
        let begin = Instant::now();
        bed.oci.stop(&guest).unwrap();
        stops.push(begin.elapsed());
        // What the first life keeps (the binary's mount) is kept once.
        before.get_or_insert_with(count);
    }
    // The last life's pidfd is held until it is asked for.
    assert_eq!(bed.status(&guest), Status::Exited);
    let after = count();
    assert!(
        before.unwrap().iter().zip(after).all(|(before, after)| after <= *before),
        "{before:?} {after:?}"
    );
    starts.sort();
    stops.sort();
    println!("start {:?} to {:?}, stop {:?} to {:?}", starts[0], starts[49], stops[0], stops[49]);
    println!("median start {:?}, stop {:?}", starts[25], stops[25]);
    bed.oci.destroy(&guest, true).unwrap();
}
