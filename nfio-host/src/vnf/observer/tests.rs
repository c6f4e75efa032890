//! What is seen to without a verb, and what is left alone.

use super::super::bed::Bed;
use super::*;
use crate::fs::operations::Operations;

fn hand(guest: Status, bed: &Bed) {
    let mut world = bed.shared.world();
    world.guests.values_mut().for_each(|status| *status = guest);
    if guest == Status::Running {
        world.runs += 1;
    }
}

fn judged(bed: &Bed, mounting: bool) -> Option<Task> {
    let instance = bed.instance();
    let record = instance.record()?;
    let status = bed.vnfs.status(&instance).unwrap();
    let unconfigured = bed.vnfs.is_unconfigured(&record, status).unwrap();
    let mut seen = Seen { unmet: mounting, ..Seen::default() };
    seen.judge(&record, status, unconfigured, Instant::now())
}

#[test]
fn a_guest_that_somebody_else_started_is_configured() {
    let bed = Bed::new().be("exited");
    hand(Status::Running, &bed);
    assert_eq!(judged(&bed, false), Some(Task::Configure));
    bed.vnfs.see_to(&bed.instance(), Task::Configure).unwrap();
    assert_eq!(bed.steps(), "configure forward");
    assert_eq!(judged(&bed, false), None, "once a run");
}

#[test]
fn a_guest_that_somebody_else_started_and_that_cannot_be_configured_is_stopped() {
    let bed = Bed::new().be("exited");
    hand(Status::Running, &bed);
    bed.fail("configure", crate::error::NfioError::configuration("line 1: no"));
    bed.vnfs.see_to(&bed.instance(), Task::Configure).unwrap_err();
    assert_eq!(bed.status(), "exited");
    assert!(bed.last_error().contains("operation: configure") && bed.last_error().contains("line 1: no"));
}

#[test]
fn our_own_start_is_configured_already_also_after_a_remount() {
    let bed = Bed::new().be("running");
    assert_eq!(judged(&bed, true), None);
    assert_eq!(judged(&bed.mount_again(false), true), None);
}

#[test]
fn a_guest_wanted_running_is_started_again_as_boot_conf_says() {
    for (restart, at_mount, later) in [
        ("no", None, None),
        ("mount", Some(Task::Start), None),
        ("always", Some(Task::Start), Some(Task::Start)),
    ] {
        let bed = Bed::new();
        bed.write("config/boot.conf", &format!("restart = \"{restart}\"\n"));
        let bed = bed.be("exited");
        assert_eq!(judged(&bed, true), at_mount, "{restart}");
        assert_eq!(judged(&bed, false), later, "{restart}");
        bed.vnfs.see_to(&bed.instance(), Task::Start).unwrap();
        assert_eq!(bed.steps(), "prepare start configure forward");
        bed.act("stop").unwrap();
        assert_eq!(judged(&bed, true), None, "{restart}: stopped by a verb, it stays so");
        bed.vnfs.see_to(&bed.instance(), Task::Start).unwrap();
        assert_eq!(bed.status(), "exited");
    }
}

#[test]
fn a_guest_that_its_engine_took_down_is_started_as_at_a_mount_and_one_that_had_ended_is_not() {
    let record = Bed::new().be("exited").instance().record().unwrap();
    let start = Instant::now();
    for (before, lost, after) in [
        (Some(Status::Running), Duration::ZERO, Some(Task::Start)),
        // By an engine that is ended in good order, which ends its guests first.
        (Some(Status::Exited), GOING_DOWN, Some(Task::Start)),
        (Some(Status::Exited), GOING_DOWN + TICK, None),
        // Activated since the last look.
        (None, Duration::ZERO, Some(Task::Start)),
    ] {
        let mut seen = Seen { status: before, ..Seen::default() };
        before.into_iter().for_each(|status| seen.note(status, start));
        assert_eq!(seen.lose(start + lost), before.is_some());
        let later = start + lost + 2 * GOING_DOWN;
        assert!(!seen.lose(later), "told once");
        assert_eq!(seen.judge(&record, Status::Exited, false, later), after, "{before:?} {lost:?}");
    }
}

#[test]
fn a_status_that_was_read_between_two_looks_and_changes_back_is_told() {
    let bed = Bed::new().be("running");
    let told = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = Arc::clone(&told);
    bed.vnfs.on_change(Box::new(move |_| {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }));
    let instance = bed.instance();
    let look = || bed.vnfs.notice(&instance, bed.vnfs.status(&instance).unwrap());
    look();
    let before = told.load(std::sync::atomic::Ordering::SeqCst);
    hand(Status::Paused, &bed);
    assert_eq!(bed.vnfs.read_standard(&instance, "status").unwrap(), b"paused\n");
    hand(Status::Running, &bed);
    look();
    assert_eq!(told.load(std::sync::atomic::Ordering::SeqCst), before + 2);
    look();
    assert_eq!(told.load(std::sync::atomic::Ordering::SeqCst), before + 2, "no news");
}

#[test]
fn a_verb_that_has_the_turn_is_not_disturbed() {
    let bed = Bed::new().be("exited");
    let instance = bed.instance();
    let turn = instance.busy().unwrap();
    bed.vnfs.see_to(&instance, Task::Start).unwrap();
    drop(turn);
    assert_eq!(bed.steps(), "");
}

#[test]
fn a_guest_that_ends_again_and_again_waits_longer_each_time_until_it_ran_well() {
    let bed = Bed::new();
    bed.write("config/boot.conf", "restart = \"always\"\n");
    let bed = bed.be("exited");
    let record = bed.instance().record().unwrap();
    let mut seen = Seen::default();
    let mut now = Instant::now();
    let mut waits = Vec::new();
    for _ in 0..10 {
        assert_eq!(seen.judge(&record, Status::Exited, false, now), Some(Task::Start));
        assert_eq!(seen.judge(&record, Status::Exited, false, now), None);
        let wait = seen.not_before.unwrap() - now;
        waits.push(wait);
        now += wait;
    }
    assert!(waits.is_sorted() && waits[1] > waits[0] && waits[9] == LONGEST_WAIT, "{waits:?}");
    seen.note(Status::Running, now);
    seen.note(Status::Running, now + RAN_WELL);
    assert_eq!(seen.restarts, 0);
}

#[test]
fn a_record_whose_guest_was_never_made_goes_when_no_engine_can_be_making_it_any_more() {
    let bed = Bed::new().be("exited");
    let instance = bed.instance();
    let mut record = instance.record().unwrap();
    record.guest.id = String::new();
    instance.set_record(record.clone()).unwrap();
    bed.shared.world().guests.clear();
    let bed = bed.mount_again(false);
    let instance = bed.instance();
    assert_eq!(bed.status(), "undeployed");
    let (mut seen, begin) = (Seen { unmet: true, ..Seen::default() }, Instant::now());
    let mut after = |wait| {
        seen.note(Status::Undeployed, begin + wait);
        seen.judge(&record, Status::Undeployed, false, begin + wait)
    };
    assert_eq!((after(Duration::ZERO), after(STILL_MAKING / 2)), (None, None));
    assert_eq!(after(STILL_MAKING), Some(Task::Clear));
    bed.vnfs.see_to(&instance, Task::Clear).unwrap_err();
    assert!(instance.record().is_none());
    assert!(
        bed.last_error().contains("operation: activate") && bed.last_error().contains("write activate again")
    );
    bed.vnfs.see_to(&instance, Task::Clear).unwrap();
}
