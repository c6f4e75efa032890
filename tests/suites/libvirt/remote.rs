//! A virtual machine on another host, whose libvirt is reached by SSH and with mutual TLS.

use super::life_cycle::DROP;
use nfio_tests::{Libvirtd, Mounted, Space, errno, eventually, vm};
use std::os::unix::fs::symlink;

#[test]
fn a_machine_of_another_host_is_reached_by_ssh_and_by_tls() {
    let libvirtd = Libvirtd::remote();
    // Without a disk: those are made on this machine alone.
    let directory = tempfile::tempdir_in("/run").expect("a directory below /run");
    for file in ["vmlinuz", "initrd.img"] {
        symlink(vm().join(file), directory.path().join(file)).expect("a link");
    }
    let mut mounted = Mounted::on(libvirtd.by_ssh());
    let guest = mounted.firewall("far");
    guest.put("machine/vm.memory", "192M\n");
    assert_eq!(errno(guest.try_act("activate")), libc::EINVAL, "a disk");
    assert!(guest.get("last_error").contains("disks of other hosts"), "{}", guest.get("last_error"));
    guest.put("machine/vm.image", &format!("{}\n", directory.path().display()));
    guest.put("config/nf_conf", DROP);
    guest.act("activate");
    assert_eq!(libvirtd.domains(), ["root-firewall-far"]);
    assert!(!guest.answers_ping());
    assert!(guest.counter("pkt_drops") >= 1 && guest.counter("rx_bytes") > 0);
    eventually("its console is its log", || guest.get("log").contains("far is up"));
    let (client, server) = (Space::new(&[]), Space::new(&[]));
    let chain = mounted.chain("edge", [&client.end(), &server.end()], &[("one", &[&guest], &[])]);
    assert_eq!(errno(chain.try_act("activate")), libc::EOPNOTSUPP, "{}", chain.get("last_error"));
    assert!(chain.get("last_error").contains("service chains connect guests of this machine only"));
    let boot = guest.run("cat /proc/sys/kernel/random/boot_id");
    mounted.umount();

    // The same machine, by the other way.
    mounted.reach(libvirtd.by_tls());
    mounted.mount();
    assert_eq!(guest.status(), "running");
    assert_eq!(guest.run("cat /proc/sys/kernel/random/boot_id"), boot);
    guest.put("config/nf_conf", "");
    guest.act("reload");
    assert!(guest.answers_ping());
    guest.run("echo heard again > /dev/console");
    eventually("its console goes on in the log", || guest.get("log").contains("heard again"));
    guest.act("stop");
    assert_eq!(guest.status(), "exited");
    guest.act("destroy");
    assert!(libvirtd.domains().is_empty() && libvirtd.taps().is_empty());
}
