//! What modules fail with: by what they answer, or by not answering.

use super::handle::HANDLE;
use super::{fails, say, told};
use nfio_tests::{Mounted, Options, errno, eventually};
use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

#[test]
fn class_705_rolls_back_whatever_the_module_failed_with() {
    let mounted = Mounted::with_odd(Options::default());
    let odd = mounted.odd("a");
    for (said, code, class, name, number) in [
        ("configure: errno 13", 705, "VNFDeployError", "EIO", libc::EIO),
        ("prepare: errno 13", 705, "VNFDeployError", "EIO", libc::EIO),
        ("configure: raise 703", 705, "VNFDeployError", "EIO", libc::EIO),
        // What tells the user where to mend keeps its class.
        ("configure: raise 720", 720, "VNFConfigurationError", "EINVAL", libc::EINVAL),
        ("configure: panic", 726, "ModuleFaultError", "EIO", libc::EIO),
        ("prepare: panic", 726, "ModuleFaultError", "EIO", libc::EIO),
    ] {
        say(&odd, said);
        fails(&odd, "activate", code, class, name, number, "as it was told");
        assert_eq!(odd.status(), "undeployed", "{said}");
        assert!(!mounted.guest(&odd).exists(), "{said}: a guest was left");
    }
    say(&odd, "");
    odd.act("activate");
    odd.act("destroy");
}

/// A mount where everything has a second.
fn hasty() -> Mounted {
    let config = "[deadlines]\nread = 1\nverb = 1\nactivate = 1\n".to_owned();
    Mounted::with_odd(Options { config, ..Options::default() })
}

#[test]
fn class_723_a_module_that_outstays_its_deadline_loses_its_handle() {
    let mounted = hasty();
    let odd = mounted.odd("a");
    say(&odd, "read: outstay");
    assert_eq!(errno(odd.try_get("odd/value")), libc::ETIMEDOUT);
    eventually("the module has come back", || mounted.log().contains("past its deadline"));
    let log = mounted.log();
    let line = log.lines().find(|line| line.contains("past its deadline")).expect("its line");
    let answers: Vec<_> = line.split("past its deadline: ").nth(1).expect("answers").split(", ").collect();
    let answers: Vec<_> = answers.into_iter().filter(|answer| !answer.is_empty()).collect();
    let asked = HANDLE.trim().lines().count() - 1;
    assert_eq!(answers.len(), asked, "{line}");
    for answer in answers {
        assert!(answer.ends_with(&format!(" 723 {}", libc::ETIMEDOUT)), "{answer}");
    }
    // The instance is none the worse.
    say(&odd, "");
    assert_eq!(odd.get("odd/value"), "odd");
}

#[test]
fn class_723_a_mkdir_that_does_not_come_back_leaves_nothing() {
    let mounted = hasty();
    let instance = mounted.instance("odd", "outstay.a");
    assert_eq!(errno(fs::create_dir(instance.path())), libc::ETIMEDOUT);
    assert!(!instance.path().exists());
    assert_eq!(fs::read_dir(mounted.root().join("nf-types/odd")).expect("the type").count(), 0);
}

#[test]
fn class_723_stands_in_last_error_where_a_module_says_it() {
    let mounted = hasty();
    let odd = mounted.odd("a");
    say(&odd, "write: raise 723");
    assert_eq!(errno(odd.try_write("poke", "x")), libc::ETIMEDOUT);
    told(&odd, 723, "DeadlineError", "ETIMEDOUT", "poke", "as it was told");
}

#[test]
fn class_724_a_module_that_is_gone() {
    let mounted = Mounted::with_odd(Options::default());
    let odd = mounted.odd("a");
    odd.act("activate");
    mounted.umount();
    fs::remove_file(mounted.module_root().join("libodd.so")).expect("unlink");
    mounted.mount();
    for verb in ["reload", "restart", "pause", "start", "running", "activate"] {
        fails(&odd, verb, 724, "ModuleMissingError", "ENOPKG", libc::ENOPKG, "odd");
    }
    assert_eq!(odd.status(), "running");
    assert_eq!(errno(odd.try_get("odd/value")), libc::ENOPKG);
    assert_eq!(errno(odd.try_write("poke", "x")), libc::ENOPKG);
    odd.act("stop");
    odd.act("destroy");
}

#[test]
fn class_725_busy_while_the_only_place_is_overdue_and_while_deployed() {
    // The module has a minute, its caller a second.
    let config = "[deadlines]\nread = 1\nactivate = 1\n".to_owned();
    let mounted = Mounted::with_odd(Options { config, ..Options::default() });
    let odd = mounted.odd("a");
    say(&odd, "write: wait");
    assert_eq!(errno(odd.try_write("poke", "x")), libc::ETIMEDOUT);
    assert_eq!(errno(odd.try_act("activate")), libc::EBUSY, "one that is overdue is still under way");
    assert_eq!(errno(fs::remove_dir(odd.path())), libc::EBUSY);
    assert_eq!(errno(fs::rename(odd.path(), odd.path().with_file_name("b"))), libc::EBUSY);
    odd.put("go", "go\n");
    eventually("it is done", || errno(odd.try_act("activate")) == 0);
    assert_eq!(errno(fs::remove_dir(odd.path())), libc::EBUSY);
    odd.act("destroy");
    say(&odd, "write: raise 725");
    assert_eq!(errno(odd.try_write("poke", "x")), libc::EBUSY);
    told(&odd, 725, "BusyError", "EBUSY", "poke", "as it was told");
}

#[test]
fn class_726_a_module_that_panics_or_answers_garbage_harms_nobody_else() {
    let mounted = Mounted::with_odd(Options::default());
    let (odd, fw) = (mounted.odd("a"), mounted.firewall("fw-a"));
    for said in ["panic", "errno 600", "errno -1", "reply 17825792", "raise 726"] {
        say(&odd, &format!("read: {said}\ngetattr: {said}"));
        assert_eq!(errno(odd.try_get("odd/value")), libc::EIO, "{said}");
        // Whoever lists a directory sees every file, whatever the module does.
        assert!(fs::metadata(odd.file("odd/sized")).is_ok(), "{said}");
        assert_eq!(fs::read_dir(odd.file("odd")).expect("ls").count(), 4, "{said}");
    }
    for (said, code, class, words) in [
        ("panic", 726, "ModuleFaultError", "panicked in write: as it was told"),
        ("errno 600", 0, "OSError", "as it was told"),
        ("errno 0", 0, "OSError", "as it was told"),
    ] {
        say(&odd, &format!("write: {said}"));
        assert_eq!(errno(odd.try_write("poke", "x")), libc::EIO, "{said}");
        told(&odd, code, class, "EIO", "poke", words);
        assert_eq!(errno(odd.try_write("odd/value", "x")), libc::EIO, "{said}");
    }
    odd.act("activate");
    say(&odd, "configure: panic");
    fails(&odd, "reload", 726, "ModuleFaultError", "EIO", libc::EIO, "panicked in configure");
    assert_eq!(odd.status(), "running");
    fails(&odd, "restart", 726, "ModuleFaultError", "EIO", libc::EIO, "panicked in configure");
    assert_eq!(odd.status(), "exited", "what nobody configured does not run");
    say(&odd, "");
    odd.act("start");
    odd.act("destroy");
    assert_eq!(fw.status(), "undeployed");
    let state = fs::read_to_string(mounted.path().join("modules/odd/state")).expect("its state");
    assert_eq!(state, "loaded\n");
}

#[test]
fn a_queue_that_is_full_is_eagain_and_everybody_who_got_in_is_served() {
    let mounted = Mounted::with_odd(Options::default());
    let odd = mounted.odd("a");
    say(&odd, "write: wait");
    // Not by O_TRUNC, at which the kernel itself lets one after the other in.
    let write = || fs::OpenOptions::new().write(true).open(odd.file("poke"))?.write(b"x");
    // One works and sixteen wait: those who come then are told to try again.
    let (refused, served) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| match errno(write()) {
                0 => served.fetch_add(1, Ordering::SeqCst),
                libc::EAGAIN => refused.fetch_add(1, Ordering::SeqCst),
                other => panic!("errno {other}"),
            });
        }
        eventually("the queue is full", || refused.load(Ordering::SeqCst) == 3);
        assert_eq!(served.load(Ordering::SeqCst), 0);
        odd.put("go", "go\n");
    });
    assert_eq!((refused.into_inner(), served.into_inner()), (3, 17));
}
