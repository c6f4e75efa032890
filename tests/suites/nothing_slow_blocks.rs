//! While one verb takes its time, everything else goes on.

use nfio_tests::{Mounted, slow_image};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

#[test]
fn nothing_waits_for_a_slow_activate_elsewhere() {
    let mounted = Mounted::new();
    let (slow, other) = (mounted.firewall("slow"), mounted.firewall("other"));
    slow.put("machine/vm.image", &format!("{}\n", slow_image().display()));
    slow.put("config/nf_conf", "table inet filter {\n}\n");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            slow.act("activate");
            done.store(true, Ordering::SeqCst);
        });
        nfio_tests::eventually("the slow activate is under way", || slow.status() != "undeployed");
        // Five seconds are far more than hundreds of these take; none may wait for the activate.
        for _ in 0..100 {
            assert_eq!(fs::read_dir(slow.path().parent().expect("type")).expect("ls").count(), 2);
            assert_eq!(other.status(), "undeployed");
            fs::metadata(slow.file("action")).expect("stat");
            assert!(slow.get("machine/ip").starts_with("127"));
            assert_ne!(slow.status(), "undeployed");
        }
        other.act("activate");
        other.act("destroy");
        assert!(!done.load(Ordering::SeqCst), "all of this was done before the slow activate was");
    });
    assert_eq!(slow.status(), "running");
    slow.act("destroy");
}

#[test]
fn instances_are_activated_side_by_side() {
    let mounted = Mounted::new();
    let all: Vec<_> = (0..8).map(|n| mounted.firewall(&format!("fw-{n}"))).collect();
    thread::scope(|scope| {
        for fw in &all {
            scope.spawn(|| fw.act("activate"));
        }
    });
    let mut addresses: Vec<_> = all.iter().map(nfio_tests::Instance::address).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), all.len(), "each has an address of its own");
    for fw in &all {
        assert_eq!(fw.status(), "running");
        fw.act("destroy");
    }
}
