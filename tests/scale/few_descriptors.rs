//! A thousand instances where nfio may have 1024 descriptors.

use nfio_tests::{Instance, Mounted, Options, built, eventually};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::Command;
use std::thread;

use super::cases::Cases;
use super::usage::Usage;

const INSTANCES: usize = 1000;
/// Of them so many have guests.
const GUESTS: usize = 8;

pub(crate) fn judge(cases: &mut Cases) {
    let directory = tempfile::tempdir_in("/run").expect("a directory below /run");
    let limited = directory.path().join("nfio");
    fs::write(&limited, format!("#!/bin/sh\nulimit -n 1024\nexec {} \"$@\"\n", built("nfio").display()))
        .expect("a script");
    fs::set_permissions(&limited, Permissions::from_mode(0o755)).expect("chmod");
    let mounted = Mounted::with(Options { nfio: Some(limited), ..Options::default() });
    let all: Vec<_> = (0..INSTANCES).map(|number| mounted.firewall(&format!("fw-{number:04}"))).collect();
    let pid = mounted.pid();
    println!("{INSTANCES} instances under ulimit -n 1024");
    cases.case("nfio has the limit that it was started with", || {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
        let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
        assert_eq!(line.split_whitespace().nth(4), Some("1024"), "{line}");
    });
    cases.case("every special file of all is open at once", || hold_open(&all, pid));
    cases.case("find, grep -R and tar go over all of them", || {
        for (tool, words) in [
            ("find", &["-type", "f", "-size", "+1"] as &[_]),
            ("sh", &["-c", "grep -R -h -l undeployed . 2>/dev/null | wc -l"]),
            ("sh", &["-c", "tar -cf - */config */machine --exclude=vm.ip | tar -tf - | wc -l"]),
        ] {
            let ty = all[0].path().parent().expect("the type");
            let output = Command::new(tool).args(words).current_dir(ty).output().expect("a tool");
            assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
            let count = String::from_utf8_lossy(&output.stdout);
            // find prints names, the others a count.
            let found = count.trim().parse().unwrap_or_else(|_| count.lines().count());
            assert!(found >= INSTANCES, "{tool} {words:?}: {found}");
        }
    });
    cases.case("guests are deployed, asked and destroyed", || {
        let guests = &all[..GUESTS];
        thread::scope(|scope| guests.iter().for_each(|fw| drop(scope.spawn(|| fw.act("activate")))));
        for fw in guests {
            assert_eq!(fw.status(), "running");
            fw.counter("rx_bytes");
            assert_eq!(fw.run("echo here"), "here");
        }
        thread::scope(|scope| guests.iter().for_each(|fw| drop(scope.spawn(|| fw.act("destroy")))));
    });
    cases.case("one who opens files until none is left stops nobody for good", || use_up(&all, pid));
    for fw in &all {
        fs::remove_dir(fw.path()).expect("rmdir");
    }
}

/// Special files take no descriptor of nfio's: all of them can be open at the same time.
fn hold_open(all: &[Instance], pid: i32) {
    let before = Usage::of(pid).descriptors;
    let mut open = Vec::new();
    for fw in all {
        for name in ["status", "action", "last_error", "stats/rx_bytes"] {
            open.push(File::open(fw.file(name)).unwrap_or_else(|e| panic!("{name}: {e}")));
        }
    }
    let mut text = [0; 16];
    for status in open.iter().step_by(4) {
        let count = status.read_at(&mut text, 0).expect("a read");
        assert_eq!(&text[..count], b"undeployed\n");
    }
    let held = Usage::of(pid).descriptors;
    println!("{} special files open: {held} descriptors of nfio, {before} before", open.len());
    assert!(held <= before + 8, "{held} descriptors, {before} before");
}

/// An open ordinary file is one of nfio's descriptors. Past the limit open fails as it does anywhere; when some are
/// closed, all goes on.
fn use_up(all: &[Instance], pid: i32) {
    let before = Usage::of(pid).descriptors;
    let mut open = Vec::new();
    let refused = all.iter().cycle().find_map(|fw| match File::open(fw.file("machine/ip")) {
        Ok(file) => {
            open.push(file);
            (open.len() > 2000).then_some(0)
        }
        Err(e) => e.raw_os_error(),
    });
    println!("{} ordinary files were open when open failed", open.len());
    assert_eq!(refused, Some(libc::EMFILE), "the errno of a process that has too many open files");
    assert!(open.len() >= 900, "{} files", open.len());
    drop(open);
    eventually("all go on", || all.iter().all(|fw| fw.try_get("status").is_ok()));
    eventually("nfio holds no more than before", || Usage::of(pid).descriptors <= before);
}
