//! Thousands of instances: mounted, listed, forgotten.

use nfio_tests::{Instance, Mounted, Options};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::cases::Cases;
use super::usage::Usage;

/// The contract's bound on nfio's memory with [`MANY`] instances listed, in KiB.
const BOUND: u64 = 64 << 10;
const MANY: u64 = 10_000;
/// What an instance may add when it is listed, in bytes: the bound less what nfio takes by itself.
const EACH: u64 = (BOUND - (24 << 10)) * 1024 / MANY;
/// What the threads of nfio touch with their first requests, in KiB.
const FIRST: u64 = 2048;
/// Further listings that are forgotten.
const ROUNDS: u64 = 1;

/// Makes `count` instances, half of them through the mount and half in ROOT as nfio leaves them, and lists them.
pub(crate) fn judge(cases: &mut Cases, count: usize) {
    let mounted = Mounted::unmounted(Options::default());
    // Debug builds of the other types have 20 MB each, and pass through memory when they are loaded.
    for plugin in fs::read_dir(mounted.module_root()).expect("ls").map(|entry| entry.expect("ls").path()) {
        if !plugin.ends_with("libfirewall.so") {
            fs::remove_file(plugin).expect("rm");
        }
    }
    mounted.mount();
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    println!("{count} instances of firewall, {profile} build, ROOT on tmpfs");
    let start = Instant::now();
    let made = count.div_ceil(2);
    for number in 0..made {
        fs::create_dir(instance(&mounted, number).path()).expect("mkdir");
    }
    tell_rate("mkdir through the mount", made, start);
    mounted.umount();

    let start = Instant::now();
    for number in made..count {
        prepare(&mounted, number);
    }
    tell_rate("prepared in ROOT", count - made, start);

    let start = Instant::now();
    mounted.mount();
    println!("mount: {:.2} s", start.elapsed().as_secs_f64());
    let before = Usage::of(mounted.pid());
    let each = nodes(instance(&mounted, 0).path());

    cases.case("find lists every file of every instance", || {
        let start = Instant::now();
        let found = find(&mounted.path().join("nf-types/firewall"), &[]);
        println!("find: {:.2} s for {found} names", start.elapsed().as_secs_f64());
        assert_eq!(found, 1 + count * each);
    });
    let listed = Usage::of(mounted.pid());
    cases.case("a listing of all of them keeps to its memory", || {
        let grown = listed.resident - before.resident;
        let per_instance = grown * 1024 / count as u64;
        println!(
            "memory: {} KiB after the mount, {} KiB with all listed: {per_instance} bytes an instance",
            before.resident, listed.resident
        );
        let allowed = EACH * count as u64 / 1024 + FIRST;
        assert!(grown <= allowed, "{grown} KiB more, {allowed} are allowed");
        // A debug build is larger by itself.
        let is_full = !cfg!(debug_assertions) && count as u64 >= MANY;
        assert!(!is_full || listed.resident <= BOUND, "{} KiB, {BOUND} are allowed", listed.resident);
    });
    cases.case("those prepared in ROOT are as those made by mkdir", || {
        let [one, other] = [0, count - 1].map(|number| shape(instance(&mounted, number).path()));
        assert_eq!(one, other);
        let last = instance(&mounted, count - 1);
        assert_eq!(last.status(), "undeployed");
        fs::remove_dir(last.path()).expect("rmdir");
        fs::create_dir(last.path()).expect("mkdir");
    });
    cases.case("what the kernel forgets takes no memory", || {
        let grown = listed.anonymous - before.anonymous;
        println!("heap: {} KiB after the mount, {} KiB with all listed", before.anonymous, listed.anonymous);
        let mut left = forget(&mounted);
        println!("heap: {left} KiB once they are forgotten");
        assert!(left <= before.anonymous + grown / 2, "{left} KiB are left");
        for _ in 0..ROUNDS {
            find(&mounted.path().join("nf-types/firewall"), &["-size", "+1"]);
            left = forget(&mounted);
            println!("heap: {left} KiB once they are listed and forgotten again");
        }
        // Pages of which a few bytes are in use stay, so it is more than the first time; it does not pile up.
        assert!(left <= listed.anonymous + grown / 2, "{left} KiB are left");
    });
    remove_all(&mounted);
}

fn instance(mounted: &Mounted, number: usize) -> Instance {
    mounted.instance("firewall", &format!("fw-{number:05}"))
}

/// Makes an instance in ROOT as nfio has left the first one: the same tree, and an identity of its own.
fn prepare(mounted: &Mounted, number: usize) {
    let root = mounted.root();
    let name = |number: usize| format!("firewall/fw-{number:05}");
    copy(&root.join("nf-types").join(name(0)), &root.join("nf-types").join(name(number)));
    let private = root.join(".nfio/instances").join(name(number));
    copy(&root.join(".nfio/instances").join(name(0)), &private);
    fs::write(private.join("id"), format!("{}\n", uuid::Uuid::new_v4())).expect("an id");
}

fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(from).expect("what nfio has left");
    if metadata.is_dir() {
        fs::create_dir(to).expect("mkdir in ROOT");
        for entry in fs::read_dir(from).expect("ls").map(|entry| entry.expect("ls")) {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).expect("cp in ROOT");
    }
    chown(to, Some(metadata.uid()), Some(metadata.gid())).expect("chown");
    fs::set_permissions(to, Permissions::from_mode(metadata.mode() & 0o7777)).expect("chmod");
}

/// Files and directories of a tree, itself included.
fn nodes(path: &Path) -> usize {
    shape(path).lines().count()
}

/// Names, modes, owners and sizes of a tree.
fn shape(path: &Path) -> String {
    let output = Command::new("find").arg(path).args(["-printf", "%P %M %U %G %s\n"]).output().expect("find");
    assert!(output.status.success(), "find: {}", String::from_utf8_lossy(&output.stderr));
    let mut lines: Vec<_> = std::str::from_utf8(&output.stdout).expect("UTF-8").lines().collect();
    // Of a directory its size is the file system's business.
    lines.retain(|line| !line.starts_with(' '));
    lines.sort_unstable();
    lines.join("\n") + "\n."
}

/// How many names `find` prints, without a complaint.
fn find(path: &Path, words: &[&str]) -> usize {
    let output = Command::new("find").arg(path).args(words).output().expect("find");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "find: {complaints}");
    output.stdout.iter().filter(|byte| **byte == b'\n').count()
}

/// Has the kernel drop its caches of names until nfio's heap has stopped shrinking, and answers its size in KiB.
fn forget(mounted: &Mounted) -> u64 {
    let mut last = u64::MAX;
    // A directory can be dropped only once what is in it is gone: not all goes at once.
    for _ in 0..20 {
        fs::write("/proc/sys/vm/drop_caches", "2\n").expect("a drop of the kernel's caches");
        // Nobody waits for FUSE's word that something is forgotten; what is asked after it is answered after it.
        find(&mounted.path().join("modules"), &[]);
        let now = Usage::of(mounted.pid()).anonymous;
        if now >= last {
            break;
        }
        last = now;
    }
    last
}

/// So that the end of the mount need not ask each for its guest.
fn remove_all(mounted: &Mounted) {
    let all = fs::read_dir(mounted.path().join("nf-types/firewall")).expect("ls");
    let names: Vec<_> = all.map(|entry| entry.expect("ls").path()).collect();
    let start = Instant::now();
    for path in &names {
        fs::remove_dir(path).expect("rmdir");
    }
    tell_rate("rmdir", names.len(), start);
}

fn tell_rate(what: &str, count: usize, start: Instant) {
    println!("{what}: {:.0} instances/s", count as f64 / start.elapsed().as_secs_f64());
}
