//! `last_error` and the rules of `action`.

use nfio_tests::{Mounted, errno};
use std::fs;

#[test]
fn an_unknown_verb_is_einval_and_is_told_with_the_known_ones() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    assert_eq!(errno(fw.try_act("frobnicate")), libc::EINVAL);
    let error = fw.get("last_error");
    assert!(error.contains("721") && error.contains("frobnicate") && error.contains("activate"), "{error}");
}

#[test]
fn last_error_survives_a_remount_and_is_not_touched_by_reads() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.try_act("stop").expect_err("not deployed");
    let error = fw.get("last_error");
    assert_eq!(errno(fw.try_get("stats/rx_bytes")), libc::ENXIO);
    mounted.umount();
    mounted.mount();
    assert_eq!(fw.get("last_error"), error);
}

#[test]
fn action_reads_as_comments_so_that_copying_it_runs_nothing() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    let text = fw.try_get("action").expect("action");
    assert!(text.starts_with("# last: activate\n# "), "{text}");
    assert!(text.lines().all(|line| line.starts_with('#')) && text.contains("destroy"), "{text}");
    fw.try_write("action", &text).expect("comments do nothing");
    assert_eq!(fw.status(), "running");
    fw.act("destroy");
}

#[test]
fn several_lines_run_in_order_and_blank_ones_do_nothing() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.try_write("action", "\n# now\nactivate\n\nstop\n").expect("two verbs");
    assert_eq!(fw.status(), "exited");
    // The second line fails: the write returns the bytes before it.
    let mut file = fs::OpenOptions::new().write(true).open(fw.file("action")).expect("open");
    let count = std::io::Write::write(&mut file, b"start\nfrobnicate\nstop\n").expect("a short write");
    assert_eq!(count, "start\n".len());
    assert_eq!(fw.status(), "running");
    fw.act("destroy");
}

#[test]
fn a_verb_needs_no_newline_and_ignores_offset_and_append() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.try_write("action", "activate").expect("no newline");
    let mut appending = fs::OpenOptions::new().append(true).open(fw.file("action")).expect("open");
    std::io::Write::write_all(&mut appending, b"stop\n").expect("append");
    std::io::Write::write_all(&mut appending, b"start\n").expect("append again");
    assert_eq!(fw.status(), "running");
    fw.act("destroy");
}

#[test]
fn writes_to_read_only_special_files_are_eacces_also_for_root() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    for file in ["status", "last_error", "log", "output", "machine/vm.ip", "stats/rx_bytes", "stats/rules"] {
        assert_eq!(errno(fw.try_write(file, "x")), libc::EACCES, "{file}");
    }
}
