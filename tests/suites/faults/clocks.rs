//! The machine's clock jumps: deadlines, waits and guests go by the monotonic one.

use nfio_tests::{Instance, Mounted, Options, Place, errno, eventually};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::RULES;
use super::points::only;

/// A year, in seconds.
const YEAR: i64 = 365 * 86_400;
/// What a read may take in this test.
const DEADLINE: Duration = Duration::from_secs(2);

/// A wall clock for nfio alone.
struct Clock(tempfile::TempDir);

impl Clock {
    fn new() -> Self {
        let clock = Self(tempfile::tempdir_in("/run").expect("a directory below /run"));
        let source = clock.0.path().join("clock.c");
        fs::write(&source, include_str!("clock.c")).expect("the source");
        let built =
            Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(clock.library()).arg(&source).output();
        let built = built.expect("a C compiler, which Rust links with too");
        assert!(built.status.success(), "cc: {}", String::from_utf8_lossy(&built.stderr));
        clock.jump(0);
        clock
    }

    fn library(&self) -> PathBuf {
        self.0.path().join("clock.so")
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("seconds")
    }

    /// Sets it that far from the machine's own, in seconds.
    fn jump(&self, seconds: i64) {
        let aside = self.0.path().join("aside");
        fs::write(&aside, seconds.to_string()).expect("the file");
        fs::rename(aside, self.file()).expect("the file");
    }

    fn mounted(&self) -> Mounted {
        let text = |path: &Path| path.display().to_string();
        let environment = vec![("LD_PRELOAD", text(&self.library())), ("NFIO_CLOCK", text(&self.file()))];
        let config = format!("[deadlines]\nread = {}\n", DEADLINE.as_secs());
        let place = Place { environment, ..Place::default() };
        let mounted = Mounted::unmounted(Options { config, place, ..Options::default() });
        only(&mounted, &["firewall"]);
        mounted.mount();
        mounted
    }
}

/// The year in which nfio thinks that a verb failed.
#[track_caller]
fn year(fw: &Instance) -> i64 {
    assert_ne!(errno(fw.try_act("frobnicate")), 0);
    let told = fw.get("last_error");
    let time = told.lines().find_map(|line| line.strip_prefix("time: ")).expect("a time");
    time[..4].parse().expect("a year")
}

/// A read that its guest never answers takes its deadline, while the clock jumps.
#[track_caller]
fn takes_its_deadline(clock: &Clock, stuck: &Instance, jump: i64) {
    let start = Instant::now();
    thread::scope(|scope| {
        let read = scope.spawn(|| errno(stuck.try_get("stats/rules")));
        thread::park_timeout(DEADLINE / 4);
        clock.jump(jump);
        assert_eq!(read.join().expect("a read"), libc::ETIMEDOUT);
    });
    let took = start.elapsed();
    assert!(
        took >= DEADLINE - Duration::from_millis(100),
        "after {took:?}: by the jump, not by its deadline"
    );
    assert!(took < DEADLINE * 15, "after {took:?}");
}

#[test]
fn a_clock_that_jumps_ends_no_call_early_or_late_and_no_guest() {
    let clock = Clock::new();
    let mounted = clock.mounted();
    let (fw, always) = (mounted.firewall("fw"), mounted.firewall("always"));
    fw.put("config/nf_conf", RULES);
    always.put("config/boot.conf", "restart = \"always\"\n");
    let now = year(&fw);
    for fw in [&fw, &always] {
        fw.act("activate");
    }
    let began = fw.run("cut -d' ' -f22 /proc/1/stat");
    for jump in [10 * YEAR, -20 * YEAR, 0] {
        clock.jump(jump);
        assert!((year(&fw) - now - jump / YEAR).abs() <= 1, "nfio sees the jump");
        for verb in ["reload", "pause", "unpause"] {
            fw.act(verb);
        }
        assert_eq!((fw.status().as_str(), fw.get("last_error").as_str()), ("running", ""));
        assert!(fw.get("stats/rules").contains("echo-request"));
        let before = always.run("cut -d' ' -f22 /proc/1/stat");
        nfio_tests::end_guest(&mounted.guest(&always));
        eventually("a guest that is wanted always comes back", || {
            always.try_write("command", "cut -d' ' -f22 /proc/1/stat").is_ok()
                && always.get("output") != before
        });
        mounted.kill();
        mounted.mount();
        assert_eq!(fw.run("cut -d' ' -f22 /proc/1/stat"), began, "the same first process");
    }
    fw.run("printf '#!/bin/sh\\nexec sleep 1000000\\n' > /usr/sbin/nft");
    for jump in [10 * YEAR, -20 * YEAR] {
        takes_its_deadline(&clock, &fw, jump);
    }
    for fw in [fw, always] {
        fw.act("destroy");
        assert_eq!(fw.status(), "undeployed");
    }
}
