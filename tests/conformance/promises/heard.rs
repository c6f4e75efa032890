//! A guest's output, and what another driver value makes of guests that it finds.

use nfio_host::hypervisor::{Guest, Prepared, Status};
use std::fs;

use crate::stage::{Stage, accepted, refused};

/// The most that a log holds, in bytes.
const CAP: usize = 4 << 20;

pub(crate) fn what_a_guest_says_is_in_its_log(stage: &Stage) {
    let guest = stage.running("echo to stdout; echo to stderr >&2; exec sleep 1000");
    stage.until("both streams are in the log", || {
        let log = stage.log(&guest);
        log.contains("to stdout\n") && log.contains("to stderr\n")
    });
    accepted("restart", stage.driver.restart(&guest, &Prepared::default()));
    let twice = || stage.log(&guest).matches("to stdout\n").count() == 2;
    stage.until("a restart goes on in the same log, without saying anything twice", twice);
}

pub(crate) fn the_log_of_a_guest_that_ended_is_complete(stage: &Stage) {
    let guest = stage.running("seq 1 3000; printf 'the last words'; exit 3");
    stage.until("it has ended", || stage.status(&guest) == Status::Exited);
    stage.driver.settle_log(&guest);
    let expected: String =
        (1..=3000).map(|n| format!("{n}\n")).chain(["the last words".to_owned()]).collect();
    let log = stage.log(&guest);
    assert!(log == expected, "{} bytes of {}; it ends in {:?}", log.len(), expected.len(), end(&log));
    // A line that no buffer holds.
    let guest = stage.running("head -c 100000 /dev/zero | tr '\\0' x; echo; echo end");
    stage.until("it has ended", || stage.status(&guest) == Status::Exited);
    stage.driver.settle_log(&guest);
    let log = stage.log(&guest);
    assert!(
        log == format!("{}\nend\n", "x".repeat(100_000)),
        "{} bytes; it ends in {:?}",
        log.len(),
        end(&log)
    );
}

fn end(log: &str) -> String {
    let last: Vec<char> = log.chars().rev().take(40).collect();
    last.into_iter().rev().collect()
}

pub(crate) fn a_log_is_capped_and_keeps_the_end(stage: &Stage) {
    let guest = stage.running("yes $(seq 100) | head -c 10000000; echo; echo the end");
    let log = || fs::metadata(stage.log_of(&guest)).expect("the log").len() as usize;
    let mut most = 0;
    stage.until("it has ended", || {
        most = most.max(log());
        stage.status(&guest) == Status::Exited
    });
    stage.driver.settle_log(&guest);
    stage.until("its end is in the log", || stage.log(&guest).ends_with("the end\n"));
    assert!(most.max(log()) <= CAP, "the log had {most} bytes, and {} at last", log());
}

pub(crate) fn output_goes_where_the_start_says(stage: &Stage) {
    let guest = stage.deployed(&stage.spec("command = [\"echo\", \"here\"]"));
    let moved = stage.directory().join("moved.log");
    fs::write(&moved, "").expect("a log");
    accepted(
        "start",
        stage.driver.start(&guest, &Prepared { log: Some(moved.clone()), ..Prepared::default() }),
    );
    stage.until("its output is where the start said", || {
        fs::read_to_string(&moved).expect("the log").contains("here\n")
    });
    assert_eq!(stage.log(&guest), "", "it is where deploy said, too");
}

pub(crate) fn a_new_driver_takes_guests_up_as_they_are(stage: &Stage) {
    let running = stage.running("while :; do echo tick; sleep 0.1; done");
    let (paused, ended) = (stage.idle(), stage.running("exit 0"));
    let created = stage.deployed(&stage.spec(""));
    stage.until("it has ended", || stage.status(&ended) == Status::Exited);
    take_up(stage, [&running, &paused, &ended, &created], || {
        let length = stage.log(&running).len();
        stage.until("its output goes on", || stage.log(&running).len() > length);
    });
}

/// Lets a new driver take guests up: one that runs, one that this pauses, one that has ended, and one that was created.
pub(crate) fn take_up(stage: &Stage, guests: [&Guest; 4], output_goes_on: impl FnOnce()) {
    let [running, paused, ended, created] = guests;
    accepted("pause", stage.driver.pause(paused));
    let runs = guests.map(|guest| stage.run_id(guest));
    let again = stage.again();
    let statuses = [Status::Running, Status::Paused, Status::Exited, Status::Created];
    for ((guest, status), run) in guests.into_iter().zip(statuses).zip(runs) {
        assert_eq!(accepted("adopt", again.adopt(guest, &stage.log_of(guest))), status);
        assert_eq!(accepted("guest_status", again.guest_status(guest)), status);
        let unanswered = Guest { id: String::new(), ..guest.clone() };
        assert_eq!(accepted("get_id", again.get_id(&unanswered)), guest.id);
        assert_eq!(accepted("run_id", again.run_id(guest)), run, "the run of a {status} guest");
    }
    output_goes_on();
    accepted("counters", again.counters(running));
    accepted("unpause", again.unpause(paused));
    assert_eq!(accepted("guest_status", again.guest_status(paused)), Status::Running);
    accepted("stop", again.stop(running));
    stage.until("the other driver sees it", || stage.status(running) == Status::Exited);
    accepted("start", again.start(created, &Prepared::default()));
    stage.until("the other driver sees it", || stage.status(created) == Status::Running);
    accepted("destroy", again.destroy(ended, false));
    stage.until("the other driver sees it", || {
        stage.driver.guest_status(ended).is_err_and(|e| e.code() == 702)
    });
}

pub(crate) fn what_happens_behind_the_drivers_back_is_seen(stage: &Stage) {
    let guest = stage.idle();
    let again = stage.again();
    accepted("adopt", again.adopt(&guest, &stage.log_of(&guest)));
    stage.ground().kill(&guest);
    stage.until("it is seen to have ended", || stage.status(&guest) == Status::Exited);
    stage.until("it is seen to have ended", || {
        accepted("guest_status", again.guest_status(&guest)) == Status::Exited
    });
    stage.start(&guest);
    assert_eq!(stage.says(&guest, "echo up"), "up", "it starts again");
    stage.ground().remove(&guest);
    stage
        .until("it is seen to be gone", || stage.driver.guest_status(&guest).is_err_and(|e| e.code() == 702));
    let third = stage.again();
    refused("adopt of what is gone", third.adopt(&guest, &stage.log_of(&guest)), 702);
    refused("get_id of what is gone", third.get_id(&guest), 702);
    accepted("destroy of what is gone", stage.driver.destroy(&guest, false));
}
