//! A ROOT that an enemy has prepared (an unpacked archive, a restored backup, a tenant's time alone with the disk): nfio
//! refuses to mount it with one sentence, or shows an error for what is wrong alone. It follows nothing out of ROOT,
//! never hangs and never panics.

mod enemy;

use enemy::{
    Dir, End, Fifo, File, Foreign, Huge, LinkToDir, LinkToFile, Loop, Thing, Zero, all, in_time, look_around,
    mount_hostile, picture, remove, umount, used,
};
use nfio_tests::errno;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

#[test]
fn a_frame_that_is_not_nfios_own_is_refused_in_a_sentence() {
    all(
        End::Refused,
        &[
            ("nf-types", &[LinkToDir, Fifo, File("")]),
            ("chns", &[LinkToDir, Zero]),
            (".nfio", &[LinkToDir, Loop, Fifo, File("x"), Foreign]),
            (".nfio/lock", &[LinkToFile, Loop, Fifo, Zero, Dir]),
            (
                ".nfio/root.toml",
                &[LinkToFile, Loop, Fifo, Zero, Dir, Huge, File("\0\u{1}"), File("format = 1\n")],
            ),
            (
                ".nfio/root.toml",
                &[
                    File("uuid = \"../../..\"\nformat = 1\n"),
                    File("uuid = 1\nformat = \"\\u001b[31m\"\n"),
                    File(
                        "uuid = \"00000000-0000-4000-8000-000000000000\"\nformat = 1\npath = \"\\u001b[31m\\n\"\n",
                    ),
                    File("format = 99\n"),
                    File("format = -1\n"),
                ],
            ),
        ],
    );
}

#[test]
fn files_of_nfios_own_that_are_none_are_neither_followed_nor_waited_for() {
    all(
        End::Refused,
        &[
            (".nfio/log", &[LinkToFile, Loop, Fifo, Zero, Dir]),
            (".nfio/instances", &[LinkToDir, Loop, Fifo, File("x")]),
            (".nfio/types", &[LinkToDir, Fifo, File("x")]),
            (".nfio/modules", &[LinkToDir, Fifo]),
            (".nfio/oci", &[LinkToDir, Fifo, File("x")]),
            (".nfio/oci/guests", &[LinkToDir, Fifo, File("x")]),
        ],
    );
}

#[test]
fn what_is_kept_of_one_instance_is_wrong_for_that_instance_alone() {
    all(
        End::Mounted,
        &[
            (".nfio/instances/firewall/fw-bad", &[LinkToDir, Loop, Fifo, Zero, File("x")]),
            (
                ".nfio/instances/firewall/fw-bad/record.toml",
                &[LinkToFile, Loop, Fifo, Zero, Dir, Huge, File(""), File("\0"), File("driver = \"Oci\"\n")],
            ),
            (
                ".nfio/instances/firewall/fw-bad/id",
                &[LinkToFile, Loop, Fifo, Zero, Dir, Huge, File("../../../x")],
            ),
            (".nfio/instances/firewall/fw-bad/last_error", &[LinkToFile, Loop, Fifo, Zero, Dir, Huge]),
            (".nfio/instances/firewall/fw-bad/log", &[LinkToFile, Loop, Fifo, Zero, Dir]),
            (".nfio/instances/firewall/fw-bad/output", &[LinkToFile, Fifo, Zero, Dir]),
            (".nfio/instances/evil", &[LinkToDir, Fifo, File("x")]),
            (".nfio/types/firewall.toml", &[LinkToFile, Fifo, Zero, Huge, File("\0")]),
            (
                ".nfio/types/evil.toml",
                &[LinkToFile, Loop, Fifo, Zero, Dir, Huge, File("name = \"../../x\"\n")],
            ),
            (".nfio/oci/guests/ID", &[LinkToDir, Fifo, Dir, File("x")]),
            (".nfio/oci/guests/.new-x", &[LinkToDir, Fifo, Dir]),
        ],
    );
}

/// A record as nfio writes it, of another driver, id, or place.
#[test]
fn a_forged_record_leads_nowhere() {
    let forged = |driver: &str, id: &str, name: &str| {
        format!(
            "driver = {driver:?}\nwanted = \"running\"\nrestart = \"always\"\n[guest]\nid = {id:?}\nname = {name:?}\n\
             host = \"127.0.0.1\"\nuser = \"root\"\nimage = \"/\"\n[guest.labels]\nroot = {id:?}\ntype = \"firewall\"\n\
             instance = \"fw-bad\"\nid = {id:?}\n"
        )
    };
    for (driver, id, name) in [
        ("Oci", "../../../../outside", "x"),
        ("Oci", "", ""),
        ("Oci", "00000000-0000-4000-8000-000000000000", "../../x"),
        ("Docker", "00000000-0000-4000-8000-000000000000", "x"),
        ("../../evil", "/", "x\ny"),
    ] {
        let text = forged(driver, id, name);
        mount_hostile(&text, End::Mounted, |mounted, _| {
            let private = mounted.private(&mounted.instance("firewall", "fw-bad"));
            fs::write(private.join("record.toml"), &text).expect("a forged record");
        });
    }
}

#[test]
fn types_and_instances_that_are_no_directories_are_not_entered() {
    all(
        End::Mounted,
        &[
            ("nf-types/evil", &[LinkToDir, Loop, Fifo, File("x")]),
            ("nf-types/random", &[LinkToDir, Loop, Fifo, Zero, File("x")]),
            ("nf-types/firewall/fw-x", &[LinkToDir, LinkToFile, Loop, Fifo, Zero, File("x")]),
            ("nf-types/firewall/fw-bad", &[LinkToDir, Fifo, Zero, File("x"), Foreign]),
            ("nf-types/firewall/.aside-x", &[LinkToDir, LinkToFile, Fifo, File("x"), Dir]),
            ("nf-types/firewall/.aside-x/within/out", &[LinkToDir]),
        ],
    );
}

#[test]
fn ordinary_and_special_files_in_the_wrong_shape_are_errors_of_their_instance() {
    let in_bad = |file: &str| format!("nf-types/firewall/fw-bad/{file}");
    for files in [
        ["action", "command", "status"],
        ["last_error", "log", "stats/rx_bytes"],
        ["stats", "machine", "config"],
        ["config/boot.conf", "machine/ip", "machine/vm.memory"],
    ] {
        let places = files.map(in_bad);
        let things: &[Thing] = &[LinkToDir, LinkToFile, Fifo, Dir];
        all(End::Mounted, &places.each_ref().map(|place| (place.as_str(), things)));
    }
}

#[test]
fn names_that_no_mkdir_would_have_made_are_not_shown() {
    mount_hostile("odd names", End::Mounted, |mounted, outside| {
        let ty = mounted.root().join("nf-types/firewall");
        let names: [&[u8]; 7] = [b"\xff\xfe", b"a b", b"-x", b"$(id)", b"a\nb", b"\x1b[31m", b".hidden"];
        for name in names {
            fs::create_dir(ty.join(OsStr::from_bytes(name))).expect("mkdir");
            fs::create_dir_all(mounted.root().join(".nfio/instances/firewall").join(OsStr::from_bytes(name)))
                .expect("mkdir");
        }
        symlink(outside, mounted.root().join("beside")).expect("symlink");
    });
}

#[test]
fn a_type_whose_directory_is_no_directory_is_refused_or_not_shown_but_does_not_hang() {
    for thing in [LinkToDir, Loop, Fifo, File("x")] {
        let (mounted, outside) = used();
        thing.put(&mounted.root().join("nf-types/firewall"), &outside);
        let before = picture(&outside);
        mounted.mount();
        let mount = mounted.path();
        let types = in_time("a look", move || {
            look_around(&mount);
            fs::read_dir(mount.join("nf-types")).expect("ls").count()
        });
        assert!(types >= 1, "{thing:?}: the other types are there");
        assert_ne!(errno(fs::create_dir(mounted.path().join("nf-types/firewall/fw-new"))), 0, "{thing:?}");
        assert_eq!(errno(fs::create_dir(mounted.path().join("nf-types/random/r"))), 0, "{thing:?}");
        assert!(!mounted.log().contains("panicked"), "{}", mounted.log());
        assert_eq!(picture(&outside), before, "{thing:?}");
        umount(&mounted);
        remove(&mounted.root());
    }
}
