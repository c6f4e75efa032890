//! What the enemy puts into a ROOT, and what is looked at once it is mounted.

use nfio_tests::{Mounted, Options, errno, eventually};
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::fs;
use std::io::{self, Read, Write};
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
pub(super) enum Thing {
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
pub(super) use Thing::{Dir, Fifo, File, Foreign, Huge, LinkToDir, LinkToFile, Loop, Zero};

impl Thing {
    pub(super) fn put(self, path: &Path, outside: &Path) {
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

pub(super) fn remove(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path).expect("rm -r"),
        Ok(_) => fs::remove_file(path).expect("rm"),
        Err(_) => {}
    }
}

/// Does something within the limit.
#[track_caller]
pub(super) fn in_time<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, outcome) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    outcome.recv_timeout(LIMIT).unwrap_or_else(|e| panic!("{what}: {e}"))
}

/// A ROOT that was in use: the instances `fw-good` and `fw-bad`, unmounted; and a directory beside it.
pub(super) fn used() -> (Mounted, PathBuf) {
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
pub(super) fn picture(directory: &Path) -> Vec<String> {
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
pub(super) fn look_around(mount: &Path) -> String {
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
pub(super) fn umount(mounted: &Mounted) {
    let mut command = nfio_tests::nfio();
    command.arg("umount").arg(mounted.path());
    eventually("nfio umount", || command.output().expect("nfio umount").status.success());
}

/// How a mount of a hostile ROOT ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Refused with one sentence.
    Refused,
    /// Mounted, and only what is wrong is wrong.
    Mounted,
}

/// Puts a thing into a used ROOT, mounts it, and looks at what comes of it.
#[track_caller]
pub(super) fn mount_hostile(about: &str, end: End, prepare: impl FnOnce(&Mounted, &Path)) {
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
pub(super) fn all(end: End, cases: &[(&str, &[Thing])]) {
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
