//! Callers that do not want to wait: poll on `status`, O_NONBLOCK on `action`, deadlines.

use nfio_tests::{Mounted, Options, errno, eventually, slow_image};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};

/// Ten lines that follow `status` until it is a given word.
const FOLLOW: &str = r#"
import os, select, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
poll = select.poll()
poll.register(fd, select.POLLPRI | select.POLLERR)
while True:
    word = os.pread(fd, 100, 0).decode().strip()
    print(word, flush=True)
    if word == sys.argv[2]: break
    if not poll.poll(60000): sys.exit("nothing changed in a minute")
"#;

#[test]
fn a_poll_loop_follows_status_without_busy_waiting() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    let status = fw.file("status");
    let follow = |until: &str| {
        let mut child = Command::new("python3")
            .args(["-c", FOLLOW])
            .arg(&status)
            .arg(until)
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        // It has looked once before anything changes.
        let first = lines.next().expect("a first word");
        (child, first, lines)
    };
    let (mut child, first, rest) = follow("running");
    fw.act("activate");
    let seen: Vec<_> = rest.collect();
    assert!(child.wait().expect("python3").success());
    assert_eq!((first.as_str(), seen.last().map(String::as_str)), ("undeployed", Some("running")));
    assert!(seen.len() <= 6, "a loop that spins would see each state many times: {seen:?}");
    // What happens without a verb wakes too.
    fw.act("destroy");
    fw.put("config/boot.conf", "command = [\"sleep\", \"2\"]\nrestart = \"no\"\n");
    fw.act("activate");
    let (mut child, _, rest) = follow("exited");
    assert_eq!(rest.last().as_deref(), Some("exited"));
    assert!(child.wait().expect("python3").success());
    fw.act("destroy");
}

#[test]
fn a_nonblocking_verb_returns_at_once_a_second_is_eagain_and_failure_shows_in_last_error() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.put("machine/vm.image", &format!("{}\n", slow_image().display()));
    fw.put("config/nf_conf", "table inet filter {\n}\n");
    let mut options = fs::OpenOptions::new();
    options.write(true).custom_flags(libc::O_NONBLOCK);
    let mut action = options.open(fw.file("action")).expect("open");
    assert_eq!(action.write(b"activate\n").expect("queued"), 9);
    // The guest's start takes five seconds, so it cannot be done yet.
    assert_eq!(errno(action.write(b"stop\n")), libc::EAGAIN);
    eventually("the activate is done", || {
        fw.try_get("last_error").is_ok_and(|e| e.is_empty())
            && fw.status() == "running"
            && errno(action.write(b"# nothing\n")) == 0
    });
    eventually("the wrong verb is queued", || action.write(b"frobnicate\n").is_ok_and(|count| count == 11));
    eventually("the failure shows", || fw.get("last_error").contains("frobnicate"));
    eventually("the queue is free", || errno(action.write(b"destroy\n")) == 0);
    eventually("it is destroyed", || fw.status() == "undeployed");
}

#[test]
fn a_verb_past_its_deadline_runs_on_keeps_others_out_and_ends_in_last_error() {
    let config = "[deadlines]\nactivate = 1\n".to_owned();
    let mounted = Mounted::with(Options { config, ..Options::default() });
    let fw = mounted.firewall("fw-a");
    fw.put("machine/vm.image", &format!("{}\n", slow_image().display()));
    fw.put("config/nf_conf", "table inet filter {\n}\n");
    assert_eq!(errno(fw.try_act("activate")), libc::ETIMEDOUT);
    let mut action = fs::OpenOptions::new().write(true).open(fw.file("action")).expect("open");
    assert_eq!(errno(action.write(b"stop\n")), libc::EBUSY);
    assert_ne!(fw.status(), "undeployed", "status is read all the while");
    let other = mounted.firewall("fw-b");
    assert_eq!(errno(other.try_act("stop")), libc::ENXIO, "other instances go on");
    eventually("the activate ends", || errno(action.write(b"# nothing\n")) == 0);
    assert_eq!(fw.status(), "running");
    assert_eq!(fw.try_get("last_error").expect("last_error"), "");
    let mut left = fs::OpenOptions::new().write(true).open(fw.file("action")).expect("open");
    eventually("destroy gets its turn", || {
        errno(left.write(b"undeployed\n")) == 0 || fw.status() == "undeployed"
    });
}

#[test]
fn a_command_that_never_ends_is_etimedout_and_delays_nobody() {
    let config = "[deadlines]\nverb = 1\n".to_owned();
    let mounted = Mounted::with(Options { config, ..Options::default() });
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    assert_eq!(errno(fw.try_write("command", "sleep 1000\n")), libc::ETIMEDOUT);
    assert_eq!(fw.status(), "running");
    assert!(fw.answers_ping());
    assert_eq!(fw.run("echo next"), "next");
    fw.act("destroy");
}
