//! `nfio doctor` on this machine, and on one that lacks something.

use std::process::{Command, Output};

fn lines(output: &Output) -> Vec<String> {
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(String::from).collect()
}

fn doctor() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nfio"));
    command.args(["doctor", "--module-root", "/tmp"]);
    command
}

#[test]
fn the_exit_status_says_whether_this_machine_can_mount() {
    let output = doctor().output().unwrap();
    let lines = lines(&output);
    let (verdict, checks) = lines.split_last().unwrap();
    assert!(checks.len() > 10);
    assert!(checks.iter().all(|line| line.starts_with("ok ") || line.starts_with("missing ")), "{checks:?}");
    assert!(checks.iter().all(|line| line.contains("  — ")), "{checks:?}");
    let lacks = checks.iter().any(|line| line.starts_with("missing ") && !line.contains("works without"));
    assert_eq!(output.status.code(), Some(i32::from(lacks)));
    assert_eq!(verdict.contains("cannot mount"), lacks);
}

#[test]
fn what_is_missing_is_named_with_the_way_to_mend_it() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_nfio")).args(["doctor", "--module-root", "/none"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let named = |line: &String| line.starts_with("missing  module_root") && line.contains("--module-root");
    assert!(lines(&output).iter().any(named));
}

#[test]
fn nothing_that_doctor_tries_stays_behind() {
    lines(&doctor().output().unwrap());
    assert!(!std::fs::read_to_string("/proc/net/dev").unwrap().contains("nfio-try"));
}
