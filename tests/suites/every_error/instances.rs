//! What making an instance fails with, what the user wrote into one, and what that may not ask for.

use super::{fails, say, told};
use nfio_tests::{Covered, Mounted, Options, errno};
use std::fs;

#[test]
fn class_704_a_skeleton_that_cannot_be_made() {
    let mounted = Mounted::with_odd(Options::default());
    let odd = mounted.instance("odd", "a");
    let private = mounted.root().join(".nfio/instances/odd");
    fs::create_dir_all(private.parent().expect("instances")).expect("nfio's own directory");
    fs::write(&private, "somebody's file where a directory belongs").expect("a file in the way");
    assert_eq!(errno(fs::create_dir(odd.path())), libc::EIO);
    assert!(!odd.path().exists());
    // There is no instance and so no last_error; the log tells.
    let log = mounted.log();
    assert!(log.contains("odd/a cannot be made: VNFCreateError: "), "{log}");
    fs::remove_file(&private).expect("unlink");
    fs::create_dir(odd.path()).expect("mkdir");
}

#[test]
fn an_instance_whose_module_fails_in_mkdir_is_not_there_at_all() {
    let mounted = Mounted::with_odd(Options::default());
    let make = |name: &str| errno(fs::create_dir(mounted.instance("odd", name).path()));
    // The module's own class counts; an errno that the kernel would choke on is EIO.
    for (name, expected) in [
        ("raise-720.a", libc::EINVAL),
        ("raise-704.a", libc::EIO),
        ("errno-28.a", libc::ENOSPC),
        ("errno-600.a", libc::EIO),
        ("errno-0.a", libc::EIO),
        ("panic.a", libc::EIO),
    ] {
        assert_eq!(make(name), expected, "{name}");
        assert!(!mounted.instance("odd", name).path().exists(), "{name}");
    }
    let ty = mounted.root().join("nf-types/odd");
    assert_eq!(fs::read_dir(&ty).expect("the type in ROOT").count(), 0, "nothing stands aside");
    // A fault of the disk keeps its errno too.
    let covered = Covered::read_only(&ty);
    assert_eq!(make("a"), libc::EROFS);
    drop(covered);
    assert_eq!(make("a"), 0);
}

#[test]
fn classes_713_714_715_empty_names() {
    let mounted = Mounted::with_odd(Options::default());
    let odd = mounted.odd("a");
    odd.put("machine/vm.image", "\n");
    let inval = libc::EINVAL;
    fails(&odd, "activate", 713, "VNFImageNameIsEmptyError", "EINVAL", inval, "machine/vm.image");
    odd.put("machine/vm.image", "image\n");
    odd.put("machine/ip", "");
    fails(&odd, "activate", 714, "VNFHostNameIsEmptyError", "EINVAL", inval, "machine/ip");
    say(&odd, "write: raise 715");
    assert_eq!(errno(odd.try_write("poke", "x")), inval);
    told(&odd, 715, "VNFNameIsEmptyError", "EINVAL", "poke", "as it was told");
}

#[test]
fn classes_720_721_722_what_the_user_wrote() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.put("config/boot.conf", "frobnicate = 1\n");
    fails(&fw, "activate", 720, "VNFConfigurationError", "EINVAL", libc::EINVAL, "frobnicate");
    fw.put("config/boot.conf", "");
    assert_eq!(errno(fw.try_act("frobnicate")), libc::EINVAL);
    told(&fw, 721, "UnknownVerbError", "EINVAL", "action", "frobnicate");
    fw.act("activate");
    fails(&fw, "activate", 722, "VNFAlreadyDeployedError", "EEXIST", libc::EEXIST, "destroy");
    fw.act("destroy");
}

#[test]
fn class_727_what_policy_does_not_grant() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    std::os::unix::fs::chown(fw.file("config/boot.conf"), Some(65534), None).expect("chown");
    fails(&fw, "activate", 727, "PolicyError", "EPERM", libc::EPERM, "image_paths");
}
