//! What is allowed where, with its exact errno.

use crate::bed::{Bed, errno, eventually};
use nfio_host::fs::operations::DiskChange;
use nfio_host::tree::Instance;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::Ordering;

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_top_shows_three_directories_and_nothing_of_nfios_own() {
    let bed = Bed::new();
    assert_eq!(names(&bed.path("")), ["chns", "modules", "nf-types"]);
    for hidden in [".nfio", "anything", "nf-types/box/.new", "nf-types/Box", "nf-types/.x"] {
        assert_eq!(errno(fs::symlink_metadata(bed.path(hidden))), libc::ENOENT, "{hidden}");
    }
    fs::create_dir(bed.root("nf-types/box/.new")).unwrap();
    assert_eq!(names(&bed.path("nf-types/box")), ["a"]);
    assert_eq!(errno(fs::symlink_metadata(bed.path("nf-types/box/.new"))), libc::ENOENT);
}

#[test]
fn a_type_is_there_while_it_is_loaded_or_has_instances() {
    let bed = Bed::new();
    assert_eq!(names(&bed.path("nf-types")), ["box"]);
    assert_eq!(errno(fs::metadata(bed.path("nf-types/gone"))), libc::ENOENT);
    fs::create_dir(bed.root("nf-types/gone/old")).unwrap();
    bed.fake.tell(DiskChange::Type { ty: "gone", listed: true });
    assert_eq!(names(&bed.path("nf-types")), ["box", "gone"]);
    assert!(fs::metadata(bed.path("nf-types/gone/old")).unwrap().is_dir());
    assert_eq!(errno(fs::metadata(bed.path("nf-types/late"))), libc::ENOENT);
    bed.fake.late.store(true, Ordering::SeqCst);
    bed.fake.tell(DiskChange::Type { ty: "late", listed: true });
    assert_eq!(names(&bed.path("nf-types")), ["box", "gone", "late"]);
    fs::create_dir(bed.path("nf-types/late/x")).unwrap();
    // One whose module is gone goes with its last instance, which the kernel hears from us a moment later.
    fs::remove_dir(bed.path("nf-types/gone/old")).unwrap();
    eventually("a type without module and instances is gone", || {
        errno(fs::metadata(bed.path("nf-types/gone"))) == libc::ENOENT
            && names(&bed.path("nf-types")) == ["box", "late"]
    });
    // Its module goes while somebody stands in an instance: nothing is pulled away from under them.
    bed.fake.late.store(false, Ordering::SeqCst);
    bed.fake.tell(DiskChange::Type { ty: "late", listed: true });
    assert_eq!(names(&bed.path("nf-types")), ["box", "late"]);
    fs::remove_dir(bed.path("nf-types/late/x")).unwrap();
    bed.fake.tell(DiskChange::Type { ty: "late", listed: false });
    assert_eq!(errno(fs::metadata(bed.path("nf-types/late"))), libc::ENOENT);
    assert_eq!(names(&bed.path("nf-types")), ["box"]);
}

#[test]
fn what_changes_without_the_kernel_is_seen_as_soon_as_it_is_told() {
    let bed = Bed::new();
    let (config, fw) = (bed.a("config"), Instance { ty: "box", name: "a" });
    let root = |name: &str| bed.root("nf-types/box/a/config").join(name);
    fs::write(config.join("conf"), "four").unwrap();
    assert_eq!(names(&config), ["conf"]);
    assert_eq!(fs::metadata(config.join("conf")).unwrap().len(), 4);
    // As a module writes files through its handle.
    fs::write(root("conf"), "longer").unwrap();
    bed.fake.tell(DiskChange::File(fw, "config/conf"));
    assert_eq!(fs::metadata(config.join("conf")).unwrap().len(), 6);
    assert_eq!(fs::read_to_string(config.join("conf")).unwrap(), "longer");
    fs::write(root("new"), "").unwrap();
    bed.fake.tell(DiskChange::File(fw, "config/new"));
    assert_eq!(names(&config), ["conf", "new"]);
    // As instances follow their type: files come and go.
    fs::remove_file(root("new")).unwrap();
    fs::write(root("learnt"), "").unwrap();
    bed.fake.tell(DiskChange::Type { ty: "box", listed: true });
    assert_eq!(names(&config), ["conf", "learnt"]);
    assert_eq!(errno(fs::metadata(config.join("new"))), libc::ENOENT);
    assert_eq!(errno(File::open(config.join("new")).map(drop)), libc::ENOENT);
    // And what comes through the kernel needs no telling.
    for n in 0..20 {
        let name = format!("n{n}");
        fs::write(config.join(&name), "").unwrap();
        assert!(names(&config).contains(&name));
        fs::rename(config.join(&name), bed.a(&name)).unwrap();
        assert!(!names(&config).contains(&name) && names(&bed.a("")).contains(&name));
        fs::remove_file(bed.a(&name)).unwrap();
        assert!(!names(&bed.a("")).contains(&name));
    }
}

#[test]
fn mkdir_makes_instances_only_where_they_belong() {
    let bed = Bed::new();
    let mkdir = |path: &str| errno(fs::create_dir(bed.path(path)));
    assert_eq!(mkdir("x"), libc::EPERM);
    assert_eq!(mkdir(".nfio"), libc::EPERM);
    assert_eq!(mkdir("modules/x"), libc::EPERM);
    assert_eq!(mkdir("modules/box/x"), libc::EPERM);
    assert_eq!(mkdir("nf-types/box"), libc::EEXIST);
    assert_eq!(mkdir("nf-types/gone"), libc::ENOPKG);
    assert_eq!(mkdir("nf-types/Bad-name"), libc::EINVAL);
    for bad in ["-x", ".x", "a b", "ä", &"n".repeat(64)] {
        assert_eq!(mkdir(&format!("nf-types/box/{bad}")), libc::EINVAL, "{bad}");
    }
    assert_eq!(mkdir("nf-types/box/a"), libc::EEXIST);
    assert_eq!(mkdir("nf-types/box/a/plain"), 0);
    assert_eq!(mkdir("nf-types/box/a/plain/deeper"), 0);
    assert_eq!(mkdir("chns/edge"), 0);
    assert_eq!(names(&bed.a("plain")), ["deeper"]);
    assert!(fs::metadata(bed.a("config/conf")).unwrap().is_file());
}

#[test]
fn a_new_instance_belongs_to_its_maker() {
    let bed = Bed::new();
    fs::set_permissions(bed.path("nf-types/box"), fs::Permissions::from_mode(0o1777)).unwrap();
    bed.sh(1234, "umask 027; mkdir ../mine; echo conf > ../mine/config/conf; cat ../mine/log; rmdir ../mine");
    bed.sh(1234, "umask 027; mkdir ../mine");
    for path in ["", "/status", "/config", "/config/conf"] {
        let metadata = fs::metadata(bed.path(&format!("nf-types/box/mine{path}"))).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (1234, 1234), "{path}");
    }
    assert_eq!(fs::metadata(bed.path("nf-types/box/mine")).unwrap().mode() & 0o777, 0o750);
}

#[test]
fn nothing_else_is_made_in_the_upper_directories() {
    let bed = Bed::new();
    for place in ["", "nf-types", "nf-types/box", "modules", "modules/box"] {
        let new = bed.path(place).join("new");
        assert_eq!(errno(File::create(&new)), libc::EPERM, "create in {place:?}");
        assert_eq!(errno(symlink("x", &new)), libc::EPERM, "symlink in {place:?}");
        assert_eq!(errno(fs::hard_link(bed.a("config/conf"), &new)), libc::EPERM, "link in {place:?}");
        let mknod = nix::unistd::mkfifo(&new, nix::sys::stat::Mode::S_IRUSR);
        assert_eq!(mknod.err(), Some(nix::errno::Errno::EPERM), "mknod in {place:?}");
        let moved = fs::rename(bed.a("config/conf"), &new);
        assert_eq!(errno(moved), libc::EPERM, "rename into {place:?}");
    }
}

#[test]
fn upper_directories_cannot_be_removed_or_renamed() {
    let bed = Bed::new();
    for place in ["nf-types", "chns", "modules", "modules/box"] {
        assert_eq!(errno(fs::remove_dir(bed.path(place))), libc::EPERM, "{place}");
        assert_eq!(errno(fs::rename(bed.path(place), bed.path("x"))), libc::EPERM, "{place}");
    }
    assert_eq!(errno(fs::remove_dir(bed.path("nf-types/box"))), libc::EBUSY);
    fs::remove_dir(bed.a("")).unwrap();
    assert_eq!(errno(fs::remove_dir(bed.path("nf-types/box"))), libc::EPERM);
    assert_eq!(errno(fs::rename(bed.path("nf-types/box"), bed.path("nf-types/x"))), libc::EPERM);
    assert_eq!(errno(fs::remove_file(bed.path("modules/box/state"))), libc::EPERM);
}

#[test]
fn an_instance_goes_in_one_call_but_not_with_files_that_a_user_added() {
    let bed = Bed::new();
    fs::write(bed.a("notes"), "mine").unwrap();
    assert_eq!(errno(fs::remove_dir(bed.a(""))), libc::ENOTEMPTY);
    fs::remove_file(bed.a("notes")).unwrap();
    fs::remove_dir(bed.a("")).unwrap();
    assert_eq!(errno(fs::metadata(bed.a("status"))), libc::ENOENT);
    fs::create_dir(bed.a("")).unwrap();
    assert!(fs::read_to_string(bed.a("status")).unwrap().starts_with("a-"));
    fs::write(bed.a("notes"), "mine").unwrap();
    let parent = bed.path("nf-types/box");
    let output = std::process::Command::new("rm").arg("-r").arg(parent.join("a")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(names(&parent).is_empty());
}

#[test]
fn while_deployed_nothing_of_the_skeleton_goes() {
    let bed = Bed::new();
    bed.fake.deploy("a", true);
    assert_eq!(errno(fs::remove_dir(bed.a(""))), libc::EBUSY);
    assert_eq!(errno(fs::rename(bed.a(""), bed.path("nf-types/box/b"))), libc::EBUSY);
    for special in ["status", "log", "action", "stats/n"] {
        assert_eq!(errno(fs::remove_file(bed.a(special))), libc::EBUSY, "{special}");
        assert_eq!(errno(fs::rename(bed.a(special), bed.a("x"))), libc::EBUSY, "{special}");
    }
    for directory in ["config", "stats", "machine"] {
        assert_eq!(errno(fs::remove_dir(bed.a(directory))), libc::EBUSY, "{directory}");
        assert_eq!(errno(fs::rename(bed.a(directory), bed.a("x"))), libc::EBUSY, "{directory}");
    }
    fs::write(bed.a("edited"), "new").unwrap();
    fs::rename(bed.a("edited"), bed.a("config/conf")).unwrap();
    fs::rename(bed.a("machine/ip"), bed.a("machine/ip~")).unwrap();
    fs::remove_file(bed.a("config/conf")).unwrap();
    bed.fake.deploy("a", false);
    fs::remove_file(bed.a("status")).unwrap();
    assert_eq!(errno(fs::metadata(bed.a("status"))), libc::ENOENT);
    File::create_new(bed.a("action")).expect_err("it is there");
}

#[test]
fn instances_are_renamed_within_their_type_alone() {
    let bed = Bed::new();
    bed.fake.late.store(true, Ordering::SeqCst);
    let rename = |to: &str| errno(fs::rename(bed.a(""), bed.path(to)));
    for elsewhere in ["nf-types/late/a", "nf-types/a", "a", "chns/a", "modules/a"] {
        assert_eq!(rename(elsewhere), libc::EPERM, "{elsewhere}");
    }
    assert_eq!(rename("nf-types/box/bad name"), libc::EINVAL);
    let open = File::open(bed.a("config/conf")).unwrap();
    assert_eq!(rename("nf-types/box/b"), 0);
    assert!(open.metadata().is_ok());
    assert!(fs::read_to_string(bed.path("nf-types/box/b/status")).unwrap().starts_with("b-"));
    assert_eq!(names(&bed.path("nf-types/box")), ["b"]);
    fs::create_dir(bed.path("chns/d")).unwrap();
    assert_eq!(errno(fs::rename(bed.path("chns/d"), bed.path("nf-types/box/d"))), libc::EPERM);
    let exchange = RenameFlags::RENAME_EXCHANGE;
    let swapped = renameat2(AT_FDCWD, &bed.path("chns/d"), AT_FDCWD, &bed.path("nf-types/box/b"), exchange);
    assert_eq!(swapped.err(), Some(nix::errno::Errno::EPERM));
}

#[test]
fn special_files_are_neither_linked_nor_moved_nor_replaced() {
    let bed = Bed::new();
    fs::create_dir(bed.path("nf-types/box/b")).unwrap();
    fs::write(bed.a("mine"), "mine").unwrap();
    assert_eq!(errno(fs::hard_link(bed.a("status"), bed.a("x"))), libc::EPERM);
    assert_eq!(errno(fs::rename(bed.a("status"), bed.a("x"))), libc::EPERM);
    assert_eq!(errno(fs::rename(bed.a("mine"), bed.a("status"))), libc::EPERM);
    assert_eq!(errno(fs::rename(bed.a("stats"), bed.a("x"))), libc::EPERM);
    assert_eq!(errno(fs::rename(bed.a("stats"), bed.path("nf-types/box/b/x"))), libc::EPERM);
    fs::rename(bed.a("mine"), bed.path("nf-types/box/b/theirs")).unwrap();
    // A directory whose files would become special where it goes.
    fs::remove_file(bed.a("stats/n")).unwrap();
    fs::remove_dir(bed.a("stats")).unwrap();
    fs::create_dir(bed.a("d")).unwrap();
    fs::write(bed.a("d/n"), "").unwrap();
    assert_eq!(errno(fs::rename(bed.a("d"), bed.a("stats"))), libc::EPERM);
    fs::remove_file(bed.a("status")).unwrap();
    assert_eq!(errno(symlink("x", bed.a("status"))), libc::EPERM);
    assert_eq!(errno(fs::create_dir(bed.a("status"))), libc::EPERM);
    fs::rename(bed.a("config"), bed.a("config~")).unwrap();
    fs::rename(bed.a("config~"), bed.a("config")).unwrap();
}

#[test]
fn a_special_file_put_back_is_special_again() {
    let bed = Bed::new();
    fs::remove_file(bed.a("action")).unwrap();
    fs::write(bed.a("action"), "# last: none\n").unwrap();
    assert_eq!(bed.fake.writes.lock().unwrap().len(), 1);
    assert_eq!(fs::read_to_string(bed.a("action")).unwrap(), "# last: none\n");
    fs::remove_file(bed.a("status")).unwrap();
    assert_eq!(errno(File::create_new(bed.a("status"))), libc::EACCES);
}

#[test]
fn modules_tell_what_is_loaded_and_take_nothing() {
    let bed = Bed::new();
    assert_eq!(names(&bed.path("modules")), ["box", "broken"]);
    assert_eq!(names(&bed.path("modules/box")), ["state"]);
    assert_eq!(fs::read_to_string(bed.path("modules/broken/error")).unwrap(), "no header\n");
    assert_eq!(fs::metadata(bed.path("modules/box/state")).unwrap().len(), 7);
    assert_eq!(errno(fs::metadata(bed.path("modules/box/error"))), libc::ENOENT);
    assert_eq!(errno(fs::OpenOptions::new().write(true).open(bed.path("modules/box/state"))), libc::EACCES);
    let mode = fs::set_permissions(bed.path("modules/box/state"), fs::Permissions::from_mode(0o600));
    assert_eq!(errno(mode), libc::EPERM);
}
