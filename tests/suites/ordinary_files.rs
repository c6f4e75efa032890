//! Editors, shells and copies on ordinary and special files, run by the real tools.

use nfio_tests::{Mounted, ok};
use std::fs;
use std::process::Command;

/// Runs a script in a directory, which must succeed, and answers its output.
#[track_caller]
fn sh(directory: &std::path::Path, script: &str) -> String {
    let output = Command::new("sh").arg("-euc").arg(script).current_dir(directory).output().expect("sh");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn editors_replace_nf_conf_and_nfio_reads_the_new_one() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    // As vi writes: a new file beside it, renamed over it.
    sh(fw.path(), "echo '# one' > config/.nf_conf.new && mv config/.nf_conf.new config/nf_conf");
    assert_eq!(fw.get("config/nf_conf"), "# one");
    sh(fw.path(), "sed -i 's/one/two/' config/nf_conf && echo '# three' >> config/nf_conf");
    assert_eq!(fw.get("config/nf_conf"), "# two\n# three");
    // As vi with a backup: the old one renamed away first.
    sh(
        fw.path(),
        "mv config/nf_conf config/nf_conf~ && cp config/nf_conf~ config/nf_conf && rm config/nf_conf~",
    );
    fs::remove_file(fw.file("config/nf_conf")).expect("a missing one reads as empty");
    fw.act("activate");
    fw.act("destroy");
}

#[test]
fn printf_with_two_lines_runs_two_verbs() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    sh(fw.path(), "printf 'activate\\nstop' > action");
    assert_eq!(fw.status(), "exited");
    sh(fw.path(), "echo start >> action");
    assert_eq!(fw.status(), "running");
    sh(fw.path(), "echo destroy | tee action");
    assert_eq!(fw.status(), "undeployed");
}

#[test]
fn copying_a_deployed_instance_runs_nothing_and_its_configuration_makes_a_new_one() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.put("config/nf_conf", "# mine\n");
    fw.act("activate");
    let ty = fw.path().parent().expect("type");
    // mkdir makes the skeleton, so cp finds there what it means to make: it says so, and copies no file.
    let cp = Command::new("cp").args(["-r", "fw-a", "fw-b"]).current_dir(ty).output().expect("cp");
    let words = String::from_utf8(cp.stderr).expect("UTF-8");
    assert!(!cp.status.success() && words.lines().all(|line| line.contains("File exists")), "{words}");
    let copy = mounted.instance("firewall", "fw-b");
    assert_eq!((copy.status(), fw.status()), ("undeployed".into(), "running".into()));
    // With the directory there, cp goes on; special files that cannot be written are named.
    let cp = Command::new("cp").args(["-rT", "fw-a", "fw-b"]).current_dir(ty).output().expect("cp");
    let words = String::from_utf8(cp.stderr).expect("UTF-8");
    assert!(words.lines().all(|line| line.contains("Permission denied")), "{words}");
    assert_eq!(copy.status(), "undeployed", "copying action runs nothing");
    assert_eq!(copy.get("config/nf_conf"), "# mine");
    assert_eq!(copy.get("machine/ip"), "127.0.0.1");
    assert_eq!(fw.status(), "running");
    copy.act("activate");
    assert_ne!(copy.address(), fw.address());
    copy.act("destroy");
    fw.act("destroy");
}

#[test]
fn one_open_value_reads_one_snapshot_at_any_offset() {
    use std::os::unix::fs::FileExt;
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    let file = ok("open", fs::File::open(fw.file("status")));
    let mut text = [0; 32];
    let count = ok("pread", file.read_at(&mut text, 0));
    assert_eq!(&text[..count], b"undeployed\n");
    fw.act("activate");
    let count = ok("pread", file.read_at(&mut text, 2));
    assert_eq!(&text[..count], b"deployed\n", "the same snapshot");
    let count = ok("pread", file.read_at(&mut text, 0));
    assert_eq!(&text[..count], b"running\n", "anew at offset 0");
    assert_eq!(ok("pread", file.read_at(&mut text, 100)), 0);
    fw.act("destroy");
}

#[test]
fn every_usual_tool_reads_a_value_whole() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    for tool in
        ["cat status", "busybox cat status", "head -n 1 status", "dd if=status 2>/dev/null", "grep . status"]
    {
        assert_eq!(sh(fw.path(), tool), "undeployed\n", "{tool}");
    }
    assert_eq!(sh(fw.path(), "read -r word < status; echo $word"), "undeployed\n");
    assert_eq!(sh(fw.path(), "tar -cf - config machine/ip | tar -tf - | sort | tail -n 1"), "machine/ip\n");
}
