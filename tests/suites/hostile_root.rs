//! A ROOT that an enemy has prepared (an unpacked archive, a restored backup, a tenant's time alone with the disk): nfio
//! refuses to mount it with one sentence, or shows an error for what is wrong alone. It follows nothing out of ROOT,
//! never hangs and never panics.

use nfio_tests::{Mounted, Options, errno, eventually};
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Longest time that a mount of a hostile ROOT, or a look at all of it, may take.
const LIMIT: Duration = Duration::from_secs(40);

/// What stands outside ROOT and must stay as it is.
const SECRET: &str = "a secret that is none of ROOT's\n";

/// What the enemy puts in the place of a file.
#[derive(Debug, Clone, Copy)]
enum Thing {
    /// A symbolic link to a directory outside.
    LinkToDir,
    /// A symbolic link to a file outside.
    LinkToFile,
    /// A symbolic link to itself.
    Loop,
    Fifo,
    /// A device that never ends.
    Zero,
    Dir,
    /// A regular file with this text.
    File(&'static str),
    /// 32 MiB of a regular file, of one line.
    Huge,
    /// Something that belongs to somebody else.
    Foreign,
}
use Thing::{Dir, Fifo, File, Foreign, Huge, LinkToDir, LinkToFile, Loop, Zero};

impl Thing {
    fn put(self, path: &Path, outside: &Path) {
        if !matches!(self, Foreign) {
            remove(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("its directory");
        }
        match self {
            LinkToDir => symlink(outside, path).expect("symlink"),
            LinkToFile => symlink(outside.join("secret"), path).expect("symlink"),
            Loop => symlink(path, path).expect("symlink"),
            Fifo => nix::unistd::mkfifo(path, Mode::S_IRWXU).expect("mkfifo"),
            Zero => mknod(path, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 5)).expect("mknod"),
            Dir => fs::create_dir_all(path.join("within")).expect("mkdir"),
            File(text) => fs::write(path, text).expect("write"),
            Huge => fs::write(path, vec![b'x'; 32 << 20]).expect("write"),
            Foreign => chown(path, Some(65534), Some(65534)).expect("chown"),
        }
    }
}

fn remove(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path).expect("rm -r"),
        Ok(_) => fs::remove_file(path).expect("rm"),
        Err(_) => {}
    }
}

/// Does something within the limit.
#[track_caller]
fn in_time<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, outcome) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    outcome.recv_timeout(LIMIT).unwrap_or_else(|e| panic!("{what}: {e}"))
}

/// A ROOT that was in use: the instances `fw-good` and `fw-bad`, unmounted; and a directory beside it.
fn used() -> (Mounted, PathBuf) {
    let mounted = Mounted::with(Options {
        // Answers that are waited for come soon.
        config: "[deadlines]\nread = 2\nverb = 5\nactivate = 5\n".into(),
        ..Options::default()
    });
    for name in ["fw-good", "fw-bad"] {
        let fw = mounted.firewall(name);
        fw.put("machine/vm.image", "/nowhere\n");
        fw.try_act("activate").expect_err("there is no image");
    }
    umount(&mounted);
    let outside = mounted.root().with_file_name("outside");
    fs::create_dir_all(outside.join("fw-x/config")).expect("mkdir");
    fs::write(outside.join("secret"), SECRET).expect("write");
    (mounted, outside)
}

/// All paths below a directory with type, mode, owner, and content of what is a file.
fn picture(directory: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).expect("stat");
        let text = if metadata.is_file() { fs::read_to_string(&path).expect("read") } else { String::new() };
        all.push(format!("{} {:o} {} {text:?}", path.display(), metadata.mode(), metadata.uid()));
        if metadata.is_dir() {
            left.extend(fs::read_dir(&path).expect("ls").map(|entry| entry.expect("an entry").path()));
        }
    }
    all.sort();
    all
}

/// Looks at everything below the mount as `find -type f -exec cat` would.
fn look_around(mount: &Path) -> String {
    let mut seen = String::new();
    let mut left = vec![mount.to_owned()];
    while let Some(path) = left.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            left.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        } else if metadata.is_file() {
            let mut open = fs::File::options();
            let file = open.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&path);
            let mut text = Vec::new();
            // An error is an answer; so is a megabyte of nonsense.
            let _ = file.and_then(|file| file.take(1 << 20).read_to_end(&mut text));
            seen += &String::from_utf8_lossy(&text);
        }
    }
    seen
}

/// Writes a verb. A user's own open follows the enemy's links; this one does not.
fn write(path: &Path, text: &str) -> io::Result<usize> {
    let mut open = fs::File::options();
    open.write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path).and_then(|file| {
        // O_NONBLOCK was for a fifo; a verb is waited for.
        nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFL(OFlag::empty()))?;
        (&file).write(text.as_bytes())
    })
}

/// Unmounts; a program that another test starts at this moment still has our descriptors for a moment.
#[track_caller]
fn umount(mounted: &Mounted) {
    let mut command = nfio_tests::nfio();
    command.arg("umount").arg(mounted.path());
    eventually("nfio umount", || command.output().expect("nfio umount").status.success());
}

/// How a mount of a hostile ROOT ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Refused with one sentence.
    Refused,
    /// Mounted, and only what is wrong is wrong.
    Mounted,
}

/// Puts a thing into a used ROOT, mounts it, and looks at what comes of it.
#[track_caller]
fn mount_hostile(about: &str, end: End, prepare: impl FnOnce(&Mounted, &Path)) {
    let (mounted, outside) = used();
    prepare(&mounted, &outside);
    let before = picture(&outside);
    let mut command = Command::new("timeout");
    command.arg("30").arg(nfio_tests::built("nfio")).args(["mount", "--hypervisor", "Oci", "--module-root"]);
    command.arg(mounted.module_root()).arg("--config").arg(mounted.root().with_file_name("nfio.toml"));
    command.arg(mounted.root()).arg(mounted.path());
    let output = in_time(about, move || command.output().expect("nfio mount"));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    match end {
        End::Refused => {
            assert_eq!(output.status.code(), Some(1), "{about}: {words}\n{}", mounted.log());
            let line = words.strip_suffix('\n').unwrap_or(&words);
            assert!(!line.is_empty() && !line.chars().any(char::is_control), "{about}: {words:?}");
            assert!(!words.contains("panic"), "{about}: {words}");
        }
        End::Mounted => {
            assert!(output.status.success(), "{about}: {words}");
            let mount = mounted.path();
            let seen = in_time(about, move || look_around(&mount));
            assert!(!seen.contains(SECRET.trim()), "{about}: the secret is shown");
            let (good, bad) =
                (mounted.instance("firewall", "fw-good"), mounted.instance("firewall", "fw-bad"));
            in_time(about, move || {
                // Whatever these answer, they answer.
                for verb in ["activate", "stop", "reload", "undeployed", "forget", "undeployed"] {
                    let _ = write(&bad.file("action"), verb);
                }
                let _ = write(&bad.file("command"), "true");
                let _ = fs::rename(bad.path(), bad.path().with_file_name("fw-renamed"));
                let _ = fs::remove_dir(bad.path().with_file_name("fw-renamed"));
                let _ = fs::remove_dir(bad.path());
            });
            in_time(about, {
                let about = about.to_owned();
                move || {
                    assert_eq!(good.status(), "undeployed", "{about}");
                    assert_eq!(errno(good.try_act("activate")), libc::EIO, "{about}");
                    assert!(good.get("last_error").contains("/nowhere"), "{about}");
                }
            });
            let log = mounted.log();
            assert!(!log.contains("panicked"), "{about}: {log}");
            umount(&mounted);
        }
    }
    assert_eq!(picture(&outside), before, "{about}: something outside ROOT was changed");
    // Nothing for the end to mount again.
    remove(&mounted.root());
}

#[track_caller]
fn all(end: End, cases: &[(&str, &[Thing])]) {
    thread::scope(|scope| {
        let mut running = Vec::new();
        for (place, things) in cases {
            running.push(scope.spawn(move || {
                for thing in *things {
                    mount_hostile(&format!("{place} = {thing:?}"), end, |mounted, outside| {
                        let id = || mounted.id(&mounted.instance("firewall", "fw-bad"));
                        let place =
                            if place.contains("ID") { place.replace("ID", &id()) } else { (*place).into() };
                        thing.put(&mounted.root().join(place), outside);
                    });
                }
            }));
            // Two at a time: each is a mount or two.
            if running.len() == 2 {
                running.drain(..).for_each(|one| one.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
            }
        }
    });
}

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
