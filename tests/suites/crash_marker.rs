//! A plugin that crashes nfio is not loaded again until its file changes; guests go on.

use nfio_tests::{Instance, Mounted, Options, built, errno, eventually, ok};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::SystemTime;

/// A mount in the foreground with a running firewall and an instance of type `odd` that can be told to crash.
fn scene() -> (Mounted, Child, Instance, Instance) {
    let mounted = Mounted::unmounted(Options::default());
    ok("the fixture", fs::copy(built("libodd.so"), mounted.module_root().join("libodd.so")));
    let daemon = mounted.mount_in_foreground();
    let (fw, odd) = (mounted.firewall("fw-a"), mounted.odd("a"));
    fw.act("activate");
    (mounted, daemon, fw, odd)
}

/// The signal that ended the daemon while `odd` was asked for its value.
#[track_caller]
fn crash(mounted: &Mounted, daemon: &mut Child, odd: &Instance, word: &str) -> i32 {
    odd.put("say", &format!("read: {word}\n"));
    // ECONNABORTED or ENOTCONN: the daemon has gone in the middle of it.
    assert_ne!(errno(odd.try_get("odd/value")), 0);
    let ended = daemon.wait().expect("the daemon ends");
    eventually("the mount is stale", || errno(fs::read_dir(mounted.path())) == libc::ENOTCONN);
    ended.signal().unwrap_or_else(|| panic!("the daemon ended by itself: {ended}"))
}

fn module(mounted: &Mounted, name: &str, file: &str) -> String {
    fs::read_to_string(mounted.path().join("modules").join(name).join(file)).unwrap_or_default()
}

#[track_caller]
fn is_marked(mounted: &Mounted) {
    assert_eq!(module(mounted, "odd", "state"), "failed\n");
    let why = module(mounted, "odd", "error");
    assert!(why.starts_with("crashed in read of odd/value; ") && why.contains("touch"), "{why}");
}

#[test]
fn a_plugin_that_crashed_nfio_is_not_loaded_until_its_file_changes() {
    let (mounted, mut daemon, fw, odd) = scene();
    let address = fw.address().to_string();
    assert_eq!(crash(&mounted, &mut daemon, &odd, "crash"), libc::SIGSEGV);
    let ping = std::process::Command::new("ping").args(["-c", "1", "-W", "1", &address]).output();
    assert!(ping.expect("ping").status.success(), "the firewall goes on without nfio");
    let file = mounted.module_root().join("libodd.so");
    // It holds over mounts.
    for _ in 0..2 {
        mounted.mount();
        is_marked(&mounted);
        assert_eq!(errno(odd.try_get("odd/value")), libc::ENOPKG);
        assert_eq!(odd.get("status"), "undeployed");
        assert_eq!(fw.status(), "running");
        assert!(fw.answers_ping());
        mounted.umount();
    }
    // The same file touched is tried again, and marked again.
    let touch =
        || fs::File::options().append(true).open(&file).and_then(|f| f.set_modified(SystemTime::now()));
    ok("touch", touch());
    let mut daemon = mounted.mount_in_foreground();
    assert_eq!(module(&mounted, "odd", "state"), "loaded\n");
    assert_eq!(crash(&mounted, &mut daemon, &odd, "abort"), libc::SIGABRT);
    mounted.mount();
    is_marked(&mounted);
    odd.put("say", "");
    mounted.umount();
    // A file in its place is another one.
    let aside = mounted.module_root().join("libodd.new");
    ok("copy", fs::copy(built("libodd.so"), &aside));
    ok("rename", fs::rename(&aside, &file));
    mounted.mount();
    assert_eq!(module(&mounted, "odd", "state"), "loaded\n");
    assert_eq!(odd.get("odd/value"), "odd");
    let marks = ok("the marks", fs::read_to_string(mounted.root().join(".nfio/crashes")));
    assert_eq!(marks, "", "what is loaded again is marked no more");
    fw.act("destroy");
}

#[test]
fn a_plugin_that_behaves_when_it_is_tried_and_crashes_when_it_is_loaded_costs_one_mount() {
    for function in ["construct", "describe"] {
        let mounted = Mounted::unmounted(Options::default());
        ok("the fixture", fs::copy(built("libodd.so"), mounted.module_root().join("libodd.so")));
        let told = format!("{function}: crash-in-nfio");
        let output = mounted.mount_command(&[]).env("NFIO_ODD", told).output().expect("nfio mount");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && words.contains("SIGSEGV"), "{words}");
        mounted.mount();
        let why = module(&mounted, "odd", "error");
        assert!(why.starts_with("crashed in its construction; "), "{function}: {why}");
        assert_eq!(module(&mounted, "firewall", "state"), "loaded\n");
    }
}

#[test]
fn a_full_stack_in_a_plugin_is_told_as_ever_and_marked() {
    let (mounted, mut daemon, fw, odd) = scene();
    let signal = crash(&mounted, &mut daemon, &odd, "overflow");
    assert_eq!(signal, libc::SIGABRT, "the standard library's own end of a stack overflow");
    let log = mounted.foreground_log();
    assert!(log.contains("has overflowed its stack"), "{log}");
    mounted.mount();
    is_marked(&mounted);
    fw.act("destroy");
}

#[test]
fn kill_9_or_a_signal_from_elsewhere_during_a_call_is_no_crash_of_the_plugin() {
    for signal in [libc::SIGKILL, libc::SIGSEGV, libc::SIGABRT] {
        let (mounted, mut daemon, fw, odd) = scene();
        odd.put("say", "read: wait\n");
        let calls = || module(&mounted, "odd", "calls").trim().parse::<u64>().expect("a number");
        let before = calls();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| errno(odd.try_get("odd/value")));
            eventually("the call is under way", || calls() > before);
            send(daemon.id(), signal);
            assert_eq!(daemon.wait().expect("the daemon ends").signal(), Some(signal));
            assert_ne!(reader.join().expect("the reader"), 0);
        });
        eventually("the mount is stale", || errno(fs::read_dir(mounted.path())) == libc::ENOTCONN);
        mounted.mount();
        assert_eq!(module(&mounted, "odd", "state"), "loaded\n");
        fw.act("destroy");
    }
}

/// Sends a signal to the very thread that is in the plugin's call: the one lane that sleeps.
#[track_caller]
fn send(pid: u32, signal: i32) {
    let tasks = format!("/proc/{pid}/task");
    let sleeps = |thread: &String| {
        let read = |name: &str| fs::read_to_string(format!("{tasks}/{thread}/{name}")).unwrap_or_default();
        let call = read("syscall").split(' ').next().and_then(|number| number.parse().ok());
        read("comm") == "nfio-lane\n" && call == Some(libc::SYS_clock_nanosleep)
    };
    let mut found = None;
    eventually("a lane sleeps in the call", || {
        let threads = fs::read_dir(&tasks).expect("the daemon's threads").flatten();
        found = threads.map(|thread| thread.file_name().to_string_lossy().into_owned()).find(sleeps);
        found.is_some()
    });
    let thread: i32 = found.expect("a thread").parse().expect("its id");
    // SAFETY: tgkill(2) takes three numbers.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, pid, thread, signal) };
    assert_eq!(sent, 0, "tgkill of {thread}");
}
