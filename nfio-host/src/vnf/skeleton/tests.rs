use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use super::*;
use crate::vnf::bed::{A, Bed, myself};
use middlebox_sdk::File;
use std::ffi::OsString;

const B: tree::Instance<'static> = tree::Instance { name: "b", ..A };

fn names_of_type(bed: &Bed) -> Vec<OsString> {
    let mut names: Vec<_> = fs::read_dir(bed.directory.path().join("nf-types/box"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    names
}

#[test]
fn an_instance_goes_whole_with_all_that_was_kept_of_it() {
    let bed = Bed::new();
    bed.act("start").unwrap_err();
    bed.vnfs.remove(A).unwrap();
    assert!(names_of_type(&bed).is_empty() && !bed.private("id").exists());
}

#[test]
fn a_users_file_of_any_name_keeps_the_instance_whole() {
    let bed = Bed::new();
    for name in [&b"notes"[..], b"caf\xe9", b".hidden"] {
        let file = bed.path("config").join(OsStr::from_bytes(name));
        fs::write(&file, "").unwrap();
        assert_eq!(bed.vnfs.remove(A).unwrap_err().errno(), libc::ENOTEMPTY, "{}", file.display());
        assert!(bed.path("status").exists() && file.exists());
        fs::remove_file(file).unwrap();
    }
    bed.vnfs.remove(A).unwrap();
}

#[test]
fn a_deployed_instance_or_one_with_a_verb_under_way_neither_goes_nor_moves() {
    let bed = Bed::new();
    let instance = bed.instance();
    let turn = instance.busy().unwrap();
    assert_eq!(bed.vnfs.remove(A).unwrap_err().code(), 725);
    assert_eq!(bed.vnfs.rename(A, B, 0).unwrap_err().code(), 725);
    drop(turn);
    let bed = bed.be("running");
    assert_eq!(bed.vnfs.remove(A).unwrap_err().code(), 725);
    assert_eq!(bed.vnfs.rename(A, B, 0).unwrap_err().code(), 725);
    assert!(bed.steps().is_empty(), "no driver was asked");
}

#[test]
fn an_instance_moves_with_all_that_is_kept_of_it() {
    let bed = Bed::new();
    let id = bed.instance().id().unwrap();
    bed.act("start").unwrap_err();
    bed.vnfs.rename(A, B, 0).unwrap();
    let moved = bed.vnfs.instance(B).unwrap();
    assert_eq!((moved.id().unwrap(), names_of_type(&bed)), (id, vec![OsString::from("b")]));
    assert!(!super::super::last_error::read(&moved).unwrap().is_empty());
    bed.vnfs.create(A, 0o755, myself()).unwrap();
    assert_eq!(bed.vnfs.rename(A, B, 0).unwrap_err().errno(), libc::ENOTEMPTY);
}

#[test]
fn nothing_moves_to_the_name_of_a_guest_whose_instance_was_removed_in_root() {
    let bed = Bed::new().be("running");
    fs::remove_dir_all(bed.path("")).unwrap();
    bed.vnfs.create(B, 0o755, myself()).unwrap();
    assert_eq!(bed.vnfs.rename(B, A, 0).unwrap_err().code(), 725);
    assert_eq!(names_of_type(&bed), ["b"]);
    // Made anew under its name, it is there to be destroyed.
    bed.vnfs.create(A, 0o755, myself()).unwrap();
    assert_eq!(bed.status(), "running");
    bed.act("destroy").unwrap();
    assert!(bed.shared.world().guests.is_empty());
}

#[test]
fn whoever_still_waits_for_an_instance_that_went_or_moved_comes_too_late() {
    let bed = Bed::new();
    let old = bed.instance();
    bed.vnfs.remove(A).unwrap();
    bed.vnfs.create(A, 0o755, myself()).unwrap();
    bed.write("machine/ip", "127.0.0.1\n");
    bed.write("machine/vm.image", "image\n");
    // A verb that was written to the removed one must not deploy a guest that the new one does not know.
    let error = bed.vnfs.run(&old, super::super::Verb::Activate).unwrap_err();
    assert_eq!(error.errno(), libc::ENOENT);
    assert!(bed.steps().is_empty());
    let old = bed.instance();
    bed.vnfs.rename(A, B, 0).unwrap();
    assert_eq!(old.busy().err().unwrap().errno(), libc::ENOENT);
}

#[test]
fn an_instance_that_exists_is_not_made_again_and_loses_nothing() {
    let bed = Bed::new();
    bed.act("start").unwrap_err();
    let id = bed.instance().id().unwrap();
    assert_eq!(bed.vnfs.create(A, 0o755, myself()).unwrap_err().errno(), libc::EEXIST);
    assert_eq!(bed.instance().id().unwrap(), id);
    assert!(!bed.last_error().is_empty());
}

#[test]
fn what_a_crash_left_is_cleared_at_the_next_mount_and_hinders_none() {
    let bed = Bed::new();
    let ty = bed.directory.path().join("nf-types/box");
    // Killed in rmdir: renamed aside, half removed; and with a name that is no UTF-8 in it.
    fs::create_dir_all(ty.join(".aside-1/config")).unwrap();
    fs::write(ty.join(".aside-1/config").join(OsStr::from_bytes(b"caf\xe9")), "").unwrap();
    // Killed in rmdir, later: only what is kept of it is left.
    let gone = bed.directory.path().join(".nfio/instances/box/gone");
    fs::create_dir_all(&gone).unwrap();
    fs::write(gone.join("log"), "x").unwrap();
    // A guest whose instance somebody removed in ROOT.
    let orphan = bed.directory.path().join(".nfio/instances/box/orphan");
    fs::create_dir_all(&orphan).unwrap();
    fs::write(orphan.join("record.toml"), "damaged").unwrap();
    let bed = bed.mount_again(false);
    assert_eq!(names_of_type(&bed), ["a"]);
    assert!(!gone.exists() && orphan.exists());
    assert_eq!(bed.status(), "undeployed");
}

#[test]
fn special_files_that_a_type_has_learnt_appear_in_existing_instances_with_their_directories() {
    let bed = Bed::new();
    fs::remove_dir_all(bed.path("stats")).unwrap();
    fs::remove_file(bed.path("do")).unwrap();
    let bed = bed.mount_again(false);
    assert!(bed.path("stats/seen").exists() && bed.path("do").exists());
    assert_eq!(fs::read_to_string(bed.path("machine/ip")).unwrap(), "127.0.0.1\n");
}

#[test]
fn nothing_is_made_through_a_users_link() {
    let bed = Bed::new();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::remove_dir_all(bed.path("stats")).unwrap();
    symlink(elsewhere.path(), bed.path("stats")).unwrap();
    let bed = bed.mount_again(false);
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    assert!(bed.path("do").exists());
}

/// The type `box` of a newer plugin: it has learnt `more/news` and forgotten `do` and `stats/seen`.
struct NewerBox;

impl middlebox_sdk::Middlebox for NewerBox {
    fn describe(&self) -> middlebox_sdk::Type {
        middlebox_sdk::Type::new("box", "2").file(File::value("more/news"))
    }
}

#[test]
fn instances_follow_a_newer_plugin_and_what_a_user_wrote_stays() {
    use crate::fs::operations::Operations;
    let bed = Bed::new();
    fs::write(bed.path("stats/seen"), "a user's, by now").unwrap();
    let seen = bed.vnfs.special("box", "stats/seen").unwrap();
    bed.vnfs.registry.exchange(NewerBox);
    bed.vnfs.mend_types().unwrap();
    assert!(bed.path("more/news").exists() && !bed.path("do").exists());
    assert!(bed.path("stats/seen").exists() && bed.vnfs.special("box", "stats/seen").is_none());
    assert_eq!(bed.vnfs.read(A, &seen).unwrap_err().errno(), libc::ENOPKG, "opened before");
    fs::remove_file(bed.path("stats/seen")).unwrap();
    bed.vnfs.remove(A).unwrap();
}

#[test]
fn what_a_newer_plugin_has_forgotten_is_not_removed_through_a_users_link() {
    let bed = Bed::new();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("seen"), "").unwrap();
    fs::remove_dir_all(bed.path("stats")).unwrap();
    symlink(elsewhere.path(), bed.path("stats")).unwrap();
    bed.vnfs.registry.exchange(NewerBox);
    bed.vnfs.mend_types().unwrap();
    assert!(elsewhere.path().join("seen").exists());
    assert!(bed.path("more/news").exists());
}
