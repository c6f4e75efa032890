use super::*;
use std::sync::mpsc::{self, Receiver, Sender};

const LONG: Duration = Duration::from_secs(60);
/// Only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(30);

fn rules(width: usize, queue: usize, deadline: Duration) -> Rules {
    Rules { key: "lane".into(), width, queue, deadline, overdue: Errno::EBUSY }
}

/// A call that says when it has begun and ends when it is told to.
struct Held {
    begun: Receiver<()>,
    go: Sender<()>,
    answer: Receiver<Answer<u32>>,
}

fn hold(lanes: &Lanes, rules: Rules, value: u32) -> Held {
    let (begin, begun) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let (tell, answer) = mpsc::channel();
    lanes.submit(
        rules,
        move || {
            begin.send(()).ok();
            gate.recv().ok();
            Ok(value)
        },
        move |answer| tell.send(answer).unwrap(),
    );
    Held { begun, go, answer }
}

impl Held {
    fn wait_begun(&self) {
        self.begun.recv_timeout(PATIENCE).expect("the call begins");
    }
    fn release(&self) {
        self.go.send(()).ok();
    }
    fn answer(&self) -> Answer<u32> {
        self.answer.recv_timeout(PATIENCE).expect("the call is answered")
    }
    fn unanswered(&self) -> bool {
        self.answer.try_recv().is_err()
    }
}

/// Lets the time pass by that `LONG` takes, for the deadlines alone: nothing depends on how fast this machine is.
fn after_long(lanes: &Lanes) {
    let late = lanes.shared.lock().expire(Instant::now() + LONG);
    late.iter().for_each(|call| call.refuse(Errno::ETIMEDOUT));
}

fn quick(lanes: &Lanes, rules: Rules, job: impl FnOnce() -> Answer<u32> + Send + 'static) -> Answer<u32> {
    let (tell, answer) = mpsc::channel();
    lanes.submit(rules, job, move |answer| tell.send(answer).unwrap());
    answer.recv_timeout(PATIENCE).expect("the call is answered")
}

#[test]
fn an_answer_is_the_jobs() {
    let lanes = Lanes::new();
    assert_eq!(quick(&lanes, rules(1, 0, LONG), || Ok(7)), Ok(7));
    assert_eq!(quick(&lanes, rules(1, 0, LONG), || Err(Errno::ENXIO)), Err(Errno::ENXIO));
}

#[test]
fn a_lane_runs_as_many_as_it_is_wide_and_queues_as_many_as_it_may() {
    let lanes = Lanes::new();
    let first = hold(&lanes, rules(2, 1, LONG), 1);
    let second = hold(&lanes, rules(2, 1, LONG), 2);
    first.wait_begun();
    second.wait_begun();
    let third = hold(&lanes, rules(2, 1, LONG), 3);
    let fourth = hold(&lanes, rules(2, 1, LONG), 4);
    assert_eq!(fourth.answer(), Err(Errno::EAGAIN));
    assert!(third.begun.try_recv().is_err() && third.unanswered());
    second.release();
    assert_eq!(second.answer(), Ok(2));
    third.wait_begun();
    assert!(first.unanswered());
    third.release();
    first.release();
    assert_eq!((third.answer(), first.answer()), (Ok(3), Ok(1)));
}

#[test]
fn a_full_lane_does_not_hold_up_another() {
    let lanes = Lanes::new();
    let held = hold(&lanes, rules(1, 0, LONG), 1);
    held.wait_begun();
    let other = Rules { key: "other".into(), ..rules(1, 0, LONG) };
    assert_eq!(quick(&lanes, other, || Ok(2)), Ok(2));
    assert!(held.unanswered());
    held.release();
    assert_eq!(held.answer(), Ok(1));
}

#[test]
fn a_call_that_still_waits_at_its_deadline_is_dropped() {
    let lanes = Lanes::new();
    let held = hold(&lanes, rules(1, 8, LONG), 1);
    held.wait_begun();
    let waiting = hold(&lanes, rules(1, 8, Duration::from_millis(5)), 2);
    assert_eq!(waiting.answer(), Err(Errno::ETIMEDOUT));
    held.release();
    assert_eq!(held.answer(), Ok(1));
    // The next call has the lane: the dropped one never began.
    assert_eq!(quick(&lanes, rules(1, 0, LONG), || Ok(3)), Ok(3));
    assert!(waiting.begun.try_recv().is_err());
}

#[test]
fn a_running_call_past_its_deadline_is_answered_once_and_newcomers_fail_fast_until_it_ends() {
    let lanes = Lanes::new();
    let slow = hold(&lanes, rules(1, 8, LONG), 1);
    slow.wait_begun();
    after_long(&lanes);
    assert_eq!(slow.answer(), Err(Errno::ETIMEDOUT));
    assert_eq!(quick(&lanes, rules(1, 8, LONG), || Ok(2)), Err(Errno::EBUSY));
    slow.release();
    // Its place is free at some moment after the release; until then EBUSY is the only other answer.
    let until = Instant::now() + PATIENCE;
    loop {
        match quick(&lanes, rules(1, 8, LONG), || Ok(2)) {
            Ok(2) => break,
            refused => assert_eq!(refused, Err(Errno::EBUSY)),
        }
        assert!(Instant::now() < until, "the lane never came back");
        thread::yield_now();
    }
    assert!(slow.unanswered(), "a call is answered once");
}

#[test]
fn a_wide_lane_fails_fast_only_when_all_its_places_are_late() {
    let lanes = Lanes::new();
    let late = hold(&lanes, rules(2, 0, LONG), 1);
    late.wait_begun();
    let fine = hold(&lanes, rules(2, 0, 10 * LONG), 2);
    fine.wait_begun();
    after_long(&lanes);
    assert_eq!(late.answer(), Err(Errno::ETIMEDOUT));
    assert_eq!(quick(&lanes, rules(2, 0, LONG), || Ok(0)), Err(Errno::EAGAIN));
    fine.release();
    assert_eq!(fine.answer(), Ok(2));
    assert_eq!(quick(&lanes, rules(2, 0, LONG), || Ok(0)), Ok(0), "a place is free");
    let second = hold(&lanes, rules(2, 0, LONG), 3);
    second.wait_begun();
    after_long(&lanes);
    assert_eq!(second.answer(), Err(Errno::ETIMEDOUT));
    assert_eq!(quick(&lanes, rules(2, 0, LONG), || Ok(0)), Err(Errno::EBUSY));
    late.release();
    second.release();
}

#[test]
fn a_panic_answers_eio_and_the_lane_lives_on() {
    let lanes = Lanes::new();
    for _ in 0..3 {
        assert_eq!(quick(&lanes, rules(1, 0, LONG), || panic!("as asked")), Err(Errno::EIO));
    }
    assert_eq!(quick(&lanes, rules(1, 0, LONG), || Ok(1)), Ok(1));
}

#[test]
fn a_panic_in_the_reply_keeps_the_thread() {
    let lanes = Lanes::new();
    lanes.submit(rules(1, 4, LONG), || Ok(1), |_: Answer<u32>| panic!("as asked"));
    assert_eq!(quick(&lanes, rules(1, 4, LONG), || Ok(2)), Ok(2));
}

#[test]
fn a_lane_without_work_takes_no_memory_and_idle_threads_end() {
    let lanes = Lanes::with_idle(Duration::from_millis(5));
    for key in 0..50 {
        let rules = Rules { key: format!("{key}"), ..rules(1, 0, LONG) };
        assert_eq!(quick(&lanes, rules, move || Ok(key)), Ok(key));
    }
    let state = lanes.shared.lock();
    assert!(state.lanes.is_empty() && state.calls.is_empty() && state.deadlines.is_empty());
    drop(state);
    eventually(&lanes, |state| state.threads == 0 && state.free == 0);
}

#[test]
fn the_timer_ends_with_the_last_deadline() {
    let lanes = Lanes::with_idle(Duration::from_millis(5));
    let slow = hold(&lanes, rules(1, 0, Duration::from_millis(5)), 1);
    assert_eq!(slow.answer(), Err(Errno::ETIMEDOUT));
    slow.release();
    eventually(&lanes, |state| !state.timer && state.calls.is_empty() && state.lanes.is_empty());
    assert_eq!(quick(&lanes, rules(1, 0, LONG), || Ok(2)), Ok(2), "and begins again");
}

fn eventually(lanes: &Lanes, holds: impl Fn(&State) -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds(&lanes.shared.lock()) {
        assert!(Instant::now() < until, "it never came to that");
        thread::yield_now();
    }
}

#[test]
fn threads_are_reused() {
    let lanes = Lanes::new();
    for _ in 0..200 {
        assert_eq!(quick(&lanes, rules(1, 1, LONG), || Ok(0)), Ok(0));
    }
    assert_eq!(lanes.shared.lock().threads, 1);
}

#[test]
fn calls_past_their_deadline_do_not_keep_others_from_a_thread() {
    let lanes = Lanes::new();
    let own = |number: usize| Rules { key: number.to_string(), ..rules(1, 0, LONG) };
    let stuck: Vec<Held> = (0..MAX_THREADS).map(|number| hold(&lanes, own(number), 0)).collect();
    stuck.iter().for_each(Held::wait_begun);
    let next = hold(&lanes, Rules { deadline: 3 * LONG, ..own(MAX_THREADS) }, 7);
    assert!(next.begun.try_recv().is_err(), "no thread is left while somebody waits for all of them");
    after_long(&lanes);
    // As the timer does after what it has let expire.
    lanes.shared.wake(&mut lanes.shared.lock()).unwrap();
    next.wait_begun();
    next.release();
    assert_eq!(next.answer(), Ok(7));
    stuck.iter().for_each(Held::release);
    eventually(&lanes, |state| state.calls.is_empty() && state.overdue == 0);
}
