//! Operations on directories, and on what is in them.

use nfio_tests::Mounted;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::{Mode, SFlag, mknod};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::outcome::{of, told};
use super::{Operations, files};

/// A directory, and a user's own file elsewhere on the same mount.
pub(super) struct Place {
    path: PathBuf,
    file: PathBuf,
}

/// Instances and what is in them are made anew for each operation.
pub(super) fn make(mounted: &Mounted, node: &str) -> Place {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let top = mounted.path();
    let instance = |name: &str| {
        let path = top.join(format!("nf-types/firewall/{name}-{number}"));
        fs::create_dir(&path).expect("mkdir of an instance");
        path
    };
    let file = instance("beside").join("own");
    fs::write(&file, "own\n").expect("a file of one's own");
    let path = match node {
        "MOUNT" => top,
        "nf-types" | "chns" | "modules" => top.join(node),
        "a type" => top.join("nf-types/firewall"),
        "an instance" => instance("fw"),
        "config/" => instance("fw").join("config"),
        "stats/" => instance("fw").join("stats"),
        "one's own" => {
            let path = instance("fw").join("own-dir");
            fs::create_dir(&path).expect("mkdir below an instance");
            path
        }
        "of a module" => top.join("modules/firewall"),
        other => panic!("no directory is known as {other}"),
    };
    Place { path, file }
}

/// The name that things get in the directory: one that an instance may have.
fn new(place: &Place) -> PathBuf {
    place.path.join("new")
}

/// Whatever was made at the new name is gone again, since the upper directories stay.
fn then_gone<T>(place: &Place, answer: io::Result<T>) -> String {
    let new = new(place);
    if fs::symlink_metadata(&new).is_ok_and(|metadata| metadata.is_dir()) {
        fs::remove_dir(&new).expect("rmdir of what was made");
    } else {
        // It may never have been made.
        let _ = fs::remove_file(&new);
    }
    of(answer)
}

fn special(place: &Place, kind: SFlag) -> String {
    let made = mknod(&new(place), kind, Mode::S_IRUSR, nix::sys::stat::makedev(1, 3));
    then_gone(place, made.map_err(io::Error::from))
}

fn open(place: &Place, flags: OFlag) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let writes = flags.intersects(OFlag::O_WRONLY | OFlag::O_RDWR);
    options.read(!writes).write(writes).custom_flags((flags & !OFlag::O_ACCMODE).bits()).open(&place.path)
}

pub(super) const OPERATIONS: Operations<Place> = &[
    ("stat", |p| of(fs::metadata(&p.path))),
    ("readdir", |p| of(fs::read_dir(&p.path).and_then(|mut all| all.try_for_each(|entry| entry.map(drop))))),
    ("open to write", |p| of(open(p, OFlag::O_WRONLY))),
    ("O_TMPFILE", |p| of(open(p, OFlag::O_RDWR | OFlag::O_TMPFILE))),
    ("look up a name that is not there", |p| of(fs::symlink_metadata(new(p)))),
    ("create in it", |p| then_gone(p, File::create(new(p)))),
    ("mkdir in it", |p| then_gone(p, fs::create_dir(new(p)))),
    ("symlink in it", |p| then_gone(p, symlink("x", new(p)))),
    ("link into it", |p| then_gone(p, fs::hard_link(&p.file, new(p)))),
    ("mkfifo in it", |p| special(p, SFlag::S_IFIFO)),
    ("mknod of a device in it", |p| special(p, SFlag::S_IFCHR)),
    ("rename a file into it", |p| then_gone(p, fs::rename(&p.file, new(p)))),
    ("unlink", |p| of(fs::remove_file(&p.path))),
    ("rename", |p| {
        let to = p.path.with_file_name("renamed");
        let answer = fs::rename(&p.path, &to);
        if answer.is_ok() {
            fs::rename(&to, &p.path).expect("and back");
        }
        of(answer)
    }),
    ("link", |p| of(fs::hard_link(&p.path, p.file.with_file_name("linked")))),
    ("chmod", |p| {
        let before = fs::metadata(&p.path).expect("stat").permissions();
        let answer = fs::set_permissions(&p.path, fs::Permissions::from_mode(0o711));
        // As it was, for the operations to come.
        let _ = fs::set_permissions(&p.path, before);
        of(answer)
    }),
    ("chown", |p| {
        let answer = chown(&p.path, Some(0), Some(12));
        let _ = chown(&p.path, Some(0), Some(0));
        of(answer)
    }),
    ("utimens", |p| of(files::touch(&p.path))),
    ("setxattr", |p| of(files::set_attribute(&p.path, "user.nfio"))),
    ("getxattr", |p| of(files::get_attribute(&p.path))),
    ("set an ACL", |p| of(files::set_attribute(&p.path, "system.posix_acl_access"))),
    ("flock", |p| {
        let file = open(p, OFlag::O_RDONLY).expect("open");
        of(Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| io::Error::from(e)))
    }),
    ("fsync", |p| of(open(p, OFlag::O_RDONLY).and_then(|file| file.sync_all()))),
    ("statfs", |p| of(nix::sys::statvfs::statvfs(&p.path).map_err(io::Error::from))),
    ("rmdir", |p| told(fs::remove_dir(&p.path).map(|()| "ok"))),
];
