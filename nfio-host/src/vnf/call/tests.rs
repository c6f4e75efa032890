use std::thread;
use std::time::Duration;

use crate::vnf::bed::Bed;

/// For what happens soon on any machine.
const SOON: Duration = Duration::from_secs(60);
const LATE: [i32; 9] = [723; 9];

/// The verb failed with Deadline and told so, and the turn is free.
#[track_caller]
fn given_up(bed: &Bed, function: &str) {
    let told = bed.last_error();
    assert!(told.starts_with("code: 723\nerror: DeadlineError\nerrno: ETIMEDOUT\n"), "{told}");
    assert!(
        told.contains(&format!("message: {function} of box/a by the module of type box did not")),
        "{told}"
    );
    drop(bed.instance().try_busy().unwrap());
}

#[test]
fn a_prepare_or_configure_that_does_not_come_back_is_rolled_back_and_its_handle_is_lost() {
    for (function, steps) in [
        ("prepare", "check deploy prepare destroy"),
        ("configure", "check deploy prepare start configure destroy"),
    ] {
        let bed = Bed::hasty();
        let heard = bed.outstay(function);
        assert_eq!(bed.code("activate"), 723, "{function}");
        given_up(&bed, function);
        assert_eq!(bed.status(), "undeployed");
        assert_eq!(bed.steps(), steps);
        assert_eq!(heard.recv_timeout(SOON).unwrap(), LATE, "{function}");
        assert_eq!(bed.code("activate"), 0);
        assert_eq!(bed.steps(), "check deploy prepare start configure forward");
        assert!(!bed.path("late").exists());
        assert!(bed.shared.world().prepared.env.is_empty());
    }
}

#[test]
fn a_guest_whose_configure_does_not_come_back_is_stopped_again_or_as_it_was() {
    let bed = Bed::hasty().be("exited");
    let heard = bed.outstay("configure");
    assert_eq!(bed.code("start"), 723);
    given_up(&bed, "configure");
    assert_eq!((bed.steps().as_str(), bed.status().as_str()), ("prepare start configure stop", "exited"));
    assert_eq!(heard.recv_timeout(SOON).unwrap(), LATE);
    assert_eq!(bed.code("start"), 0);
    bed.steps();
    let heard = bed.outstay("configure");
    assert_eq!(bed.code("reload"), 723);
    given_up(&bed, "configure");
    assert_eq!(heard.recv_timeout(SOON).unwrap(), LATE);
    assert_eq!((bed.steps().as_str(), bed.status().as_str()), ("configure", "running"));
}

#[test]
fn a_modules_verb_that_does_not_come_back_loses_the_turn() {
    let bed = Bed::hasty().be("running");
    let heard = bed.outstay("write");
    assert_eq!(bed.do_own(b"destroy"), 723);
    given_up(&bed, "write to do");
    assert_eq!(heard.recv_timeout(SOON).unwrap(), LATE);
    assert_eq!((bed.steps().as_str(), bed.status().as_str()), ("", "running"));
    assert_eq!((bed.code("stop"), bed.code("destroy")), (0, 0));
}

#[test]
fn a_verb_that_a_module_runs_keeps_the_turn_to_its_end() {
    let bed = Bed::hasty().be("running");
    let (begun, release) = bed.hold("stop");
    thread::scope(|scope| {
        let verb = scope.spawn(|| bed.do_own(b"stop"));
        begun.recv_timeout(SOON).unwrap();
        // Well past the deadline.
        thread::sleep(Duration::from_secs(2));
        assert_eq!(bed.instance().try_busy().err().expect("in the middle of a stop").code(), 725);
        assert!(!verb.is_finished());
        release.send(()).unwrap();
        assert_eq!(verb.join().unwrap(), 723);
    });
    given_up(&bed, "write to do");
    assert_eq!((bed.steps().as_str(), bed.status().as_str()), ("stop", "exited"));
}

#[test]
fn a_guest_that_does_not_answer_a_module_holds_nobody() {
    let bed = Bed::hasty().be("running");
    let (begun, release) = bed.hold("execute");
    assert_eq!(bed.do_own(b"execute"), 723);
    begun.recv_timeout(SOON).unwrap();
    given_up(&bed, "write to do");
    assert_eq!(bed.code("destroy"), 0);
    drop(release);
}
