//! Section 5: every class of error is raised by a real cause, with its code, its errno and its lines in `last_error`.
//!
//! What no user can raise through a mount is raised by the fixture type `odd`, which answers with the class itself:
//! 715 (an empty name never gets past mkdir(2)) and 723 where it comes from a module. What never reaches `last_error`
//! because it is no verb (mkdir, rmdir, a read) is looked for in its errno and, where it is told there, in the log.

use nfio_tests::{Covered, Instance, Mounted, Options, errno, eventually};
use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Looks at what the last verb left in `last_error`: all its lines, in order.
#[track_caller]
fn told(instance: &Instance, code: u32, class: &str, errno: &str, operation: &str, words: &str) {
    let text = instance.try_get("last_error").expect("last_error");
    let mut lines = text.splitn(6, '\n');
    let mut line = || lines.next().unwrap_or_default();
    assert_eq!(line(), format!("code: {code}"), "{text}");
    assert_eq!(line(), format!("error: {class}"), "{text}");
    assert_eq!(line(), format!("errno: {errno}"), "{text}");
    assert_eq!(line(), format!("operation: {operation}"), "{text}");
    let time = line();
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let shape: Vec<_> = time.trim_start_matches("time: ").split(['-', 'T', ':', 'Z']).collect();
    assert!(shape.len() == 7 && shape.iter().all(|part| digits(part)), "{text}");
    let message = line();
    assert!(message.starts_with("message: ") && message.ends_with('\n'), "{text}");
    assert!(message.contains(words), "{words:?} is not in {text}");
}

/// A verb that must fail so.
#[track_caller]
fn fails(instance: &Instance, verb: &str, code: u32, class: &str, name: &str, number: i32, words: &str) {
    assert_eq!(errno(instance.try_act(verb)), number, "{verb}: {}", instance.get("last_error"));
    told(instance, code, class, name, verb, words);
}

/// Says how an instance of type `odd` misbehaves.
fn say(odd: &Instance, text: &str) {
    odd.put("say", &format!("{text}\n"));
}

#[test]
fn class_701_a_host_that_cannot_be_reached() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.put("machine/ip", "192.0.2.7\n");
    fails(&fw, "activate", 701, "HypervisorConnectionError", "ECONNREFUSED", libc::ECONNREFUSED, "192.0.2.7");
}

#[test]
fn class_702_a_guest_that_is_not_deployed_or_has_vanished() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fails(&fw, "stop", 702, "VNFNotFoundError", "ENXIO", libc::ENXIO, "activate");
    fw.act("activate");
    fw.act("stop");
    fs::remove_dir_all(mounted.guest(&fw)).expect("somebody removes the guest behind our back");
    assert_eq!(fw.status(), "dead");
    for verb in ["start", "restart", "stop", "pause", "reload", "running", "exited"] {
        fails(&fw, verb, 702, "VNFNotFoundError", "ENXIO", libc::ENXIO, "destroy");
    }
    fails(&fw, "activate", 722, "VNFAlreadyDeployedError", "EEXIST", libc::EEXIST, "destroy");
    fw.act("destroy");
    fw.act("activate");
    fw.act("destroy");
}

#[test]
fn class_703_a_command_that_fails_in_the_guest() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    assert_eq!(errno(fw.try_write("command", "no-such-program\n")), libc::EREMOTEIO);
    told(&fw, 703, "VNFCommandExecutionError", "EREMOTEIO", "command", "no-such-program");
    fw.act("destroy");
}

#[test]
fn class_704_a_skeleton_that_cannot_be_made() {
    let mounted = Mounted::with_odd(Options::default());
    let odd = mounted.instance("odd", "a");
    let private = mounted.root().join(".nfio/instances/odd");
    fs::create_dir_all(private.parent().expect("instances")).expect("nfio's own directory");
    fs::write(&private, "somebody's file where a directory belongs").expect("a file in the way");
    assert_eq!(errno(fs::create_dir(odd.path())), libc::EIO);
    assert!(!odd.path().exists());
    // There is no instance and so no last_error; the log tells.
    let log = mounted.log();
    assert!(log.contains("odd/a cannot be made: VNFCreateError: "), "{log}");
    fs::remove_file(&private).expect("unlink");
    fs::create_dir(odd.path()).expect("mkdir");
}

#[test]
fn an_instance_whose_module_fails_in_mkdir_is_not_there_at_all() {
    let mounted = Mounted::with_odd(Options::default());
    let make = |name: &str| errno(fs::create_dir(mounted.instance("odd", name).path()));
    // The module's own class counts; an errno that the kernel would choke on is EIO.
    for (name, expected) in [
        ("raise-720.a", libc::EINVAL),
        ("raise-704.a", libc::EIO),
        ("errno-28.a", libc::ENOSPC),
        ("errno-600.a", libc::EIO),
        ("errno-0.a", libc::EIO),
        ("panic.a", libc::EIO),
    ] {
        assert_eq!(make(name), expected, "{name}");
        assert!(!mounted.instance("odd", name).path().exists(), "{name}");
    }
    let ty = mounted.root().join("nf-types/odd");
    assert_eq!(fs::read_dir(&ty).expect("the type in ROOT").count(), 0, "nothing stands aside");
    // A fault of the disk keeps its errno too.
    let covered = Covered::read_only(&ty);
    assert_eq!(make("a"), libc::EROFS);
    drop(covered);
    assert_eq!(make("a"), 0);
}

#[test]
fn class_705_an_image_that_cannot_be_deployed() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.put("machine/vm.image", "/dev/null\n");
    fails(&fw, "activate", 705, "VNFDeployError", "EIO", libc::EIO, "/dev/null");
    let broken = mounted.root().with_file_name("broken.tar");
    fs::write(&broken, "this is no tar").expect("a broken image");
    fw.put("machine/vm.image", &format!("{}\n", broken.display()));
    fails(&fw, "activate", 705, "VNFDeployError", "EIO", libc::EIO, "broken.tar");
    assert_eq!(fw.status(), "undeployed");
}

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

#[test]
fn class_706_a_guest_that_cannot_be_removed_is_still_known() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    let busy = Covered::busy(&mounted.guest(&fw));
    fails(&fw, "destroy", 706, "VNFDestroyError", "EIO", libc::EIO, "fw-a");
    assert_eq!(fw.status(), "exited", "its processes have ended, the rest is there");
    assert_eq!(errno(fs::remove_dir(fw.path())), libc::EBUSY, "and no instance goes before its guest");
    drop(busy);
    fw.act("destroy");
    assert_eq!(fw.status(), "undeployed");
}

#[test]
fn class_707_a_guest_whose_command_is_gone_does_not_start() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.put("config/boot.conf", "command = [\"/opt/function\", \"100000\"]\n[[file]]\nsource = \"function\"\ntarget = \"/opt/function\"\nmode = 0o755\n");
    fw.put("config/function", "#!/bin/sh\nexec sleep $1\n");
    fw.act("activate");
    // The file comes back with every start; the interpreter that it names does not.
    fw.run("rm /bin/sh");
    fw.act("stop");
    fails(&fw, "start", 707, "VNFStartError", "EIO", libc::EIO, "/opt/function");
    assert_eq!(fw.status(), "exited");
    fails(&fw, "restart", 708, "VNFRestartError", "EIO", libc::EIO, "/opt/function");
    fails(&fw, "running", 707, "VNFStartError", "EIO", libc::EIO, "/opt/function");
    fw.act("destroy");
}

#[test]
fn classes_707_to_711_a_freezer_that_cannot_be_written() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    let stuck = Covered::read_only(&mounted.freezer(&fw));
    fails(&fw, "pause", 710, "VNFPauseError", "EIO", libc::EIO, "fw-a");
    assert_eq!(fw.status(), "running", "it has not paused");
    drop(stuck);
    fw.act("pause");

    let stuck = Covered::read_only(&mounted.freezer(&fw));
    fails(&fw, "start", 707, "VNFStartError", "EIO", libc::EIO, "unpause");
    fails(&fw, "unpause", 711, "VNFUnpauseError", "EIO", libc::EIO, "fw-a");
    fails(&fw, "running", 711, "VNFUnpauseError", "EIO", libc::EIO, "fw-a");
    fails(&fw, "restart", 708, "VNFRestartError", "EIO", libc::EIO, "fw-a");
    fails(&fw, "stop", 709, "VNFStopError", "EIO", libc::EIO, "fw-a");
    fails(&fw, "exited", 709, "VNFStopError", "EIO", libc::EIO, "fw-a");
    assert_eq!(fw.status(), "paused", "none of them did anything by half");
    drop(stuck);
    fw.act("unpause");
    assert!(fw.answers_ping());
    fw.act("destroy");
}

#[test]
fn class_712_a_failed_activate_that_cannot_be_rolled_back() {
    let mounted = Mounted::with_odd(Options::default());
    let odd = mounted.odd("a");
    say(&odd, "configure: wait-fail");
    let busy = thread::scope(|scope| {
        let activate = scope.spawn(|| errno(odd.try_act("activate")));
        let guest = mounted.guest(&odd);
        eventually("the guest runs", || guest.join("run.json").exists());
        let busy = Covered::busy(&guest);
        odd.put("go", "go\n");
        assert_eq!(activate.join().expect("activate"), libc::ENOTRECOVERABLE);
        busy
    });
    told(
        &odd,
        712,
        "VNFDeployErrorWithInconsistentState",
        "ENOTRECOVERABLE",
        "activate",
        "write destroy when that is mended",
    );
    assert_eq!(odd.status(), "exited");
    drop(busy);
    odd.act("destroy");
    assert_eq!(odd.status(), "undeployed");
}

#[test]
fn classes_713_714_715_empty_names() {
    let mounted = Mounted::with_odd(Options::default());
    let odd = mounted.odd("a");
    odd.put("machine/vm.image", "\n");
    let inval = libc::EINVAL;
    fails(&odd, "activate", 713, "VNFImageNameIsEmptyError", "EINVAL", inval, "machine/vm.image");
    odd.put("machine/vm.image", "image\n");
    odd.put("machine/ip", "");
    fails(&odd, "activate", 714, "VNFHostNameIsEmptyError", "EINVAL", inval, "machine/ip");
    say(&odd, "write: raise 715");
    assert_eq!(errno(odd.try_write("poke", "x")), inval);
    told(&odd, 715, "VNFNameIsEmptyError", "EINVAL", "poke", "as it was told");
}

#[test]
fn class_716_a_guest_that_does_not_run() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    fw.act("stop");
    fails(&fw, "reload", 716, "VNFNotRunningError", "EHOSTDOWN", libc::EHOSTDOWN, "exited");
    assert_eq!(errno(fw.try_write("command", "true\n")), libc::EHOSTDOWN);
    told(&fw, 716, "VNFNotRunningError", "EHOSTDOWN", "command", "start");
    fw.act("destroy");
}

#[test]
fn classes_720_721_722_what_the_user_wrote() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.put("config/boot.conf", "frobnicate = 1\n");
    fails(&fw, "activate", 720, "VNFConfigurationError", "EINVAL", libc::EINVAL, "frobnicate");
    fw.put("config/boot.conf", "");
    assert_eq!(errno(fw.try_act("frobnicate")), libc::EINVAL);
    told(&fw, 721, "UnknownVerbError", "EINVAL", "action", "frobnicate");
    fw.act("activate");
    fails(&fw, "activate", 722, "VNFAlreadyDeployedError", "EEXIST", libc::EEXIST, "destroy");
    fw.act("destroy");
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
fn class_727_what_policy_does_not_grant() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    std::os::unix::fs::chown(fw.file("config/boot.conf"), Some(65534), None).expect("chown");
    fails(&fw, "activate", 727, "PolicyError", "EPERM", libc::EPERM, "image_paths");
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

#[test]
fn an_own_verb_may_do_what_the_life_cycle_does() {
    let mounted = Mounted::with_odd(Options::default());
    let odd = mounted.odd("a");
    let poke = |operation: &str| {
        say(&odd, &format!("write: do {operation}"));
        errno(odd.try_write("poke", "x"))
    };
    assert_eq!(poke("start"), libc::ENXIO);
    told(&odd, 702, "VNFNotFoundError", "ENXIO", "poke", "not deployed");
    for (operation, status) in [
        ("deploy", "running"),
        ("pause", "paused"),
        ("unpause", "running"),
        ("restart", "running"),
        ("stop", "exited"),
        ("start", "running"),
    ] {
        assert_eq!(poke(operation), 0, "{operation}: {}", odd.get("last_error"));
        assert_eq!(odd.status(), status, "{operation}");
        assert_eq!(odd.get("last_error"), "", "{operation}");
    }
    assert_eq!(poke("deploy"), libc::EEXIST);
    assert_eq!(poke("destroy"), libc::EIO, "one that runs goes by force only");
    told(&odd, 706, "VNFDestroyError", "EIO", "poke", "force");
    assert_eq!(odd.status(), "running");
    assert_eq!(poke("stop"), 0);
    assert_eq!(poke("destroy"), 0);
    assert_eq!(odd.status(), "undeployed");
}

/// What a handle answers in each call. `.`: allowed; `-`: EPERM.
const HANDLE: &str = "
                mkdir  getattr  read  value  prepare  configure
type_name       .      .        .     .      .        .
name            .      .        .     .      .        .
user            -      .        .     .      .        .
host            -      .        .     .      .        .
image           -      .        .     .      .        .
driver          -      .        .     .      .        .
read_file       .      .        .     .      .        .
write_file      .      .        .     .      .        .
value_status    -      .        .     .      .        .
value_rx_bytes  -      -        .     .      .        .
guest_log       -      .        .     .      .        .
guest_status    -      -        .     .      .        .
get_id          -      -        .     .      .        .
get_ip          -      -        .     .      .        .
counters        -      -        .     .      .        .
execute         -      -        .     .      -        .
put_file        -      -        -     -      .        .
set_env         -      -        -     -      .        -
set_command     -      -        -     -      .        -
deploy          -      -        -     -      -        -
start           -      -        -     -      -        -
pause           -      -        -     -      -        -
unpause         -      -        -     -      -        -
restart         -      -        -     -      -        -
stop            -      -        -     -      -        -
destroy-force   -      -        -     -      -        -
";

#[test]
fn a_handle_refuses_whatever_is_beyond_its_call() {
    let mounted = Mounted::with_odd(Options::default());
    let odd = mounted.odd("try.a");
    let heard = || odd.try_get("heard").expect("what the module was answered");
    let mut columns = vec![("mkdir", heard())];
    odd.act("activate");
    say(&odd, "getattr: try\nread: try\nwrite: try\nprepare: try\nconfigure: try");
    fs::metadata(odd.file("odd/sized")).expect("stat");
    columns.push(("getattr", heard()));
    columns.push(("read", odd.try_get("odd/value").expect("read")));
    odd.try_write("odd/value", "x").expect("write to a value");
    columns.push(("value", heard()));
    odd.act("reload");
    columns.push(("configure", heard()));
    odd.act("stop");
    say(&odd, "prepare: try");
    odd.act("start");
    columns.push(("prepare", heard()));
    assert_eq!(odd.status(), "running", "nothing of all this changed the guest");

    let mut rows = HANDLE.trim().lines();
    let calls: Vec<_> = rows.next().expect("the heading").split_whitespace().collect();
    for row in rows {
        let mut cells = row.split_whitespace();
        let name = cells.next().expect("a name").replace('_', " ").replace("value ", "value_");
        for (call, cell) in calls.iter().zip(cells) {
            let answers = &columns.iter().find(|(column, _)| column == call).expect("a column").1;
            let answer = answers
                .lines()
                .find_map(|line| {
                    line.replace('_', " ")
                        .replace("value ", "value_")
                        .strip_prefix(&format!("{name} "))
                        .map(str::to_owned)
                })
                .unwrap_or_else(|| panic!("{call}: {name} is not in {answers}"));
            let refused = format!("0 {}", libc::EPERM);
            // In prepare the guest is deployed and does not run: what asks the driver is told so.
            let down = format!("716 {}", libc::EHOSTDOWN);
            match cell {
                "-" => assert_eq!(answer, refused, "{name} in {call}"),
                _ if *call == "prepare" => {
                    assert!(answer == "ok" || answer == down, "{name} in {call}: {answer}")
                }
                _ => assert_eq!(answer, "ok", "{name} in {call}"),
            }
        }
    }
    odd.act("destroy");
}
