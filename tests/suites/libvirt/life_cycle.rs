//! A firewall that is a virtual machine is a firewall like any other.

use nfio_tests::{Instance, Libvirtd, Mounted, errno, eventually};
use std::io::Read;

pub(super) const DROP: &str = "table inet filter {\n\tchain input {\n\t\ttype filter hook input priority 0; policy accept;\n\t\t\
                    icmp type echo-request drop\n\t}\n}\n";

fn told(instance: &Instance) -> String {
    let mut text = String::new();
    let file = std::fs::File::open(instance.file("last_error"));
    let _ = file.and_then(|mut file| file.read_to_string(&mut text));
    text
}

#[test]
fn a_virtual_machine_goes_through_the_whole_life_cycle_and_leaves_nothing() {
    let libvirtd = Libvirtd::machines(1);
    let mounted = Mounted::on(libvirtd.place());
    let vm = mounted.firewall("vm-a");
    vm.put("machine/vm.memory", "192M\n");
    vm.act("activate");
    assert_eq!(vm.status(), "running");
    assert_eq!(libvirtd.domains(), ["root-firewall-vm-a"]);
    assert!(vm.answers_ping(), "{}", vm.address());
    assert!(vm.counter("rx_bytes") > 0 && vm.counter("tx_bytes") > 0);
    assert_eq!(vm.run("cat /proc/sys/net/ipv4/ip_forward"), "1");
    assert_eq!(vm.run("hostname"), "vm-a");

    vm.put("config/nf_conf", DROP);
    vm.act("reload");
    assert!(!vm.answers_ping());
    assert!(vm.counter("pkt_drops") >= 1);
    vm.put("config/nf_conf", "nonsense\n");
    assert_eq!(errno(vm.try_act("reload")), libc::EINVAL, "{}", told(&vm));
    vm.put("config/nf_conf", DROP);

    vm.act("pause");
    assert_eq!(vm.status(), "paused");
    assert_eq!(errno(vm.try_write("command", "true")), libc::EHOSTDOWN);
    vm.act("unpause");
    vm.act("restart");
    assert_eq!(vm.status(), "running");
    assert!(!vm.answers_ping(), "the rule holds");
    vm.act("stop");
    assert_eq!(vm.status(), "exited");
    vm.act("start");
    assert!(!vm.answers_ping(), "the rule holds");
    eventually("its console is its log", || vm.get("log").contains("vm-a is up"));
    vm.act("destroy");
    assert_eq!(vm.status(), "undeployed");
    assert!(libvirtd.domains().is_empty() && libvirtd.taps().is_empty());
}

#[test]
fn what_is_done_to_a_domain_by_hand_shows() {
    let libvirtd = Libvirtd::machines(1);
    let mounted = Mounted::on(libvirtd.place());
    let vm = mounted.firewall("vm-b");
    vm.put("config/nf_conf", DROP);
    vm.act("activate");
    for (word, status) in [("suspend", "paused"), ("resume", "running"), ("destroy", "exited")] {
        libvirtd.virsh(&[word, "root-firewall-vm-b"]);
        eventually(&format!("virsh {word} shows"), || vm.status() == status);
    }
    libvirtd.virsh(&["start", "root-firewall-vm-b"]);
    eventually("it runs again", || vm.status() == "running");
    eventually("and has its rules", || {
        vm.try_write("command", "nft list ruleset").is_ok() && vm.get("output").contains("drop")
    });
    vm.act("destroy");
}
