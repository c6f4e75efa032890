//! A place for plugin files, and what `nfio plugin` says of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Longer than a plugin's time limit (5 s), shorter than two: one that hangs costs its limit once.
const SOON: Duration = Duration::from_secs(9);

/// The symbol that makes a shared object look like a plugin (`ROOT_MODULE_LOADER_NAME` of abi_stable).
pub(super) const HEADER: &str = "char _1as_0lib_1header_0root_bmodule_bloader[4096];\n";

/// What the workspace's build left beside the test binary.
pub(super) fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join(name);
    assert!(path.exists(), "{} is missing: run `cargo build --workspace` first", path.display());
    path
}

pub(super) struct Room(tempfile::TempDir);

impl Room {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file with these bytes.
    pub(super) fn file(&self, name: &str, data: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, data).unwrap();
        path
    }

    /// A shared object made of C.
    pub(super) fn compiled(&self, name: &str, source: &str) -> PathBuf {
        let (from, to) = (self.file(&format!("{name}.c"), source.as_bytes()), self.path(name));
        let cc = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&to).arg(from).output();
        let cc = cc.expect("a C compiler: Rust's linker is one");
        assert!(cc.status.success(), "{}", String::from_utf8_lossy(&cc.stderr));
        to
    }
}

/// The report of `nfio plugin check`, while the type `odd` does what it is told.
pub(super) struct Report {
    pub(super) lines: Vec<String>,
}

pub(super) fn check_odd(file: &Path, told: &str) -> Report {
    let began = Instant::now();
    let temp = tempfile::tempdir().unwrap();
    let mut command = nfio(&["plugin", "check"]);
    let output = command.arg(file).env("NFIO_ODD", told).env("TMPDIR", temp.path()).output().unwrap();
    let lines = lines(&output);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0, "a copy was left");
    assert!(!lines.is_empty() && lines.len() <= 10, "{lines:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let good = lines[0] == format!("{}: good", file.display());
    let bad = lines[0].starts_with(&format!("{}: bad: ", file.display()));
    assert_eq!(output.status.code(), Some(if good { 0 } else { 1 }), "{lines:?}");
    assert!(good != bad, "{lines:?}");
    assert!(began.elapsed() < SOON * 3, "{:?}: {lines:?}", began.elapsed());
    Report { lines }
}

pub(super) fn check(file: &Path) -> Report {
    check_odd(file, "")
}

impl Report {
    pub(super) fn is_good(&self) -> bool {
        self.lines[0].ends_with(": good")
    }

    /// Fails unless the verdict is bad, with these words.
    #[track_caller]
    pub(super) fn is_bad(&self, words: &str) {
        assert!(!self.is_good() && self.lines[0].contains(words), "{words}: {:?}", self.lines);
    }
}

pub(super) fn nfio(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nfio"));
    command.args(words);
    command
}

pub(super) fn lines(output: &Output) -> Vec<String> {
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(String::from).collect()
}
