//! Calls of a module within a verb. One that does not come back in time is given up, so that it never holds its
//! instance's turn.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::handle::{Handle, Lease};
use crate::error::{HostError, NfioError, Result};
use crate::modules::Module;

/// Calls `function` of a module in a thread of its own, for as long as `handle` is good, and closes the handle.
/// A thread that is given up keeps what it owns; whatever it still asks is refused, and its answer is dropped.
///
/// # Errors
/// The module's own; Deadline (ETIMEDOUT) past `deadline`; EAGAIN where no thread can be made.
pub(super) fn within(
    deadline: Duration,
    handle: Handle,
    module: Arc<Module>,
    function: String,
    call: impl FnOnce(&Module, &Handle) -> Result<()> + Send + 'static,
) -> (Result<()>, Lease) {
    let handle = Arc::new(handle);
    let what = format!("{function} of {} by the module of type {}", handle.instance(), handle.instance().ty);
    let (done, answer) = mpsc::channel();
    let spawned = thread::Builder::new().name("nfio-module".into()).spawn({
        let (handle, what) = (Arc::clone(&handle), what.clone());
        move || {
            let outcome = call(&module, &handle);
            let late = handle.left().is_zero();
            if late {
                tracing::warn!("{what} came back after its deadline: its answer is dropped");
            }
            // Nobody listens to one that was given up.
            let _ = done.send((!late).then_some(outcome));
        }
    });
    let outcome = spawned.map_err(NfioError::from).and_then(|_| match answer.recv_timeout(handle.left()) {
        Ok(Some(outcome)) => outcome,
        Ok(None) | Err(RecvTimeoutError::Timeout) => {
            let message = format!("{what} did not come back within {deadline:?} and was given up");
            Err(HostError::Deadline(message).into())
        }
        Err(RecvTimeoutError::Disconnected) => {
            Err(NfioError::posix(libc::EIO, format!("nfio panicked in {what}")))
        }
    });
    (outcome, handle.close())
}

#[cfg(test)]
mod tests;
