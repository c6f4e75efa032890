//! Other users of the machine.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

/// User and group `nobody`.
pub const NOBODY: u32 = 65534;

/// A user without privileges, of one group alone.
#[derive(Debug, Clone, Copy)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl User {
    /// `nobody`, of the group of the same number.
    pub const NOBODY: Self = Self { uid: NOBODY, gid: NOBODY };

    /// A user whose group has the same number.
    pub fn new(id: u32) -> Self {
        Self { uid: id, gid: id }
    }

    /// Runs a script in a directory as this user.
    pub fn sh(self, directory: &Path, script: &str) -> Output {
        // Entered as the user: what root may enter says nothing about that.
        let script = format!("cd \"$WHERE\"\n{script}");
        let mut command = Command::new("sh");
        // Setting the user clears the supplementary groups too.
        command.args(["-euc", &script]).uid(self.uid).gid(self.gid);
        command.current_dir("/").env("WHERE", directory).env("LC_ALL", "C");
        command.output().expect("sh")
    }

    /// Runs a script that must succeed, and answers what it prints.
    #[track_caller]
    pub fn does(self, directory: &Path, script: &str) -> String {
        let output = self.sh(directory, script);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {words}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Runs a script that must fail with these words and print nothing.
    #[track_caller]
    pub fn cannot(self, directory: &Path, script: &str, because: &str) {
        let output = self.sh(directory, script);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{script} succeeded as uid {}", self.uid);
        assert!(words.contains(because), "{script}: {because:?} is not in {words:?}");
        assert!(output.stdout.is_empty(), "{script}: {}", String::from_utf8_lossy(&output.stdout));
    }
}
