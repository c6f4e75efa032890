//! Bounded lanes: where calls that may take long are worked out, so that nothing slow holds a FUSE thread.
//!
//! A lane has a key and comes into being with its first call; with its last one it is gone. All lanes share one
//! pool of threads: a lane never holds more of them than its width, and a thread that finds nothing to do for a
//! while ends. One timer thread answers what misses its deadline. A call is answered exactly once, by the worker
//! or by the timer, whoever comes first, and never while a lock is held.

use nix::errno::Errno;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::Answer;

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);
/// Threads over all lanes for calls that somebody waits for. Beyond it calls wait for a thread as they wait for their lane.
const MAX_THREADS: usize = 512;
/// Threads in all: those too that calls hold whose caller has had ETIMEDOUT. A tenant whose guests never answer holds
/// these, and not the others.
const MAX_WITH_OVERDUE: usize = 8 * MAX_THREADS;

/// What a call asks of its lane ([`Lane::Bounded`](super::operations::Lane)).
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// Calls with the same key share a lane.
    pub(crate) key: String,
    /// How many calls run side by side.
    pub(crate) width: usize,
    /// How many more may wait.
    pub(crate) queue: usize,
    /// From now to ETIMEDOUT.
    pub(crate) deadline: Duration,
    /// The answer to newcomers while every place of the lane is taken by a call that has missed its deadline.
    pub(crate) overdue: Errno,
}

/// All lanes of a mount.
pub(crate) struct Lanes {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    timer: Condvar,
    idle: Duration,
}

#[derive(Default)]
struct State {
    lanes: HashMap<Arc<str>, LaneState>,
    calls: HashMap<u64, Entry>,
    deadlines: BTreeSet<(Instant, u64)>,
    /// Calls that have a place in their lane and wait for a thread only.
    ready: VecDeque<u64>,
    next: u64,
    threads: usize,
    /// Calls that have missed their deadline, and hold a thread still.
    overdue: usize,
    /// Threads that will look at what is ready before they rest: resting, starting or giving an answer.
    free: usize,
    timer: bool,
    closed: bool,
}

#[derive(Default)]
struct LaneState {
    width: usize,
    running: Vec<u64>,
    waiting: VecDeque<u64>,
}

struct Entry {
    lane: Arc<str>,
    call: Arc<dyn Call>,
    deadline: Instant,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Running,
    Overdue,
}

/// A call without its types.
trait Call: Send + Sync {
    /// Does the work. What comes back gives the answer, unless that was given already.
    fn run(self: Arc<Self>) -> Box<dyn FnOnce()>;
    /// Answers without (or instead of) the work.
    fn refuse(&self, errno: Errno);
}

struct Typed<J, R> {
    job: Mutex<Option<J>>,
    reply: Mutex<Option<R>>,
}

fn take<X>(slot: &Mutex<Option<X>>) -> Option<X> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl<T, J, R> Call for Typed<J, R>
where
    T: 'static,
    J: FnOnce() -> Answer<T> + Send + 'static,
    R: FnOnce(Answer<T>) + Send + 'static,
{
    fn run(self: Arc<Self>) -> Box<dyn FnOnce()> {
        let answer = match take(&self.job) {
            Some(job) => catch_unwind(AssertUnwindSafe(job)).unwrap_or(Err(Errno::EIO)),
            None => Err(Errno::EIO),
        };
        Box::new(move || {
            if let Some(reply) = take(&self.reply) {
                // A reply that panics has been dropped, which answers too; the thread goes on.
                let _ = catch_unwind(AssertUnwindSafe(|| reply(answer)));
            }
        })
    }

    fn refuse(&self, errno: Errno) {
        // What the job holds (descriptors, buffers) need not wait for a worker.
        drop(take(&self.job));
        if let Some(reply) = take(&self.reply) {
            let _ = catch_unwind(AssertUnwindSafe(|| reply(Err(errno))));
        }
    }
}

impl Lanes {
    /// No lanes, no threads.
    pub(crate) fn new() -> Self {
        Self::with_idle(IDLE)
    }

    fn with_idle(idle: Duration) -> Self {
        let shared = Shared { state: Mutex::default(), work: Condvar::new(), timer: Condvar::new(), idle };
        Self { shared: Arc::new(shared) }
    }

    /// Has `job` done in its lane and `reply` called with its outcome: EAGAIN where the queue is full, ETIMEDOUT
    /// past the deadline, EIO after a panic. A refused or late call's outcome is dropped.
    pub(crate) fn submit<T: 'static>(
        &self,
        rules: Rules,
        job: impl FnOnce() -> Answer<T> + Send + 'static,
        reply: impl FnOnce(Answer<T>) + Send + 'static,
    ) {
        let call: Arc<dyn Call> =
            Arc::new(Typed { job: Mutex::new(Some(job)), reply: Mutex::new(Some(reply)) });
        if let Err(errno) = self.shared.enter(rules, &call) {
            call.refuse(errno);
        }
    }

    /// Has `job` done in its lane and answers at once whether it was taken; nobody hears of its outcome.
    pub(crate) fn queue(
        &self,
        rules: Rules,
        job: impl FnOnce() -> Answer<()> + Send + 'static,
    ) -> Answer<()> {
        let reply = |_: Answer<()>| {};
        let call: Arc<dyn Call> =
            Arc::new(Typed { job: Mutex::new(Some(job)), reply: Mutex::new(Some(reply)) });
        self.shared.enter(rules, &call)
    }
}

impl Drop for Lanes {
    /// Threads end with what they are doing; calls that still wait are dropped unanswered (there is no mount left).
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        let waiting = std::mem::take(&mut state.ready);
        let dropped: Vec<_> = waiting.iter().filter_map(|id| state.calls.remove(id)).collect();
        drop(state);
        drop(dropped);
        self.shared.work.notify_all();
        self.shared.timer.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>, rules: Rules, call: &Arc<dyn Call>) -> Answer<()> {
        let deadline = Instant::now() + rules.deadline;
        let mut guard = self.lock();
        let state = &mut *guard;
        let known = state.lanes.get_key_value(rules.key.as_str());
        let runs = match known {
            None => true,
            Some((_, lane)) => {
                let late = |id: &u64| state.calls.get(id).is_some_and(|c| c.stage == Stage::Overdue);
                if lane.running.len() >= rules.width.max(1) && lane.running.iter().all(late) {
                    return Err(rules.overdue);
                }
                let runs = lane.running.len() < rules.width.max(1);
                if !runs && lane.waiting.len() >= rules.queue {
                    return Err(Errno::EAGAIN);
                }
                runs
            }
        };
        if !state.timer {
            self.spawn("nfio-deadlines", Self::time)?;
            state.timer = true;
        }
        let key = known.map_or_else(|| Arc::from(rules.key.as_str()), |(key, _)| Arc::clone(key));
        let id = state.next;
        state.next += 1;
        if runs {
            state.ready.push_back(id);
            self.wake(state).inspect_err(|_| state.ready.retain(|other| *other != id))?;
        }
        let lane = state.lanes.entry(Arc::clone(&key)).or_default();
        lane.width = rules.width.max(1);
        if runs {
            lane.running.push(id)
        } else {
            lane.waiting.push_back(id)
        }
        let entry = Entry { lane: key, call: Arc::clone(call), deadline, stage: Stage::Waiting };
        state.calls.insert(id, entry);
        state.deadlines.insert((deadline, id));
        if state.deadlines.first().is_some_and(|first| first.1 == id) {
            self.timer.notify_one();
        }
        Ok(())
    }

    /// Sees to it that a thread takes up what is ready.
    fn wake(self: &Arc<Self>, state: &mut State) -> Answer<()> {
        while state.ready.len() > state.free
            && state.threads - state.overdue < MAX_THREADS
            && state.threads < MAX_WITH_OVERDUE
        {
            match self.spawn("nfio-lane", Self::work) {
                Ok(()) => {
                    state.threads += 1;
                    state.free += 1;
                }
                // Another thread takes it up when it is done; without any there is nobody.
                Err(errno) if state.threads == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        if !state.ready.is_empty() {
            self.work.notify_one();
        }
        Ok(())
    }

    fn spawn(self: &Arc<Self>, name: &str, body: fn(&Arc<Self>)) -> Answer<()> {
        let shared = Arc::clone(self);
        let spawned = thread::Builder::new().name(name.into()).spawn(move || body(&shared));
        spawned.map(drop).map_err(|_| Errno::EAGAIN)
    }

    fn work(self: &Arc<Self>) {
        while let Some((id, call)) = self.next() {
            let answer = call.run();
            // The place is free before the answer is out: who has it may call again at once.
            self.finish(id);
            answer();
        }
    }

    fn next(&self) -> Option<(u64, Arc<dyn Call>)> {
        let mut state = self.lock();
        let mut rested = false;
        loop {
            while let Some(id) = state.ready.pop_front() {
                if let Some(entry) = state.calls.get_mut(&id) {
                    entry.stage = Stage::Running;
                    let call = Arc::clone(&entry.call);
                    state.free -= 1;
                    return Some((id, call));
                }
            }
            if state.closed || rested {
                state.threads -= 1;
                state.free -= 1;
                return None;
            }
            let (woken, timeout) =
                self.work.wait_timeout(state, self.idle).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            rested = timeout.timed_out();
        }
    }

    fn finish(self: &Arc<Self>, id: u64) {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.free += 1;
        if let Some(entry) = state.leave(id) {
            state.promote(&entry.lane);
            let _ = self.wake(state);
        }
    }

    fn time(self: &Arc<Self>) {
        let mut state = self.lock();
        let mut rested = false;
        while !state.closed {
            let now = Instant::now();
            let late = state.expire(now);
            if !late.is_empty() {
                let _ = self.wake(&mut state);
                drop(state);
                late.iter().for_each(|call| call.refuse(Errno::ETIMEDOUT));
                state = self.lock();
                continue;
            }
            let rest = match state.deadlines.first() {
                Some((at, _)) => at.saturating_duration_since(now),
                None if rested => break,
                None => self.idle,
            };
            let (woken, timeout) =
                self.timer.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            rested = timeout.timed_out();
        }
        state.timer = false;
    }
}

impl State {
    /// Takes a call out of its lane and of all lists.
    fn leave(&mut self, id: u64) -> Option<Entry> {
        let entry = self.calls.remove(&id)?;
        if entry.stage == Stage::Overdue {
            self.overdue -= 1;
        }
        self.deadlines.remove(&(entry.deadline, id));
        if let Some(lane) = self.lanes.get_mut(&entry.lane) {
            lane.running.retain(|other| *other != id);
            lane.waiting.retain(|other| *other != id);
            if lane.running.is_empty() && lane.waiting.is_empty() {
                self.lanes.remove(&entry.lane);
            }
        }
        Some(entry)
    }

    /// Gives free places of a lane to those that wait.
    fn promote(&mut self, key: &Arc<str>) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        while lane.running.len() < lane.width {
            let Some(id) = lane.waiting.pop_front() else { break };
            lane.running.push(id);
            self.ready.push_back(id);
        }
    }

    /// Everything whose deadline has come: a call that waits leaves, one that runs is overdue.
    fn expire(&mut self, now: Instant) -> Vec<Arc<dyn Call>> {
        let mut late = Vec::new();
        while let Some(&(at, id)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            let Some(entry) = self.calls.get_mut(&id) else { continue };
            late.push(Arc::clone(&entry.call));
            if entry.stage == Stage::Waiting {
                if let Some(entry) = self.leave(id) {
                    self.promote(&entry.lane);
                }
            } else {
                entry.stage = Stage::Overdue;
                self.overdue += 1;
            }
        }
        late
    }
}

#[cfg(test)]
#[path = "lanes/tests.rs"]
mod tests;
