//! Operations on the parts of an instance that has a guest.

use nfio_tests::Mounted;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Operations;
use super::outcome::of;

/// A part of the instance, and a new file elsewhere.
pub(super) struct Part {
    path: PathBuf,
    new: PathBuf,
}

/// The instance is one and the same: only what a user may change is changed, and put back.
pub(super) fn make(mounted: &Mounted, node: &str) -> Part {
    let instance = mounted.path().join("nf-types/firewall/fw-a");
    let path = match node {
        "the instance" => instance.clone(),
        "a counter" => instance.join("stats/rx_bytes"),
        "config/" | "stats/" | "status" | "action" | "command" | "log" | "config/nf_conf" | "machine/ip" => {
            instance.join(node.trim_end_matches('/'))
        }
        "one's own" => {
            let path = instance.join("own");
            fs::write(&path, "own\n").expect("a file of one's own");
            path
        }
        other => panic!("no part is known as {other}"),
    };
    // A user's own file, in another instance: from within the same one the kernel itself refuses some.
    let other = mounted.path().join("nf-types/firewall/other");
    if !other.exists() {
        fs::create_dir(&other).expect("mkdir of an instance");
    }
    let new = other.join("new");
    fs::write(&new, "new\n").expect("a new file");
    Part { path, new }
}

/// Puts a file's text back where the operation took or changed it.
fn restoring(path: &Path, operation: impl FnOnce() -> io::Result<()>) -> String {
    let kept = fs::read(path).ok();
    let answer = operation();
    let is_ordinary = !["action", "command"].iter().any(|verb| path.ends_with(verb));
    if let (true, Ok(()), Some(text)) = (is_ordinary, &answer, kept) {
        fs::write(path, text).expect("put back");
    }
    of(answer)
}

pub(super) const OPERATIONS: Operations<Part> = &[
    ("read", |p| match p.path.is_dir() {
        true => of(fs::read_dir(&p.path)),
        false => of(fs::read(&p.path)),
    }),
    ("write", |p| match p.path.is_dir() {
        true => of(File::options().write(true).open(&p.path)),
        // A blank line: to verbs it says nothing.
        false => restoring(&p.path, || File::options().write(true).open(&p.path)?.write_all(b"\n")),
    }),
    ("rmdir or unlink", |p| match p.path.is_dir() {
        true => of(fs::remove_dir(&p.path)),
        false => restoring(&p.path, || fs::remove_file(&p.path)),
    }),
    ("rename", |p| {
        let to = p.path.with_file_name("renamed");
        of(fs::rename(&p.path, &to).and_then(|()| fs::rename(&to, &p.path)))
    }),
    ("rename a file onto it", |p| restoring(&p.path, || fs::rename(&p.new, &p.path))),
    ("chmod", |p| {
        let before = fs::metadata(&p.path).expect("stat").permissions();
        of(fs::set_permissions(&p.path, Permissions::from_mode(0o700))
            .and_then(|()| fs::set_permissions(&p.path, before)))
    }),
];
