//! Whether a loaded plugin still answers: three missed deadlines in a row, and it is wedged until its file is replaced.
//!
//! Nothing watches: whoever asks looks at the calls that are under way. A question of the plugin that the host is
//! answering stops its clock, so a guest or an engine that does not answer wedges no type.

use middlebox_sdk::{Host, Level, Output};
use nix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Result;

/// How many calls on one instance run side by side.
pub const LANE_WIDTH: usize = 8;
/// How many calls of a type may be in the plugin's own hands at a time before readers are refused.
const MOST: usize = 64;
/// So many missed deadlines in a row are too many.
const ROW: usize = 3;

/// What is known of the calls of one loaded plugin.
#[derive(Default)]
pub(super) struct Health {
    wedged: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Missed deadlines since the last answer in time.
    missed: usize,
    last: u64,
    under_way: Vec<Call>,
    /// The call that was one too many.
    fatal: &'static str,
}

struct Call {
    number: u64,
    what: &'static str,
    /// Since when it has run without a pause; None: the host answers a question of it.
    since: Option<Duration>,
    left: Duration,
    late: bool,
    /// It belongs to the row: no call that began after it has been answered in time.
    counts: bool,
}

impl Health {
    /// A call begins.
    pub(super) fn begin(&self, what: &'static str, deadline: Duration) -> UnderWay<'_> {
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        state.under_way.push(Call {
            number,
            what,
            since: Some(now()),
            left: deadline,
            late: false,
            counts: true,
        });
        UnderWay { health: self, number }
    }

    /// Whether so many calls are in the plugin's own hands that no reader should join them. Those that wait for the
    /// host, which may wait for a guest, do not count: one guest must not shut the others out.
    pub(super) fn is_full(&self) -> bool {
        self.lock().under_way.iter().filter(|call| call.since.is_some()).count() >= MOST
    }

    /// Why the plugin is wedged; None: it is not.
    pub(super) fn wedged(&self) -> Option<String> {
        if !self.wedged.load(Ordering::Relaxed) {
            self.look(&mut self.lock(), now());
        }
        self.wedged.load(Ordering::Relaxed).then(|| {
            let what = self.lock().fatal;
            format!(
                "it is wedged: it missed deadline after deadline, the last in {what}; replace its file (a copy of \
                 the same one will do)"
            )
        })
    }

    /// Counts the calls that have become late.
    fn look(&self, state: &mut State, now: Duration) {
        for call in &mut state.under_way {
            let ran = call.since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
            if !call.late && ran > call.left {
                call.late = true;
                state.missed += usize::from(call.counts);
                state.fatal = call.what;
            }
        }
        // With every place of an instance's lane taken nobody else gets in, so nobody else there can miss a deadline.
        let stuck = || state.under_way.iter().filter(|call| call.late).count() >= LANE_WIDTH;
        if state.missed >= ROW || stuck() {
            self.wedged.store(true, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call; its end is that of the call.
pub(super) struct UnderWay<'a> {
    health: &'a Health,
    number: u64,
}

impl UnderWay<'_> {
    /// Does something of the host's that the plugin waits for.
    fn pause<T>(&self, work: impl FnOnce() -> T) -> T {
        self.change(|call, now| {
            let ran = call.since.take().map_or(Duration::ZERO, |since| now.saturating_sub(since));
            call.left = call.left.saturating_sub(ran);
        });
        let done = work();
        self.change(|call, now| call.since = Some(now));
        done
    }

    fn change(&self, change: impl FnOnce(&mut Call, Duration)) {
        let (mut state, now) = (self.health.lock(), now());
        self.health.look(&mut state, now);
        if let Some(call) = state.under_way.iter_mut().find(|call| call.number == self.number) {
            change(call, now);
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut state = self.health.lock();
        self.health.look(&mut state, now());
        if let Some(at) = state.under_way.iter().position(|call| call.number == self.number)
            && !state.under_way.swap_remove(at).late
        {
            state.missed = 0;
            // Those that began before it and are late from now on come before it in the row.
            for call in state.under_way.iter_mut().filter(|call| call.number < self.number) {
                call.counts = false;
            }
        }
    }
}

/// The coarse clock: a few milliseconds matter to no deadline, and it is read at each call's begin and end.
fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(Duration::ZERO, Duration::from)
}

/// A host that stops the clock of the call that it is lent to while it answers.
pub(super) struct Patient<'a> {
    pub(super) host: &'a dyn Host,
    pub(super) call: &'a UnderWay<'a>,
}

impl Host for Patient<'_> {
    fn identity(&self, what: &str) -> Result<String> {
        self.call.pause(|| self.host.identity(what))
    }

    fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        self.call.pause(|| self.host.read_file(path))
    }

    fn write_file(&self, path: &str, data: &[u8]) -> Result<()> {
        self.call.pause(|| self.host.write_file(path, data))
    }

    fn value(&self, name: &str) -> Result<Vec<u8>> {
        self.call.pause(|| self.host.value(name))
    }

    fn put_file(&self, path: &str, mode: u32, data: &[u8]) -> Result<()> {
        self.call.pause(|| self.host.put_file(path, mode, data))
    }

    fn set_env(&self, name: &str, value: &str) -> Result<()> {
        self.call.pause(|| self.host.set_env(name, value))
    }

    fn set_command(&self, argv: &[&str]) -> Result<()> {
        self.call.pause(|| self.host.set_command(argv))
    }

    fn operate(&self, operation: &str, argument: &str) -> Result<String> {
        self.call.pause(|| self.host.operate(operation, argument))
    }

    fn execute(&self, argv: &[&str], stdin: &[u8]) -> Result<Output> {
        self.call.pause(|| self.host.execute(argv, stdin))
    }

    fn log(&self, level: Level, message: &str) {
        self.call.pause(|| self.host.log(level, message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::from_secs(1000);

    /// A call that is late as soon as the coarse clock goes on.
    fn late(health: &Health) -> UnderWay<'_> {
        let call = health.begin("read", Duration::ZERO);
        let start = now();
        while now() == start {
            std::thread::yield_now();
        }
        call
    }

    #[test]
    fn a_type_is_full_of_calls_that_run_and_not_of_those_that_wait_for_a_guest() {
        let health = Health::default();
        let calls: Vec<_> = (0..MOST).map(|_| health.begin("read", NEVER)).collect();
        assert!(health.is_full());
        calls[0].pause(|| assert!(!health.is_full()));
        assert!(health.is_full());
        drop(calls);
        assert!(!health.is_full());
    }

    #[test]
    fn three_missed_deadlines_in_a_row_wedge_and_an_answer_in_time_ends_the_row() {
        let health = Health::default();
        for _ in 0..2 {
            drop(late(&health));
        }
        drop(health.begin("read", NEVER));
        for _ in 0..2 {
            drop(late(&health));
            assert_eq!(health.wedged(), None);
        }
        drop(late(&health));
        assert!(health.wedged().unwrap().contains("in read"));
        drop(health.begin("read", NEVER));
        assert!(health.wedged().is_some(), "only a new file heals it");
    }

    #[test]
    fn a_call_that_becomes_late_after_a_later_one_was_answered_comes_before_it_in_the_row() {
        let health = Health::default();
        let _early = [health.begin("read", Duration::ZERO), health.begin("read", Duration::ZERO)];
        drop(health.begin("read", NEVER));
        for _ in 0..2 {
            drop(late(&health));
            assert_eq!(health.wedged(), None);
        }
        drop(late(&health));
        assert!(health.wedged().is_some());
    }

    #[test]
    fn calls_that_never_come_back_count_while_they_are_under_way() {
        let health = Health::default();
        let _hanging: Vec<_> = (0..3).map(|_| late(&health)).collect();
        assert!(health.wedged().is_some());
    }

    #[test]
    fn a_lane_full_of_hanging_calls_is_wedged_whatever_came_between() {
        let health = Health::default();
        let mut hanging = Vec::new();
        for _ in 0..LANE_WIDTH {
            assert_eq!(health.wedged(), None);
            hanging.push(late(&health));
            drop(health.begin("read", NEVER));
        }
        assert!(health.wedged().is_some());
    }

    #[test]
    fn waiting_for_the_host_is_no_fault_of_the_plugin() {
        let health = Health::default();
        for _ in 0..3 {
            let call = health.begin("read", Duration::from_millis(50));
            call.pause(|| std::thread::sleep(Duration::from_millis(100)));
            drop(call);
        }
        assert_eq!(health.wedged(), None);
    }
}
