//! Turns: what may change an instance or a chain runs one after the other, and keeps it from being removed or renamed.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{HostError, NfioError, Result};

/// The turns of one instance or chain.
#[derive(Default)]
pub(crate) struct Turns {
    now: Mutex<Now>,
    /// Tells that the turn is free.
    freed: Condvar,
}

#[derive(Default)]
struct Now {
    /// Something is under way.
    busy: bool,
    /// Removed or renamed: whoever still waits for its turn comes too late.
    gone: bool,
}

/// Somebody's turn. It can be handed to another thread.
pub(crate) struct Busy(Arc<Turns>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.now().busy = false;
        // All: one that finds the instance gone passes nothing on.
        self.0.freed.notify_all();
    }
}

impl Turns {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its turn; `what` is what messages call it.
    ///
    /// # Errors
    /// ENOENT where it was removed or renamed meanwhile.
    pub(crate) fn wait(self: &Arc<Self>, what: &dyn std::fmt::Display) -> Result<Busy> {
        let free = self.freed.wait_while(self.now(), |now| now.busy);
        self.take(free.unwrap_or_else(PoisonError::into_inner), what)
    }

    /// Takes the turn if nothing is under way.
    ///
    /// # Errors
    /// Busy (EBUSY), or as [`wait`](Self::wait).
    pub(crate) fn try_take(self: &Arc<Self>, what: &dyn std::fmt::Display) -> Result<Busy> {
        let now = self.now();
        if now.busy {
            let message = format!("a verb is under way on {what}; try again when it is done");
            return Err(HostError::Busy(message).into());
        }
        self.take(now, what)
    }

    fn take(self: &Arc<Self>, mut now: MutexGuard<'_, Now>, what: &dyn std::fmt::Display) -> Result<Busy> {
        if now.gone {
            return Err(NfioError::posix(libc::ENOENT, format!("{what} was removed or renamed meanwhile")));
        }
        now.busy = true;
        Ok(Busy(Arc::clone(self)))
    }

    /// Notes that it was removed or renamed, by whoever has its turn.
    pub(crate) fn retire(&self) {
        self.now().gone = true;
    }
}
