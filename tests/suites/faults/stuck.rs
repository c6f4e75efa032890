//! A guest that never answers a command: whoever asks it is told so in time, and others go on.

use nfio_tests::{Instance, Mounted, Options, errno};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::RULES;

/// Has a guest's nft never come back.
fn silence(fw: &Instance) {
    fw.run("printf '#!/bin/sh\\nexec sleep 1000000\\n' > /usr/sbin/nft");
}

#[test]
fn sixteen_readers_stuck_on_one_guest_hold_up_nobody_else() {
    let config = "[deadlines]\nread = 2\n".to_owned();
    let mounted = Mounted::with(Options { config, ..Options::default() });
    let (stuck, other) = (mounted.firewall("stuck"), mounted.firewall("other"));
    for fw in [&stuck, &other] {
        fw.put("config/nf_conf", RULES);
        fw.act("activate");
    }
    silence(&stuck);
    let timed_out = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..4 {
                    let error = errno(stuck.try_get("stats/rules"));
                    assert!([libc::ETIMEDOUT, libc::EAGAIN].contains(&error), "errno {error}");
                    timed_out.fetch_add(usize::from(error == libc::ETIMEDOUT), Ordering::Relaxed);
                }
            });
        }
        nfio_tests::eventually("readers are told that their time is up", || {
            timed_out.load(Ordering::Relaxed) >= 4
        });
        // The other guest of the same type answers, at once or at the next try of a busy machine.
        for _ in 0..10 {
            nfio_tests::eventually("another guest's rules are read", || {
                other.try_get("stats/rules").is_ok_and(|rules| rules.contains("echo-request"))
            });
            assert_eq!((other.status().as_str(), stuck.status().as_str()), ("running", "running"));
            assert!(stuck.try_get("stats/rx_bytes").is_ok(), "what needs no command is answered");
        }
        other.act("restart");
        let third = mounted.firewall("third");
        third.act("activate");
        third.act("destroy");
    });
    assert_eq!(mounted.module("firewall", "state"), "loaded", "the guest is at fault, not the plugin");
    // Neither do its verbs hang for good, and it can be got rid of.
    stuck.act("stop");
    stuck.act("destroy");
    other.act("destroy");
}
