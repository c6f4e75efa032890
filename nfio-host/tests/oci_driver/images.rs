//! Images: shared, never written, from a directory or a tar.

use nfio_host::hypervisor::{Guest, GuestSpec, Hypervisor};
use std::path::Path;
use std::process::Command;

use crate::bed::*;

/// Everything about a tree but when it was read.
fn fingerprint(dir: &Path) -> String {
    sum(dir, "--xattrs --pax-option=delete=atime,delete=ctime")
}

fn sum(dir: &Path, option: &str) -> String {
    let script = "tar --sort=name $2 -C \"$1\" -cf - . | sha256sum";
    let sum = Command::new("sh").args(["-c", script, "sh"]).arg(dir).arg(option).output().unwrap();
    assert!(sum.status.success());
    String::from_utf8(sum.stdout).unwrap()
}

fn spoil(bed: &Bed, guest: &Guest) {
    let script = "set -e; rm -r /bin/ls /root; echo spoilt > /etc/passwd; chmod 700 /; mkdir /new; mv /sbin /away; \
                  ln -f /etc/group /etc/passwd2; echo more >> /usr/sbin/nft; chown 7:7 /usr; rm /etc/group";
    let spoilt = bed.sh(guest, script);
    assert_eq!(spoilt.exit_code, 0, "{spoilt:?}");
}

#[test]
fn an_image_shared_by_two_guests_is_never_written() {
    let (bed, _one) = bed();
    let image = images().join("box");
    let before = fingerprint(&image);
    let (one, two) = (bed.up(&bed.spec("")), bed.up(&bed.spec("")));
    spoil(&bed, &one);
    assert_eq!(
        bed.sh(&two, "ls /root && grep -q root /etc/passwd && nft list ruleset && [ ! -e /new ]").exit_code,
        0
    );
    spoil(&bed, &two);
    assert_eq!(fingerprint(&image), before);
    bed.oci.destroy(&one, true).unwrap();
    bed.oci.destroy(&two, true).unwrap();
    assert_eq!(fingerprint(&image), before);
    let fresh = bed.up(&bed.spec(""));
    assert_eq!(bed.sh(&fresh, "ls /root && grep -q root /etc/passwd").exit_code, 0);
    bed.oci.destroy(&fresh, true).unwrap();
}

#[test]
fn a_tar_is_an_image_unpacked_once_for_all_guests() {
    let (bed, _one) = bed();
    let tar = images().join("packed.tar");
    let made = Command::new("tar").arg("-C").arg(images().join("box")).arg("-cf").arg(&tar).arg(".").status();
    assert!(made.unwrap().success());
    let on_tar = |name: &str| GuestSpec { image: name.into(), ..bed.spec("") };
    let begin = std::time::Instant::now();
    let one = bed.up(&on_tar("packed"));
    println!("first guest of a tar: {:?}", begin.elapsed());
    let unpacked = bed.dir.path().join("oci/images");
    let only = || {
        let all: Vec<_> = std::fs::read_dir(&unpacked).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].clone()
    };
    let before = fingerprint(&only());
    let [packed, plain] = [only(), images().join("box")].map(|dir| sum(&dir, "--mtime=@0"));
    assert_eq!(packed, plain, "a tar gives what its directory gives");
    let two = bed.up(&on_tar("packed.tar"));
    spoil(&bed, &one);
    assert_eq!(bed.sh(&two, "nft add table inet t && ls /root && ip link show eth0").exit_code, 0);
    assert_eq!(fingerprint(&only()), before);
    bed.oci.destroy(&one, true).unwrap();
    bed.oci.destroy(&two, true).unwrap();
    assert_eq!(fingerprint(&only()), before);
    std::fs::write(&tar, "no tar at all, but long enough to look like one ".repeat(40)).unwrap();
    let error = bed.oci.deploy(&on_tar("packed")).unwrap_err();
    assert!(error.code() == 705 && error.to_string().contains("packed"), "{error}");
    std::fs::remove_file(&tar).unwrap();
}
