//! A plugin that does not come back from a call within a verb is given up: the verb fails with ETIMEDOUT, what it began
//! is undone, its instance takes verbs again, and the late comer reaches nothing any more.

use nfio_tests::{Instance, Mounted, Options, errno, eventually};

/// A mount where a call within a verb has a second, and the verb as a whole a minute.
fn hasty() -> Mounted {
    let config = "[deadlines]\nverb = 1\n".to_owned();
    Mounted::with_odd(Options { config, ..Options::default() })
}

fn say(odd: &Instance, words: &str) {
    odd.put("say", &format!("{words}\n"));
}

#[track_caller]
fn timed_out(odd: &Instance, operation: &str, function: &str) {
    let told = odd.get("last_error");
    assert!(told.starts_with("code: 723\nerror: DeadlineError\nerrno: ETIMEDOUT\n"), "{told}");
    assert!(told.contains(&format!("operation: {operation}\n")), "{told}");
    let message = format!("message: {function} of odd/a by the module of type odd did not come back");
    assert!(told.contains(&message), "{told}");
}

#[test]
fn an_activate_whose_prepare_or_configure_hangs_is_rolled_back_and_works_once_it_is_mended() {
    let mounted = hasty();
    let odd = mounted.odd("a");
    for function in ["prepare", "configure"] {
        say(&odd, &format!("{function}: hang"));
        assert_eq!(errno(odd.try_act("activate")), libc::ETIMEDOUT, "{function}");
        timed_out(&odd, "activate", function);
        assert_eq!(odd.status(), "undeployed");
        assert!(!mounted.guest(&odd).exists(), "nothing is left of the guest");
        assert_eq!(errno(odd.try_act("destroy")), libc::ENXIO, "not EBUSY");
        say(&odd, "");
        odd.act("activate");
        assert_eq!((odd.status().as_str(), odd.get("last_error").as_str()), ("running", ""));
        odd.act("destroy");
    }
    assert_eq!(mounted.module("odd", "state"), "loaded");
    std::fs::remove_dir_all(odd.path()).expect("rm -r");
}

#[test]
fn a_start_whose_configure_hangs_leaves_the_guest_stopped_and_a_reload_leaves_it_running() {
    let mounted = hasty();
    let odd = mounted.odd("a");
    odd.act("activate");
    say(&odd, "configure: hang");
    assert_eq!(errno(odd.try_act("reload")), libc::ETIMEDOUT);
    timed_out(&odd, "reload", "configure");
    assert_eq!(odd.status(), "running");
    odd.act("stop");
    assert_eq!(errno(odd.try_act("start")), libc::ETIMEDOUT);
    timed_out(&odd, "start", "configure");
    assert_eq!(odd.status(), "exited");
    say(&odd, "");
    odd.act("start");
    odd.act("destroy");
}

#[test]
fn an_own_verb_that_hangs_holds_up_neither_stop_nor_destroy() {
    let mounted = hasty();
    let odd = mounted.odd("a");
    odd.act("activate");
    say(&odd, "write: hang");
    assert_eq!(errno(odd.try_write("poke", "x")), libc::ETIMEDOUT);
    timed_out(&odd, "poke", "write to poke");
    assert_eq!(odd.status(), "running");
    odd.act("stop");
    odd.act("destroy");
    assert_eq!(errno(odd.try_write("poke", "x")), libc::ETIMEDOUT);
    odd.act("activate");
    odd.act("destroy");
}

#[test]
fn a_late_comer_is_refused_everything_and_reaches_no_guest() {
    let mounted = hasty();
    let odd = mounted.odd("a");
    odd.act("activate");
    for (function, act) in [("configure", "reload"), ("write", "poke")] {
        say(&odd, &format!("{function}: outstay"));
        let outcome = match act {
            "poke" => odd.try_write("poke", "x"),
            verb => odd.try_act(verb),
        };
        assert_eq!(errno(outcome), libc::ETIMEDOUT, "{act}");
        say(&odd, "");
    }
    let late = || mounted.log().lines().filter(|line| line.contains("came back after its deadline")).count();
    eventually("both have come back", || late() == 2);
    let log = mounted.log();
    let heard: Vec<_> = log.lines().filter_map(|line| line.split_once("past its deadline: ")).collect();
    assert_eq!(heard.len(), 2, "{log}");
    for (_, answers) in heard {
        let answers: Vec<_> = answers.trim_end().split(", ").collect();
        // Put a file, run a command, change the guest: all that a handle can.
        assert!(answers.len() > 20, "{answers:?}");
        for answer in answers {
            assert!(answer.ends_with(&format!(" 723 {}", libc::ETIMEDOUT)), "{answer}");
        }
    }
    assert_eq!(odd.status(), "running", "it neither stopped nor destroyed it");
    assert_eq!(odd.run("test -e /odd || echo none"), "none", "its file never came in");
    assert!(!odd.file("heard").exists());
    odd.act("destroy");
}
