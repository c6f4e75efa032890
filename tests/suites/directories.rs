//! Directories: names, where mkdir works, instances that appear and go whole, no guest orphaned.

use nfio_tests::{Mounted, errno};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

#[test]
fn a_new_instance_has_its_skeleton_and_belongs_to_its_maker() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    let modes = [
        ("action", 0o644),
        ("command", 0o600),
        ("output", 0o400),
        ("status", 0o444),
        ("last_error", 0o440),
        ("log", 0o440),
        ("config/boot.conf", 0o640),
        ("config/nf_conf", 0o640),
        ("machine/ip", 0o644),
        ("machine/vm.image", 0o644),
        ("machine/vm.vcpu", 0o644),
        ("machine/vm.memory", 0o644),
        ("machine/vm.ip", 0o444),
        ("stats/rx_bytes", 0o444),
        ("stats/tx_bytes", 0o444),
        ("stats/pkt_drops", 0o444),
    ];
    for (file, mode) in modes {
        let metadata = fs::metadata(fw.file(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{file}");
    }
    for value in ["status", "action", "stats/rx_bytes"] {
        assert_eq!(
            fs::metadata(fw.file(value)).expect("stat").size(),
            1000,
            "the manual's constant: {value}"
        );
    }
}

#[test]
fn names_that_could_do_harm_are_einval() {
    let mounted = Mounted::new();
    let ty = mounted.path().join("nf-types/firewall");
    for name in ["-a", ".hidden", "a b", "a;b", "a\nb", "ä", &"a".repeat(64)] {
        assert_eq!(errno(fs::create_dir(ty.join(name))), libc::EINVAL, "{name:?}");
    }
    fs::create_dir(ty.join("a".repeat(63))).expect("63 characters are allowed");
    assert_eq!(errno(fs::create_dir(mounted.path().join("nf-types/Fire-Wall"))), libc::EINVAL);
}

#[test]
fn mkdir_works_in_a_type_an_instance_and_chns_alone() {
    let mounted = Mounted::new();
    let at = |path: &str| mounted.path().join(path);
    assert_eq!(errno(fs::create_dir(at("elsewhere"))), libc::EPERM);
    assert_eq!(errno(fs::create_dir(at("modules/x"))), libc::EPERM);
    assert_eq!(errno(fs::create_dir(at("nf-types/firewall"))), libc::EEXIST);
    assert_eq!(errno(fs::create_dir(at("nf-types/absent"))), libc::ENOPKG);
    let fw = mounted.firewall("fw-a");
    assert_eq!(errno(fs::create_dir(fw.path())), libc::EEXIST);
    fs::create_dir(fw.file("config/parts")).expect("a plain directory");
    fs::create_dir(at("chns/edge")).expect("a chain");
    for place in ["file", "nf-types/file", "nf-types/firewall/file", "modules/file"] {
        assert_eq!(errno(fs::write(at(place), "x")), libc::EPERM, "{place}");
        assert_eq!(errno(std::os::unix::fs::symlink("x", at(place))), libc::EPERM, "{place}");
    }
}

#[test]
fn a_running_instance_cannot_be_removed_or_renamed_and_keeps_running() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    assert_eq!(errno(fs::remove_dir(fw.path())), libc::EBUSY);
    let other = mounted.path().join("nf-types/firewall/fw-b");
    assert_eq!(errno(fs::rename(fw.path(), &other)), libc::EBUSY);
    assert_eq!(errno(fs::remove_file(fw.file("action"))), libc::EBUSY);
    assert_eq!(errno(fs::rename(fw.file("stats"), fw.file("statistics"))), libc::EBUSY);
    let rm = Command::new("rm").arg("-rf").arg(fw.path()).output().expect("rm");
    assert!(!rm.status.success());
    assert_eq!(fw.status(), "running");
    assert!(fw.answers_ping());
    fw.act("destroy");
    assert!(!fw.path().join("nothing").exists());
    // `rm -rf` took the ordinary files, which are the user's; what is left of the skeleton goes with rmdir.
    fs::remove_dir(fw.path()).expect("rmdir of an undeployed instance");
    assert!(!fw.path().exists());
}

#[test]
fn rmdir_takes_the_skeleton_and_leaves_what_the_user_added() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.put("config/notes", "mine\n");
    assert_eq!(errno(fs::remove_dir(fw.path())), libc::ENOTEMPTY);
    assert_eq!(fw.get("config/notes"), "mine");
    fs::remove_dir_all(fw.path()).expect("rm -r removes all");
    assert!(!fw.path().exists());
}

#[test]
fn an_undeployed_instance_is_renamed_within_its_type_alone() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    let types = mounted.path().join("nf-types");
    assert_eq!(errno(fs::rename(fw.path(), types.join("random/fw-a"))), libc::EPERM);
    assert_eq!(errno(fs::rename(fw.path(), types.join("firewall/-bad"))), libc::EINVAL);
    fw.try_act("stop").expect_err("not deployed");
    fs::rename(fw.path(), types.join("firewall/fw-b")).expect("rename");
    let renamed = mounted.instance("firewall", "fw-b");
    assert!(renamed.get("last_error").contains("702"), "what is kept of it moves along");
    renamed.act("activate");
    renamed.act("destroy");
}

#[test]
fn special_files_are_neither_linked_nor_renamed() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    assert_eq!(errno(fs::hard_link(fw.file("status"), fw.file("config/status"))), libc::EPERM);
    assert_eq!(errno(fs::rename(fw.file("status"), fw.file("state"))), libc::EPERM);
    fs::set_permissions(fw.file("action"), fs::Permissions::from_mode(0o664)).expect("chmod");
    std::os::unix::fs::chown(fw.file("action"), None, Some(100)).expect("chgrp");
    mounted.umount();
    mounted.mount();
    let metadata = fs::metadata(fw.file("action")).expect("stat");
    assert_eq!((metadata.mode() & 0o777, metadata.gid()), (0o664, 100), "kept over a remount");
}

#[test]
fn a_type_with_a_layout_of_its_own_has_its_own_files_alone() {
    let mounted = Mounted::new();
    let random = mounted.instance("random", "r");
    fs::create_dir(random.path()).expect("mkdir");
    let mut names: Vec<_> = fs::read_dir(random.path())
        .expect("readdir")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(names, ["alpha", "beta", "gamma", "kappa", "omega", "theta"]);
    random.put("alpha", "plain\n");
    assert_eq!(random.get("alpha"), "plain");
    fs::remove_dir(random.path()).expect("rmdir");
}
