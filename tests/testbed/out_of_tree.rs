//! Crates outside nfio's workspace, built as a third party builds them; and copies of this checkout with edits.
//!
//! All are built into the target directory that the suites themselves come from: what they depend on is compiled there
//! already, so each build costs seconds. Cargo's own lock lets one build after the other; what they leave has names of
//! its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::built;

/// The checkout that the suites come from.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn target() -> PathBuf {
    built("nfio").ancestors().nth(2).expect("target").to_owned()
}

/// Both outputs of a command that must succeed.
#[track_caller]
pub fn output_of(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}:\n{text}");
    text
}

/// A crate, or a workspace, with a lock file of its own.
pub struct Crate(PathBuf);

impl Crate {
    /// The crate in `directory`. It gets this checkout's Cargo.lock: there is no network in the test bed, and the
    /// versions in that file are those that building the suites has downloaded. Cargo strikes out what is not needed.
    #[track_caller]
    pub fn new(directory: &Path) -> Self {
        fs::copy(checkout().join("Cargo.lock"), directory.join("Cargo.lock")).expect("a copy of Cargo.lock");
        Self(directory.to_owned())
    }

    /// The workspace in `directory`, with the lock file that it has.
    pub fn within(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// Runs cargo, which must succeed; its outputs.
    #[track_caller]
    pub fn cargo(&self, arguments: &[&str]) -> String {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(&self.0).env("CARGO_TARGET_DIR", target());
        output_of(command.args(arguments).arg("--offline"))
    }

    /// What a build left in `target/<profile>`.
    #[track_caller]
    pub fn built(&self, profile: &str, name: &str) -> PathBuf {
        let path = target().join(profile).join(name);
        assert!(path.exists(), "{} was not built", path.display());
        path
    }
}

/// A directory tree below `target/out-of-tree`, written anew at each run. A file that is as it was keeps its time, so
/// that cargo builds again only what has changed.
#[derive(Default)]
pub struct Tree {
    files: Vec<(PathBuf, String)>,
}

impl Tree {
    /// Adds a text file.
    pub fn add(&mut self, path: impl Into<PathBuf>, text: impl Into<String>) {
        self.files.push((path.into(), text.into()));
    }

    /// Adds a file, or all text files below a directory, of the checkout, under the same path.
    #[track_caller]
    pub fn copy(&mut self, path: &str) {
        let from = checkout().join(path);
        if from.is_dir() {
            let entries = fs::read_dir(&from).expect("a directory of the checkout");
            for name in entries.map(|entry| entry.expect("an entry").file_name()) {
                self.copy(&format!("{path}/{}", name.to_str().expect("a name")));
            }
        } else {
            let text = fs::read_to_string(&from).unwrap_or_else(|e| panic!("read of {path}: {e}"));
            self.add(path, text);
        }
    }

    /// Puts `text` behind `anchor`, which the file must hold exactly once.
    #[track_caller]
    pub fn insert(&mut self, path: &str, anchor: &str, text: &str) {
        self.replace(path, anchor, &format!("{anchor}{text}"));
    }

    /// Puts `text` in place of `anchor`, which the file must hold exactly once.
    #[track_caller]
    pub fn replace(&mut self, path: &str, anchor: &str, text: &str) {
        let file = self.file(path);
        let found = file.matches(anchor).count();
        assert_eq!(
            found, 1,
            "{path} has this {found} times, so the edit of its copy has to change:\n{anchor}"
        );
        *file = file.replace(anchor, text);
    }

    /// Puts `text` in place of all from `start`, which the file must hold exactly once, to the next `end`.
    #[track_caller]
    pub fn replace_span(&mut self, path: &str, start: &str, end: &str, text: &str) {
        let file = self.file(path);
        let rest = file.split_once(start).unwrap_or_else(|| panic!("{path} has no {start}")).1;
        let inner = rest.split_once(end).unwrap_or_else(|| panic!("{path} has no {end} behind {start}")).0;
        let span = format!("{start}{inner}{end}");
        self.replace(path, &span, text);
    }

    #[track_caller]
    fn file(&mut self, path: &str) -> &mut String {
        let found = self.files.iter_mut().find(|(name, _)| name == Path::new(path));
        &mut found.unwrap_or_else(|| panic!("{path} is not in the tree")).1
    }

    /// Writes all files to `target/out-of-tree/NAME`; answers that directory.
    #[track_caller]
    pub fn write(self, name: &str) -> PathBuf {
        let directory = target().join("out-of-tree").join(name);
        let files: Vec<_> = self.files.into_iter().map(|(path, text)| (directory.join(path), text)).collect();
        remove_others(&directory, &files);
        for (path, text) in files {
            if fs::read_to_string(&path).is_ok_and(|old| old == text) {
                continue;
            }
            fs::create_dir_all(path.parent().expect("a directory")).expect("mkdir");
            fs::write(&path, text).unwrap_or_else(|e| panic!("write of {}: {e}", path.display()));
        }
        directory
    }
}

/// Removes what an earlier run left and this one does not write.
fn remove_others(directory: &Path, files: &[(PathBuf, String)]) {
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return,
        entries => entries.expect("a directory of the tree"),
    };
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            remove_others(&path, files);
        } else if !files.iter().any(|(kept, _)| *kept == path) {
            fs::remove_file(&path).unwrap_or_else(|e| panic!("unlink of {}: {e}", path.display()));
        }
    }
}
