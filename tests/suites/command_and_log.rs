//! `command`, `output` and `log`.

use nfio_tests::{Mounted, errno, eventually};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

#[test]
fn a_command_runs_in_the_guest_and_the_same_open_file_reads_its_output() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    let mut file = fs::OpenOptions::new().read(true).write(true).open(fw.file("command")).expect("open");
    file.write_all(b"hostname; echo to stderr >&2\n").expect("a command");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("its output");
    assert!(text.contains("to stderr"), "{text}");
    assert_eq!(fw.get("output"), text.trim_end());
    fw.act("destroy");
}

#[test]
fn a_command_that_fails_is_a_remote_io_error_with_its_words() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    assert_eq!(errno(fw.try_write("command", "true\n")), libc::ENXIO);
    fw.act("activate");
    assert_eq!(errno(fw.try_write("command", "echo because >&2; exit 7\n")), libc::EREMOTEIO);
    let error = fw.get("last_error");
    assert!(error.contains("703") && error.contains("exit code 7") && error.contains("because"), "{error}");
    assert_eq!(fw.get("output"), "because");
    fw.act("stop");
    assert_eq!(errno(fw.try_write("command", "true\n")), libc::EHOSTDOWN);
    fw.act("destroy");
}

#[test]
fn a_command_may_be_long() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    let script = format!("x={}; echo ${{#x}}", "y".repeat(100_000));
    assert_eq!(fw.run(&script), "100000");
    assert_eq!(errno(fw.try_write("command", &"z".repeat(129 << 10))), libc::EINVAL);
    fw.act("destroy");
}

#[test]
fn tail_f_follows_the_guests_log() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.put(
        "config/boot.conf",
        "command = [\"sh\", \"-c\", \"i=0; while true; do echo line $i; i=$((i+1)); sleep 0.2; done\"]\n",
    );
    fw.act("activate");
    let mut tail = Command::new("tail")
        .args(["-n", "+1", "-f"])
        .arg(fw.file("log"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("tail");
    let lines = BufReader::new(tail.stdout.take().expect("a pipe")).lines();
    let seen: Vec<_> = lines.map_while(Result::ok).take(8).collect();
    let expected: Vec<_> = (0..8).map(|i| format!("line {i}")).collect();
    assert_eq!(seen, expected);
    tail.kill().expect("kill");
    tail.wait().expect("wait");
    let size = fs::metadata(fw.file("log")).expect("stat").len();
    assert!(size > 0 && size != 1000, "a log has its true size");
    eventually("wc -l counts lines", || {
        let wc = Command::new("wc").arg("-l").arg(fw.file("log")).output().expect("wc");
        String::from_utf8_lossy(&wc.stdout).split(' ').next().and_then(|n| n.parse::<u32>().ok()) > Some(8)
    });
    fw.act("destroy");
    assert!(fw.get("log").starts_with("line 0"), "kept after the guest is gone");
}
