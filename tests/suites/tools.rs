//! The tools that people use, on special and on ordinary files: what each prints and how it exits. What a tool cannot do
//! by its own nature stands here too, with the reason.

#[path = "tools/table.rs"]
mod table;

use nfio_tests::Mounted;
use std::path::Path;
use std::process::Command;
use table::{ORDINARY, RUNNING, Row, UNDEPLOYED, Words};

/// Longest time that a tool may take; those that wait on purpose say so themselves.
const LIMIT: &str = "60";

/// Runs every row in an instance's directory and tells all that are not as the table says.
#[track_caller]
fn judge(directory: &Path, rows: &[Row]) {
    let mut wrong = Vec::new();
    for Row(script, exit, words) in rows {
        let mut command = Command::new("timeout");
        command.args([LIMIT, "bash", "-c", script]).current_dir(directory);
        // An editor's or a shell's habits of this machine are not the tool's.
        command.env("LC_ALL", "C").env("HOME", "/run/tmp").env_remove("PYENV_ROOT");
        let output = command.output().expect("timeout");
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let is_right = match words {
            Words::Are(words) => said.trim_end() == *words,
            Words::Have(part) => said.contains(part),
        };
        if output.status.code() != Some(*exit) || !is_right {
            wrong.push(format!(
                "{script}\n    {:?}, not {exit}: {said:?}, not {words:?}",
                output.status.code()
            ));
        }
    }
    println!("{} rows", rows.len());
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn tools_on_special_files_of_an_instance_without_a_guest() {
    let mounted = Mounted::new();
    judge(mounted.firewall("fw-a").path(), UNDEPLOYED);
}

#[test]
fn tools_on_special_files_of_an_instance_that_runs() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    judge(fw.path(), RUNNING);
}

#[test]
fn tools_on_ordinary_files() {
    let mounted = Mounted::new();
    judge(mounted.firewall("fw-a").path(), ORDINARY);
}
