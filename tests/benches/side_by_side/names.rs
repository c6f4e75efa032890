//! Names: find, ls, grep over many instances, mkdir and rmdir.

use nfio_tests::Mounted;
use nix::sys::resource::{Resource, getrlimit};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::floor::Floor;
use crate::table::{Table, Work, millis};
use crate::{in_root, run};

/// Walks of a type with many instances. The floor keeps a descriptor for every name that it has shown.
pub(crate) fn walks(table: &mut Table, mounted: &Mounted) {
    let all = mounted.path().join("nf-types/firewall");
    let count = fitting(mounted);
    make_instances(mounted, count);
    println!("(many: {count} instances, as many as the floor can show, 1 000 at most)");
    let below = || Path::new("nf-types/firewall");
    let find = |path: &Path, test: &[&str]| millis(1, || run(Command::new("find").arg(path).args(test)));

    // Fresh mounts: nothing is known to the kernel yet.
    let row = Work::new("find, many instances, first look", "ms", 5).at_most(0.5);
    let fresh = || {
        mounted.umount();
        mounted.mount();
        find(&all, &[])
    };
    table.compare(
        row,
        ("mount", fresh),
        ("floor", || {
            let floor = Floor::over(&mounted.root());
            find(&floor.path().join(below()), &[])
        }),
    );

    let floor = Floor::over(&mounted.root());
    let other = floor.path().join(below());
    let row = |name| Work::new(name, "ms", 9);
    let work = row("find, many instances, again").at_most(0.5);
    table.compare(work, ("mount", || find(&all, &[])), ("floor", || find(&other, &[])));
    let sizes = &["-size", "+9"];
    let work = row("find -size, many instances");
    table.compare(work, ("mount", || find(&all, sizes)), ("floor", || find(&other, sizes)));
    let list = |path: &Path| millis(1, || run(Command::new("ls").arg("-l").arg(path)));
    table.compare(row("ls -l, many instances"), ("mount", || list(&all)), ("floor", || list(&other)));
    let grep = |path: &Path| {
        millis(1, || {
            let mut grep = Command::new("grep");
            let grep = grep.args(["-R", "--include=nf_conf", "--include=*.conf", "no such word"]).arg(path);
            // 1: read, and not found.
            assert_eq!(grep.stdout(Stdio::null()).status().expect("grep").code(), Some(1));
        })
    };
    let work = row("grep -R configuration, many");
    table.compare(work, ("mount", || grep(&all)), ("floor", || grep(&other)));
}

/// How many instances the floor can show with the descriptors that it may have.
fn fitting(mounted: &Mounted) -> usize {
    let one = mounted.instance("firewall", "counted");
    fs::create_dir(one.path()).expect("mkdir");
    let names = skeleton(&in_root(mounted, one.path())).len();
    fs::remove_dir(one.path()).expect("rmdir");
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("getrlimit");
    (usize::try_from(most).unwrap_or(usize::MAX) / names).saturating_sub(10).min(1000)
}

/// The rate of mkdir and rmdir, against making the same files by hand.
pub(crate) fn instances(table: &mut Table) {
    // On tmpfs: ext4 makes files the more slowly the more have just been removed, and would hide the difference.
    let memory = Mounted::new();
    let made = memory.instance("firewall", "made");
    fs::create_dir(made.path()).expect("mkdir");
    let skeleton = skeleton(&in_root(&memory, made.path()));
    fs::remove_dir(made.path()).expect("rmdir");
    let copy = memory.root().with_file_name("made");
    let (mut make_ours, mut make_by_hand, mut remove_ours, mut remove_by_hand) =
        (vec![], vec![], vec![], vec![]);
    for _ in 0..100 {
        make_ours.push(millis(1, || fs::create_dir(made.path()).expect("mkdir")));
        make_by_hand.push(millis(1, || make(&copy, &skeleton)));
        remove_ours.push(millis(1, || fs::remove_dir(made.path()).expect("rmdir")));
        remove_by_hand.push(millis(1, || fs::remove_dir_all(&copy).expect("rm -r")));
    }
    let row = |name| Work::new(name, "ms", 100);
    table.pair(row("mkdir, ROOT on tmpfs"), ("mount", make_ours), ("skeleton by hand", make_by_hand));
    table.pair(row("rmdir, ROOT on tmpfs"), ("mount", remove_ours), ("rm -r by hand", remove_by_hand));
}

/// Makes instances of the type `firewall` until there are so many.
pub(crate) fn make_instances(mounted: &Mounted, count: usize) {
    for n in 0..count {
        fs::create_dir(mounted.instance("firewall", &format!("fw-{n}")).path()).expect("mkdir");
    }
}

/// Everything below an instance, parents first, with its mode.
fn skeleton(instance: &Path) -> Vec<(PathBuf, Permissions)> {
    let mut found = vec![(PathBuf::new(), Permissions::from_mode(0o40755))];
    let mut at = 0;
    while at < found.len() {
        for entry in fs::read_dir(instance.join(&found[at].0)).into_iter().flatten().flatten() {
            let path = entry.path().strip_prefix(instance).expect("below it").to_owned();
            found.push((path, entry.metadata().expect("stat").permissions()));
        }
        at += 1;
    }
    found
}

/// Makes the same by hand.
fn make(copy: &Path, skeleton: &[(PathBuf, Permissions)]) {
    for (path, permissions) in skeleton {
        let path = copy.join(path);
        if permissions.mode() & libc::S_IFMT == libc::S_IFDIR {
            fs::create_dir(&path).expect("mkdir");
            fs::set_permissions(&path, permissions.clone()).expect("chmod");
        } else {
            File::create(&path).and_then(|file| file.set_permissions(permissions.clone())).expect("a file");
        }
    }
}
