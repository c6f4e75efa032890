//! Machines do not wait for each other, not even for one that has fallen silent.

use nfio_tests::{Libvirtd, Mounted, errno, eventually};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn two_boot_side_by_side_and_an_agent_that_is_silent_delays_nobody() {
    let libvirtd = Libvirtd::machines(2);
    let mounted = Mounted::on(libvirtd.place());
    let (vm, silent) = (mounted.firewall("vm"), mounted.firewall("silent"));
    for guest in [&vm, &silent] {
        guest.put("machine/vm.memory", "192M\n");
    }
    let booting = [AtomicBool::new(false), AtomicBool::new(false)];
    let together = AtomicBool::new(false);
    thread::scope(|scope| {
        for (guest, flag) in [&vm, &silent].into_iter().zip(&booting) {
            scope.spawn(|| {
                flag.store(true, Ordering::SeqCst);
                guest.act("activate");
                flag.store(false, Ordering::SeqCst);
            });
        }
        eventually("both boot at once", || {
            let running = libvirtd.virsh(&["list", "--name"]).lines().count() == 2;
            let unfinished = booting.iter().all(|flag| flag.load(Ordering::SeqCst));
            together.fetch_or(running && unfinished, Ordering::SeqCst);
            together.load(Ordering::SeqCst) || booting.iter().all(|flag| !flag.load(Ordering::SeqCst))
        });
    });
    assert!(together.load(Ordering::SeqCst), "one booted after the other");
    assert!(vm.answers_ping() && silent.answers_ping());
    assert_ne!(vm.address(), silent.address());

    // The agent is there and says nothing, from after this command on.
    silent.run("setsid sh -c 'sleep 1; kill -STOP $(pidof qemu-ga)' >/dev/null 2>&1 </dev/null &");
    mounted.umount();
    mounted.configure("[deadlines]\nverb = 6\n");
    let start = Instant::now();
    mounted.mount();
    assert!(start.elapsed() < Duration::from_secs(4), "a mount took {:?}", start.elapsed());
    assert_eq!((vm.status(), silent.status()), ("running".into(), "running".into()));
    let ping = r#"{"execute": "guest-ping"}"#;
    let ask = ["qemu-agent-command", "root-firewall-silent", "--timeout", "1", ping];
    eventually("the agent is silent", || !libvirtd.try_virsh(&ask).status.success());
    let answered = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let number = errno(silent.try_write("command", "true"));
            answered.store(true, Ordering::SeqCst);
            assert_eq!(number, libc::ETIMEDOUT, "{}", silent.get("last_error"));
        });
        for _ in 0..20 {
            assert_eq!(silent.status(), "running");
            assert!(silent.counter("rx_bytes") > 0);
        }
        assert_eq!(vm.run("echo here"), "here");
        vm.act("pause");
        vm.act("unpause");
        assert!(!answered.load(Ordering::SeqCst), "all of this was done before the silent one was given up");
    });
    assert!(silent.answers_ping(), "it is only the agent");
    silent.act("destroy");
    assert_eq!(libvirtd.domains(), ["root-firewall-vm"]);
    vm.act("destroy");
}
