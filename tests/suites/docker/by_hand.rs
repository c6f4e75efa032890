//! What somebody does by hand, with docker itself, is seen within a second; a guest that comes back has its rules.

use super::RULES;
use nfio_tests::{Engine, Instance, Mounted, eventually};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Does something to the guest with docker, and follows `status` by poll until it is `word`: within a second of the
/// command's end, and never by looking without being woken.
#[track_caller]
fn by_hand(engine: &Engine, fw: &Instance, arguments: &[&str], word: &str) {
    let status = File::open(fw.file("status")).expect("open of status");
    let read = || {
        let mut text = [0; 64];
        let length = status.read_at(&mut text, 0).expect("a read of status");
        String::from_utf8_lossy(&text[..length]).trim().to_owned()
    };
    assert_ne!(read(), word, "before docker {arguments:?}");
    engine.docker(arguments);
    let start = Instant::now();
    loop {
        let mut polled = [PollFd::new(status.as_fd(), PollFlags::POLLPRI | PollFlags::POLLERR)];
        let woken = poll(&mut polled, PollTimeout::from(10_000_u16)).expect("poll");
        assert!(woken == 1, "docker {arguments:?} wakes nobody; status is {}", read());
        if read() == word {
            break;
        }
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(1), "docker {arguments:?}: status followed after {took:?}");
}

fn hands(engine: &Engine, mounted: &Mounted, name: &str) {
    let fw = mounted.firewall(name);
    fw.put("config/nf_conf", RULES);
    fw.act("activate");
    assert!(!fw.answers_ping());
    let container = format!("root-firewall-{name}");
    let hand = |arguments: &[&str], word: &str| by_hand(engine, &fw, arguments, word);
    hand(&["stop", &container], "exited");
    hand(&["start", &container], "running");
    eventually("the rules are back after docker start", || {
        fw.try_get("stats/rules").is_ok_and(|rules| rules.contains("echo-request"))
    });
    assert!(!fw.answers_ping());
    hand(&["pause", &container], "paused");
    hand(&["unpause", &container], "running");
    hand(&["kill", &container], "exited");
    hand(&["start", &container], "running");
    eventually("the rules are back", || {
        fw.try_get("stats/rules").is_ok_and(|rules| rules.contains("echo-request"))
    });
    assert!(!fw.answers_ping());
    engine.docker(&["rm", "-f", &container]);
    let start = Instant::now();
    eventually("a guest that was removed is not there", || {
        nfio_tests::errno(fw.try_get("stats/rx_bytes")) == libc::ENXIO
    });
    assert!(start.elapsed() < Duration::from_secs(1), "seen after {:?}", start.elapsed());
    fw.act("destroy");
    assert_eq!(fw.status(), "undeployed");
}

#[test]
fn on_this_machine() {
    let engine = Engine::local();
    hands(engine, &Mounted::on(engine.by_socket()), "hand");
}

#[test]
fn on_another_host() {
    let engine = Engine::remote();
    hands(engine, &Mounted::on(engine.by_tls()), "hand-tls");
}
