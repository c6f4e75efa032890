//! A machine outlives nfio and libvirt, and nfio finds both it and libvirt again.

use super::life_cycle::DROP;
use nfio_tests::{Instance, Libvirtd, Mounted, errno, eventually};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// A domain that somebody else has: one that is there, paused before its first instruction.
const FOREIGN: &str = "<domain type='qemu'><name>root-firewall-vm-x</name><memory unit='MiB'>16</memory>\
                       <os><type>hvm</type></os></domain>";

/// Reads status until it fails; no read may take long.
#[track_caller]
fn status_fails(vm: &Instance) {
    eventually("a read tells that nobody answers", || {
        let start = Instant::now();
        let error = errno(vm.try_get("status"));
        assert!(start.elapsed() < Duration::from_secs(6), "a read took {:?}", start.elapsed());
        [libc::ECONNREFUSED, libc::ETIMEDOUT].contains(&error)
    });
}

#[test]
fn it_runs_on_when_nfio_and_libvirt_end() {
    let libvirtd = Libvirtd::machines(1);
    let mounted = Mounted::on(libvirtd.place());
    let directory = tempfile::tempdir_in("/run").expect("a directory below /run");
    let xml = directory.path().join("foreign.xml");
    std::fs::write(&xml, FOREIGN).expect("a domain's XML");
    libvirtd.virsh(&["define", xml.to_str().expect("UTF-8")]);
    libvirtd.virsh(&["start", "root-firewall-vm-x", "--paused"]);
    let foreign = || {
        let told = libvirtd.virsh(&["dominfo", "root-firewall-vm-x"]);
        let kept = ["Id:", "UUID:", "State:"];
        told.lines().filter(|line| kept.iter().any(|k| line.starts_with(k))).collect::<Vec<_>>().join("\n")
    };
    let at_first = foreign();
    assert!(at_first.contains("paused"), "{at_first}");

    let vm = mounted.firewall("vm-c");
    vm.put("machine/vm.memory", "192M\n");
    vm.put("config/nf_conf", DROP);
    vm.act("activate");
    let boot = vm.run("cat /proc/sys/kernel/random/boot_id");
    let before = vm.counter("rx_bytes");
    assert!(before > 0);

    mounted.kill();
    mounted.mount();
    assert_eq!(vm.status(), "running");
    assert_eq!(vm.run("cat /proc/sys/kernel/random/boot_id"), boot);
    assert!(vm.counter("rx_bytes") >= before);

    libvirtd.kill();
    status_fails(&vm);
    for value in ["stats/rx_bytes", "machine/vm.ip", "status"] {
        assert_eq!(errno(vm.try_get(value)), libc::ECONNREFUSED, "{value}");
    }
    assert_eq!(errno(vm.try_act("pause")), libc::ECONNREFUSED);
    let error = vm.get("last_error");
    assert!(error.contains("701") && error.contains("libvirt-sock"), "{error}");
    libvirtd.run();
    assert_eq!(foreign(), at_first, "another's domain, though its name is like ours");
    eventually("it is back", || vm.try_get("status").is_ok_and(|status| status == "running\n"));
    assert_eq!(vm.run("cat /proc/sys/kernel/random/boot_id"), boot, "the guest ran on");
    assert!(!vm.answers_ping(), "with its rules");

    // One that hears and does not answer.
    libvirtd.signal(Signal::SIGSTOP);
    status_fails(&vm);
    libvirtd.signal(Signal::SIGCONT);
    eventually("it is back", || vm.try_get("status").is_ok_and(|status| status == "running\n"));

    // Started anew while nobody looks, by a libvirtd whose numbers of domains begin anew, too: it is another run.
    let number = |name: &str| libvirtd.virsh(&["domid", name]).parse::<u32>().expect("a number");
    let before = number("root-firewall-vm-c");
    mounted.kill();
    libvirtd.virsh(&["destroy", "root-firewall-vm-c"]);
    libvirtd.virsh(&["destroy", "root-firewall-vm-x"]);
    libvirtd.kill();
    libvirtd.run();
    libvirtd.virsh(&["start", "root-firewall-vm-x", "--paused"]);
    // The one that tried KVM had a number, too.
    while number("root-firewall-vm-x") + 1 < before {
        libvirtd.virsh(&["destroy", "root-firewall-vm-x"]);
        libvirtd.virsh(&["start", "root-firewall-vm-x", "--paused"]);
    }
    libvirtd.virsh(&["start", "root-firewall-vm-c"]);
    let at_last = foreign();
    mounted.mount();
    eventually("it has its rules in this run", || {
        vm.try_write("command", "nft list ruleset").is_ok() && vm.get("output").contains("drop")
    });
    assert_ne!(vm.run("cat /proc/sys/kernel/random/boot_id"), boot, "it is another boot");

    vm.act("destroy");
    assert_eq!(foreign(), at_last, "another's domain, though its name is like ours");
    libvirtd.virsh(&["destroy", "root-firewall-vm-x"]);
    libvirtd.virsh(&["undefine", "root-firewall-vm-x"]);
}
