use std::os::unix::fs::{PermissionsExt, chown};

use super::*;
use crate::vnf::bed::{A, Bed};

/// The code of an activate of root's instance after `change`, with a boot.conf that policy grants to root alone.
fn judged(change: impl FnOnce(&Bed)) -> (i32, String) {
    let bed = Bed::new();
    bed.write("config/boot.conf", "privileged = true\n");
    change(&bed);
    (bed.code("activate"), bed.last_error())
}

fn mode(bed: &Bed, file: &str, mode: u32) {
    std::fs::set_permissions(bed.path(file), std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_user_without_a_fitting_name_is_called_by_number() {
    assert_eq!(user_name(0), "root");
    assert_eq!(user_name(3_999_999_999), "uid3999999999");
}

/// Only root can hand files to others.
#[track_caller]
fn require_root() {
    assert!(nix::unistd::geteuid().is_root(), "this test gives files to other users: run it as root");
}

#[test]
fn whoever_can_change_what_a_guest_is_gets_what_policy_grants() {
    require_root();
    assert_eq!(judged(|_| {}).0, 0);
    for file in ["", "config", "machine", "config/boot.conf", "machine/ip", "machine/vm.memory"] {
        let (code, told) = judged(|bed| chown(bed.path(file), Some(1234), None).unwrap());
        assert_eq!(code, 727, "{file}");
        assert!(told.contains("boot.conf: privileged") && told.contains("user id 1234, who owns"), "{told}");
        assert!(told.contains("privileged = true under [policy] in nfio.toml"), "{told}");
    }
    let (code, told) = judged(|bed| {
        chown(bed.path("config/boot.conf"), None, Some(1235)).unwrap();
        mode(bed, "config/boot.conf", 0o660);
    });
    assert!(code == 727 && told.contains("group id 1235, which may write config/boot.conf"), "{told}");
    let (code, told) = judged(|bed| mode(bed, "machine", 0o777));
    assert!(code == 727 && told.contains("everybody, who may write machine"), "{told}");
    // What only says when a guest does something, not what it is.
    let (code, _) = judged(|bed| {
        chown(bed.path("action"), Some(1234), None).unwrap();
        mode(bed, "config/nf_conf", 0o666);
    });
    assert_eq!(code, 0);
}

#[test]
fn a_tenants_guest_is_held_to_every_key_of_policy() {
    require_root();
    for (file, text, key) in [
        ("config/boot.conf", "[capabilities]\nadd = [\"SYS_ADMIN\"]\n", "capabilities"),
        ("config/boot.conf", "pull = true\n", "pull = true"),
        ("config/boot.conf", "[[port]]\nhost = 22\nguest = 22\n", "ports = true"),
        ("config/boot.conf", "[[interface]]\nbridge = \"br0\"\n", "bridges = true"),
        ("machine/vm.image", "/\n", "image_paths = true"),
        ("machine/ip", "192.0.2.7\n", "hosts"),
    ] {
        let bed = Bed::new();
        chown(bed.path(""), Some(1234), None).unwrap();
        assert_eq!(bed.code("activate"), 0);
        bed.act("destroy").unwrap();
        assert!(!bed.shared.world().spec.as_ref().unwrap().absolute_image);
        bed.write(file, text);
        assert_eq!(bed.code("activate"), 727, "{text}");
        assert!(
            bed.last_error().contains(&format!("grant it with {key} under [policy]")),
            "{}",
            bed.last_error()
        );
        assert!(!bed.private("record.toml").exists());
    }
}

#[test]
fn files_for_the_guest_come_from_below_config_alone() {
    for source in ["../machine/ip", "/etc/hostname", "link"] {
        let bed = Bed::new();
        std::os::unix::fs::symlink("/etc/hostname", bed.path("config/link")).unwrap();
        bed.write("config/boot.conf", &format!("[[file]]\nsource = {source:?}\ntarget = \"/x\"\n"));
        assert_eq!(bed.code("activate"), 720, "{source}");
    }
    let bed = Bed::new();
    bed.write("config/page", "hello");
    bed.write("config/boot.conf", "[[file]]\nsource = \"page\"\ntarget = \"/x\"\nmode = 0o600\n");
    bed.act("activate").unwrap();
    let files = bed.shared.world().spec.take().unwrap().files;
    assert_eq!((files[0].data.as_slice(), files[0].mode), (&b"hello"[..], 0o600));
}

#[test]
fn names_and_labels_say_whose_guest_it_is() {
    let bed = Bed::new().be("running");
    let spec = bed.shared.world().spec.take().unwrap();
    assert_eq!(spec.name, format!("{}-box-a", spec.user));
    assert_eq!((spec.labels.ty.as_str(), spec.labels.instance.as_str()), (A.ty, A.name));
    assert_eq!(spec.labels.id, bed.instance().id().unwrap());
}
