//! Directories that were taken away while somebody stands in them, and others at the edge of what a path can name.

use crate::bed::{Bed, errno};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstat, fstatat, mkdirat};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY);

#[test]
fn who_stands_in_a_directory_that_is_taken_away_finds_it_empty() {
    let bed = Bed::new();
    let script = "mkdir -p d/e && : > d/e/f && cd d/e && rm -r ../../d && stat -c %h . && ls -A && ! touch x";
    assert_eq!(bed.sh(0, script), "0\n");
    assert_eq!(errno(fs::metadata(bed.a("d"))), libc::ENOENT);
}

#[test]
fn what_lay_in_an_instance_that_was_removed_is_not_there() {
    let bed = Bed::new();
    let instance = bed.path("nf-types/box/b");
    fs::create_dir(&instance).unwrap();
    let config = OwnedFd::from(File::open(instance.join("config")).unwrap());
    let located =
        File::options().read(true).custom_flags(libc::O_PATH).open(instance.join("config/conf")).unwrap();
    fstatat(&config, "conf", AtFlags::empty()).unwrap();
    fs::remove_dir(&instance).unwrap();
    // The kernel was told of the instance alone and believes in the file: it asks, and hears.
    assert_eq!(openat(&config, "conf", OFlag::O_RDONLY, Mode::empty()).err(), Some(Errno::ENOENT));
    assert_eq!(fstatat(&config, "conf", AtFlags::empty()).err(), Some(Errno::ENOENT));
    let made = openat(&config, "new", OFlag::O_CREAT | OFlag::O_WRONLY, Mode::S_IRWXU);
    assert_eq!(made.err(), Some(Errno::ENOENT));
    // Of what it knew of them it was told that it is true no more.
    assert_eq!((fstat(&config).unwrap().st_nlink, located.metadata().unwrap().nlink()), (0, 0));
    // Another one of the name has nothing to do with it.
    fs::create_dir(&instance).unwrap();
    assert_eq!(openat(&config, "conf", OFlag::O_RDONLY, Mode::empty()).err(), Some(Errno::ENOENT));
    assert_ne!(fs::metadata(instance.join("config")).unwrap().nlink(), 0);
}

#[test]
fn a_tree_is_made_and_removed_that_is_deeper_than_a_path_can_name() {
    let bed = Bed::new();
    let name = "n".repeat(200);
    let mut at = OwnedFd::from(File::open(bed.a("")).unwrap());
    for _ in 0..50 {
        mkdirat(&at, name.as_str(), Mode::S_IRWXU).unwrap();
        at = openat(&at, name.as_str(), DIRECTORY, Mode::empty()).unwrap();
    }
    let file = |flags| openat(&at, "file", flags, Mode::S_IRWXU).map(File::from).unwrap();
    file(OFlag::O_CREAT | OFlag::O_WRONLY).write_all(b"deep").unwrap();
    let mut text = String::new();
    file(OFlag::O_RDONLY).read_to_string(&mut text).unwrap();
    assert_eq!(text, "deep");
    let again = openat(&at, ".", DIRECTORY, Mode::empty()).unwrap();
    assert_eq!(Dir::from_fd(again).unwrap().iter().count(), 3);
    bed.sh(0, "rm -r nnn*");
}
