//! What happens to guests without a verb. A guest that somebody else started is configured like our own, or stopped: a
//! firewall never runs without its rules. One that was wanted running when the machine went down, or that ended by
//! itself and is wanted always, is started again. And whoever polls hears of every change.
//!
//! One thread looks at all deployed guests, twice a second (a look costs a few system calls a guest); what is to be
//! done takes its time in a few workers.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::instance::Instance;
use super::record::{Record, Wanted};
use super::{VnfsOperations, last_error};
use crate::error::{HypervisorError, Result};
use crate::hypervisor::Status;
use crate::hypervisor::boot_conf::Restart;

/// From one look at all guests to the next.
const TICK: Duration = Duration::from_millis(500);
/// How many guests are started or configured side by side.
const WORKERS: usize = 8;
/// Longest wait before a guest that ends again and again is started again.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A guest that ran for this long has started well: the next wait is short again.
const RAN_WELL: Duration = Duration::from_secs(10);
/// How long an engine that is ended in good order may take to end its guests: Docker gives them 15 seconds.
const GOING_DOWN: Duration = Duration::from_secs(30);
/// How long an engine may still be making a guest that an nfio which ended since has asked it for.
const STILL_MAKING: Duration = Duration::from_secs(10);

/// What is to be done about a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// It runs, and this run was never configured.
    Configure,
    /// It does not run and is wanted.
    Start,
    /// It was never made: nfio or the engine ended in the middle of an activate.
    Clear,
}

/// What is remembered of a guest from look to look.
#[derive(Default)]
struct Seen {
    status: Option<Status>,
    /// Its host has not yet told how the guest came through a mount of ours or an outage of its own: what
    /// `restart = "mount"` speaks of.
    unmet: bool,
    running_since: Option<Instant>,
    /// Since when it has been seen not to run.
    standing_since: Option<Instant>,
    /// Since when it has a record and is not there.
    unborn_since: Option<Instant>,
    /// Its host did not answer when it was last looked at.
    away: bool,
    restarts: u32,
    not_before: Option<Instant>,
}

/// Guests that a worker has in hand.
type InHand = Arc<Mutex<HashSet<(String, String)>>>;

/// The thread's memory.
struct Observer {
    seen: HashMap<String, Seen>,
    /// Until all guests have been looked at once.
    mounting: bool,
    work: Sender<(Arc<Instance>, Task)>,
    in_hand: InHand,
}

impl VnfsOperations {
    /// Begins to look after guests, until the last reference to `self` goes.
    ///
    /// # Errors
    /// EAGAIN where no thread can be made.
    pub fn observe(self: &Arc<Self>) -> Result<()> {
        let (work, tasks) = channel();
        let in_hand = InHand::default();
        let tasks = Arc::new(Mutex::new(tasks));
        for number in 0..WORKERS {
            let (vnfs, tasks, in_hand) = (Arc::downgrade(self), Arc::clone(&tasks), Arc::clone(&in_hand));
            thread::Builder::new()
                .name(format!("nfio-care-{number}"))
                .spawn(move || care(&vnfs, &tasks, &in_hand))?;
        }
        let vnfs = Arc::downgrade(self);
        let mut observer = Observer { seen: HashMap::new(), mounting: true, work, in_hand };
        thread::Builder::new().name("nfio-observer".into()).spawn(move || {
            while let Some(vnfs) = vnfs.upgrade() {
                observer.look(&vnfs);
                drop(vnfs);
                thread::sleep(TICK);
            }
        })?;
        Ok(())
    }

    /// Does what the observer found to be done, unless a verb has the turn: then it looks again.
    pub(super) fn see_to(&self, instance: &Arc<Instance>, task: Task) -> Result<()> {
        let Ok(_turn) = instance.try_busy() else { return Ok(()) };
        // Between the look and the turn a verb may have done it, or undone the need.
        let Some(record) = instance.record() else { return Ok(()) };
        let status = self.status(instance)?;
        match task {
            Task::Configure if !self.is_unconfigured(&record, status)? => return Ok(()),
            Task::Start if record.wanted != Wanted::Running || !stands_still(status) => return Ok(()),
            Task::Clear if status != Status::Undeployed => return Ok(()),
            _ => {}
        }
        let outcome = match task {
            Task::Start => {
                tracing::info!("{instance} is {status} and wanted running: starting it");
                last_error::note(instance, "start", self.start(instance, HypervisorError::Start))
            }
            Task::Configure => {
                tracing::info!("{instance} was started by somebody else: configuring it");
                // An nfio that was killed may have configured it half.
                let outcome = self.take_in(instance, &record.guest, false).map_err(|e| {
                    match self.hypervisor.stop(&record.guest) {
                        Ok(()) => e,
                        Err(left) => HypervisorError::Stop(format!(
                            "{e}; and the guest, which nobody configured, could not be stopped: {left}"
                        ))
                        .into(),
                    }
                });
                last_error::note(instance, "configure", outcome)
            }
            Task::Clear => {
                tracing::info!("the guest of {instance} was never made: dropping its record");
                let cleared = self.destroy_guest(instance, &record.guest).and_then(|()| {
                    let message =
                        format!("{instance} was cut off and has left nothing; write activate again");
                    Err(HypervisorError::Deploy(message).into())
                });
                last_error::note(instance, "activate", cleared)
            }
        };
        self.tell_changed(instance);
        outcome
    }

    /// Whether the guest runs and nobody has configured this run of it.
    pub(super) fn is_unconfigured(&self, record: &Record, status: Status) -> Result<bool> {
        if status != Status::Running {
            return Ok(false);
        }
        let run = self.hypervisor.run_id(&record.guest)?;
        Ok(run.is_some() && run != record.configured)
    }
}

fn stands_still(status: Status) -> bool {
    matches!(status, Status::Created | Status::Exited)
}

impl Observer {
    fn look(&mut self, vnfs: &VnfsOperations) {
        let deployed = vnfs.deployed();
        let now = Instant::now();
        let mut there = HashSet::new();
        for instance in deployed {
            let Some(record) = instance.record() else { continue };
            there.insert(record.guest.labels.id.clone());
            let seen = self.seen.entry(record.guest.labels.id.clone()).or_default();
            seen.unmet |= self.mounting;
            let Ok(status) = vnfs.status(&instance) else {
                // A host that does not answer says so to whoever asks; there is nothing to see to until it does.
                if seen.lose(now) {
                    vnfs.tell_changed(&instance);
                }
                continue;
            };
            let unconfigured = vnfs.is_unconfigured(&record, status).unwrap_or(false);
            seen.status = Some(status);
            vnfs.notice(&instance, status);
            seen.note(status, now);
            let task = seen.judge(&record, status, unconfigured, now);
            seen.unmet = false;
            if let Some(task) = task {
                self.hand_over(instance, task);
            }
        }
        self.seen.retain(|id, _| there.contains(id));
        self.mounting = false;
    }

    fn hand_over(&self, instance: Arc<Instance>, task: Task) {
        if lock(&self.in_hand).insert((instance.ty.clone(), instance.name.clone())) {
            // Without workers there is nobody left to serve either.
            let _ = self.work.send((instance, task));
        }
    }
}

impl Seen {
    /// Its host does not answer; whether that is news.
    fn lose(&mut self, now: Instant) -> bool {
        if !std::mem::replace(&mut self.away, true) {
            // An engine that went down took it along; one that had ended well before that stays as it was.
            let before = self.standing_since.is_some_and(|since| now.duration_since(since) > GOING_DOWN);
            self.unmet |= !before;
        }
        self.running_since = None;
        self.status.take().is_some()
    }

    fn note(&mut self, status: Status, now: Instant) {
        self.away = false;
        self.unborn_since = match status {
            Status::Undeployed => self.unborn_since.or(Some(now)),
            _ => None,
        };
        if status == Status::Running {
            self.standing_since = None;
            let since = *self.running_since.get_or_insert(now);
            if now.duration_since(since) >= RAN_WELL {
                self.restarts = 0;
            }
        } else {
            self.running_since = None;
            self.standing_since = match stands_still(status) {
                true => self.standing_since.or(Some(now)),
                false => None,
            };
        }
    }

    fn judge(&mut self, record: &Record, status: Status, unconfigured: bool, now: Instant) -> Option<Task> {
        if unconfigured {
            return Some(Task::Configure);
        }
        if self.unborn_since.is_some_and(|since| now.duration_since(since) >= STILL_MAKING) {
            return Some(Task::Clear);
        }
        let wanted = record.wanted == Wanted::Running && stands_still(status);
        let again = match record.restart {
            Restart::No => false,
            Restart::Mount => self.unmet,
            Restart::Always => true,
        };
        if !wanted || !again || self.not_before.is_some_and(|not_before| now < not_before) {
            return None;
        }
        let wait = TICK.saturating_mul(1 << self.restarts.min(16)).min(LONGEST_WAIT);
        self.restarts += 1;
        self.not_before = Some(now + wait);
        Some(Task::Start)
    }
}

fn care(vnfs: &Weak<VnfsOperations>, tasks: &Mutex<Receiver<(Arc<Instance>, Task)>>, in_hand: &InHand) {
    loop {
        let next = lock(tasks).recv();
        let (Ok((instance, task)), Some(vnfs)) = (next, vnfs.upgrade()) else { return };
        // It is noted in last_error and in the log; the observer tries again where that is wanted.
        let _ = vnfs.see_to(&instance, task);
        lock(in_hand).remove(&(instance.ty.clone(), instance.name.clone()));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
