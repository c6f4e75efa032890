//! Plugins that load well and misbehave when they are called: the type `odd` (`tests/odd`).

use super::bed::{built, check, check_odd};

#[test]
fn sound_plugins_are_good_and_are_described() {
    for (library, words) in [
        ("libfirewall.so", ["type: firewall 0.1.0, middlebox-sdk 1.", "NET_ADMIN", "stats/rules 0440 value"]),
        ("librandom.so", ["type: random 0.1.0, middlebox-sdk 1.", "needs: nothing", "alpha 0644 ordinary"]),
        ("libodd.so", ["type: odd 0.1.0, middlebox-sdk 1.", "tried: 12 calls", "poke 0644 verb"]),
    ] {
        let report = check(&built(library));
        assert!(report.is_good(), "{:?}", report.lines);
        for words in words {
            assert!(report.lines.iter().any(|line| line.contains(words)), "{words}: {:?}", report.lines);
        }
    }
}

#[test]
fn an_error_that_only_says_that_the_guest_is_not_there_is_no_fault() {
    let told = "mkdir: errno 28\nread: raise 703\nwrite: raise 721\nconfigure: raise 720\ngetattr: errno 5";
    let report = check_odd(&built("libodd.so"), told);
    assert!(report.is_good(), "{:?}", report.lines);
}

#[test]
fn every_kind_of_fault_is_named_with_the_call_that_showed_it() {
    for (told, words) in [
        ("read: panic", "read of odd/log: the module panicked in read: as it was told"),
        ("write: errno 600", "write to odd/value: it answered errno 600, which does not exist"),
        ("prepare: errno -1", "prepare: it answered errno -1"),
        ("read: reply 100000000", "read of odd/log: the module answered 100000000 bytes to read"),
        ("configure: garble", "configure: the module answered configure with a text that is not UTF-8"),
        ("read: bytes", "its answer is no text (not UTF-8)"),
        ("read: refuse", "declared readable, but read does not answer it"),
        ("write: refuse", "declared writable, but write does not answer it"),
        ("mkdir: raise 726", "mkdir: as it was told"),
        ("construct: panic", "panicked in its construction: as it was told"),
        ("describe: panic", "panicked in describe: as it was told"),
        ("construct: abort", "while it was loaded it crashed: SIGABRT"),
        ("describe: crash", "while it was loaded it crashed: SIGSEGV"),
        ("describe: exit", "while it was loaded it ended the process (exit 0)"),
        ("describe: hang", "while it was loaded it did not come back within 5 seconds"),
        ("drop: crash", "SIGSEGV"),
    ] {
        check_odd(&built("libodd.so"), told).is_bad(words);
    }
}

#[test]
fn a_call_that_ends_the_process_or_hangs_is_named_and_the_others_are_still_tried() {
    for (told, words) in [
        ("configure: crash", "configure: it crashed: SIGSEGV"),
        ("configure: abort", "configure: it crashed: SIGABRT"),
        ("configure: overflow", "configure: it crashed: SIG"),
        ("configure: exit", "configure: it ended the process (exit 0)"),
        ("configure: hang", "configure: it did not come back within 5 seconds"),
    ] {
        let report = check_odd(&built("libodd.so"), &format!("{told}\nwrite: panic"));
        report.is_bad(words);
        let also = |line: &&String| line.starts_with("also: write to ") && line.contains("panicked in write");
        assert_eq!(report.lines.iter().filter(also).count(), 2, "{:?}", report.lines);
    }
}

#[test]
fn a_plugin_in_which_everything_is_wrong_has_a_report_of_ten_lines_too() {
    let all = ["mkdir", "prepare", "configure", "getattr", "read", "write"];
    let report = check_odd(&built("libodd.so"), &all.map(|what| format!("{what}: panic")).join("\n"));
    report.is_bad("mkdir: the module panicked");
    assert_eq!(report.lines.len(), 10);
    assert_eq!(report.lines[9], "and 7 more");
    let report = check_odd(&built("libodd.so"), &all.map(|what| format!("{what}: crash")).join("\n"));
    report.is_bad("mkdir: it crashed: SIGSEGV");
    assert_eq!(report.lines.last().unwrap(), "also: further calls were not tried");
}
