//! Who waits by poll(2) for a value to change. As in sysfs: a value can always be read (POLLIN), and POLLPRI with
//! POLLERR says that it is not what this descriptor last read at offset 0.

use middlebox_sdk::Kind;
use nix::errno::Errno;
use nix::poll::PollFlags;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::handles::Open;
use super::operations::{Access, Lane};
use super::{Answer, Nfio};
use crate::tree::{self, Instance, Node};

/// Tells the kernel that a poll is worth another look.
pub(crate) type Wake = Box<dyn FnOnce() + Send>;

/// Everybody who waits, by instance and open file. One waits once: a new poll takes the place of the last.
#[derive(Default)]
pub(crate) struct Polls(Mutex<HashMap<(String, String), HashMap<u64, Wake>>>);

impl Polls {
    fn wait(&self, at: Instance<'_>, handle: u64, wake: Wake) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry((at.ty.to_owned(), at.name.to_owned())).or_default().insert(handle, wake);
    }

    /// Wakes all who wait for something of this instance.
    pub(crate) fn changed(&self, at: Instance<'_>) {
        let woken = {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.remove(&(at.ty.to_owned(), at.name.to_owned()))
        };
        // Not under the lock: it writes to the kernel.
        woken.into_iter().flatten().for_each(|(_, wake)| wake());
    }

    /// Nobody waits with a closed descriptor.
    pub(crate) fn closed(&self, handle: u64) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, handles| {
            handles.remove(&handle);
            !handles.is_empty()
        });
    }
}

impl Nfio {
    /// poll: what can be done now, and `wake` later if the kernel wants to hear of a change.
    pub(super) fn poll(&self, handle: u64, wake: Option<Wake>) -> Answer<PollFlags> {
        let always = PollFlags::POLLIN | PollFlags::POLLRDNORM | PollFlags::POLLOUT | PollFlags::POLLWRNORM;
        let number = handle;
        let handle = self.handles.get(number)?;
        let Open::Special(file, reader) = &handle.open else { return Ok(always) };
        let path = self.inodes.path(handle.node).unwrap_or_default();
        let Node::Within(instance, _) = tree::node(&path) else { return Err(Errno::ENXIO) };
        // A log grows: what it says anew is read behind what was read, and no snapshot can tell.
        if file.kind == Kind::Log || self.ops.lane(instance, file, Access::Read) != Lane::Inline {
            return Ok(always);
        }
        // First the wish to be told, then the look: a change between the two is not lost.
        if let Some(wake) = wake {
            self.polls.wait(instance, number, wake);
        }
        let changed = match self.ops.read(instance, file) {
            Ok(text) => !reader.has_read(&text),
            // What cannot be read is told by the read.
            Err(_) => true,
        };
        Ok(if changed { always | PollFlags::POLLPRI | PollFlags::POLLERR } else { always })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn a_change_wakes_each_who_waits_for_this_instance_once() {
        let polls = Polls::default();
        let woken = Arc::new(AtomicU32::new(0));
        let (one, other) = (Instance { ty: "t", name: "one" }, Instance { ty: "t", name: "other" });
        let wait = |at, handle| {
            let woken = Arc::clone(&woken);
            let wake = move || {
                woken.fetch_add(1, Ordering::SeqCst);
            };
            polls.wait(at, handle, Box::new(wake));
        };
        wait(one, 1);
        wait(one, 1);
        wait(one, 2);
        wait(other, 3);
        polls.changed(one);
        polls.changed(one);
        assert_eq!(woken.load(Ordering::SeqCst), 2);
        polls.closed(3);
        polls.changed(other);
        assert_eq!(woken.load(Ordering::SeqCst), 2);
    }
}
