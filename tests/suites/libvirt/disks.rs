//! A machine's disk is its own: a layer over the image, kept over a stop and gone with the guest.

use nfio_tests::{Instance, Libvirtd, Mounted, errno, vm};
use std::fs;
use std::path::PathBuf;

fn layers(libvirtd: &Libvirtd) -> Vec<PathBuf> {
    fs::read_dir(libvirtd.layers())
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

fn has_note(vm: &Instance) -> bool {
    vm.run("cat /root/note 2>/dev/null || echo none") == "kept"
}

#[test]
fn what_a_guest_writes_is_kept_over_a_stop_and_ends_with_it() {
    let libvirtd = Libvirtd::machines(1);
    let mounted = Mounted::on(libvirtd.place());
    let disk = vm().join("disk.qcow2");
    let before = fs::read(&disk).expect("the image's disk");
    let guest = mounted.firewall("disk");
    guest.put("machine/vm.memory", "192M\n");
    guest.act("activate");
    assert!(!has_note(&guest));
    guest.run("mkdir -p /root && echo kept > /root/note");
    assert_eq!(layers(&libvirtd).len(), 1);
    guest.act("stop");
    guest.act("start");
    assert!(has_note(&guest), "a file is there after stop and start");
    // libvirt's own refusals are told as such, and not as a libvirt that does not answer.
    guest.act("stop");
    let layer = layers(&libvirtd).remove(0);
    fs::remove_file(&layer).expect("rm");
    assert_eq!(errno(guest.try_act("start")), libc::EIO, "{}", guest.get("last_error"));
    let told = guest.get("last_error");
    assert!(told.contains(&layer.display().to_string()) && !told.contains("does not answer"), "{told}");
    guest.act("destroy");
    assert!(layers(&libvirtd).is_empty(), "{:?}", layers(&libvirtd));
    guest.act("activate");
    assert!(!has_note(&guest), "another guest has a disk of its own");
    guest.act("destroy");
    assert!(layers(&libvirtd).is_empty(), "{:?}", layers(&libvirtd));
    assert!(fs::read(&disk).expect("the image's disk") == before, "the image was written");
}
