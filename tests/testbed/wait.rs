//! Waiting with a limit, and looking at what a call answered.

use std::io;
use std::time::{Duration, Instant};

/// Longest time that anything may take here; slow machines need it, nothing is measured by it.
const LIMIT: Duration = Duration::from_secs(60);

/// Waits until `check` holds, and fails with `what` when it does not in a minute.
#[track_caller]
pub fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    let mut pause = Duration::from_millis(2);
    while !check() {
        assert!(start.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        std::thread::park_timeout(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// The errno that a call failed with; 0: it succeeded.
pub fn errno<T>(outcome: io::Result<T>) -> i32 {
    match outcome {
        Ok(_) => 0,
        Err(e) => e.raw_os_error().expect("an error of the kernel"),
    }
}

/// The value of a call that must succeed, or a failure that names what was tried.
#[track_caller]
pub fn ok<T>(what: &str, outcome: io::Result<T>) -> T {
    outcome.unwrap_or_else(|e| panic!("{what}: {e}"))
}
