//! How many virtual machines run at a time over all tests of a binary: each keeps a core busy while it boots.

use std::sync::{Condvar, Mutex, PoisonError};

/// What a machine with two cores boots within the limits of tests.
const ALL: usize = 2;

static FREE: Mutex<usize> = Mutex::new(ALL);
static RETURNED: Condvar = Condvar::new();

/// The right to run some virtual machines, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slots(usize);

impl Slots {
    /// Waits until so many more may run.
    pub(crate) fn take(count: usize) -> Self {
        assert!(count <= ALL, "{count} virtual machines at a time, where {ALL} are the most");
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        // All at once: two tests that hold one each and want another would wait for ever.
        let mut free =
            RETURNED.wait_while(free, |free| *free < count).unwrap_or_else(PoisonError::into_inner);
        *free -= count;
        Self(count)
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        *FREE.lock().unwrap_or_else(PoisonError::into_inner) += self.0;
        RETURNED.notify_all();
    }
}
