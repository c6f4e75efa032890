//! Ordinary files that the kernel reads and writes by itself (FUSE passthrough). It takes a registered backing file
//! for a whole inode: all that open it at the same time must go the same way, with the same registration, or the
//! open fails with EIO. What the first open decides therefore holds until the last close.
//!
//! The kernel's side of a close comes before ours (release is told afterwards), so what is noted here lasts at least
//! as long as the kernel holds to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many locks that two clients hardly ever want the same.
const SHARDS: usize = 64;

/// The open files of a mount by node; `B` is what the kernel gave for a backing file.
pub(crate) struct Passthrough<B> {
    shards: [Mutex<HashMap<u64, Way<B>>>; SHARDS],
}

struct Way<B> {
    /// None: by requests to us.
    backing: Option<Arc<B>>,
    opens: u64,
}

impl<B> Default for Passthrough<B> {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::new(HashMap::new())) }
    }
}

impl<B> Passthrough<B> {
    fn shard(&self, node: u64) -> MutexGuard<'_, HashMap<u64, Way<B>>> {
        self.shards[(node % SHARDS as u64) as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an open and says which way it goes. `register` is asked by the first alone; None from it (another kernel,
    /// a backing file system that cannot be passed through) sends all to us.
    pub(crate) fn enter(&self, node: u64, register: impl FnOnce() -> Option<B>) -> Option<Arc<B>> {
        let mut shard = self.shard(node);
        let way = shard.entry(node).or_insert_with(|| Way { backing: register().map(Arc::new), opens: 0 });
        way.opens += 1;
        way.backing.clone()
    }

    /// Counts a close; the last one ends the registration.
    pub(crate) fn leave(&self, node: u64) {
        let mut shard = self.shard(node);
        let last = shard.get_mut(&node).is_some_and(|way| {
            way.opens -= 1;
            way.opens == 0
        });
        if last {
            shard.remove(&node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_are_open_together_share_what_the_first_one_got() {
        let files = Passthrough::default();
        let first = files.enter(7, || Some(1)).unwrap();
        let second = files.enter(7, || panic!("registered already")).unwrap();
        assert_eq!((*first, *second), (1, 1));
        files.leave(7);
        assert_eq!(*files.enter(7, || panic!("still open")).unwrap(), 1);
        files.leave(7);
        files.leave(7);
        assert_eq!(*files.enter(7, || Some(2)).unwrap(), 2, "the last close ended the first registration");
    }

    #[test]
    fn a_file_that_went_to_us_at_first_goes_to_us_until_its_last_close() {
        let files = Passthrough::<u32>::default();
        assert!(files.enter(7, || None).is_none());
        assert!(files.enter(7, || Some(1)).is_none());
        files.leave(7);
        files.leave(7);
        files.leave(7);
        assert!(files.enter(7, || Some(1)).is_some());
    }
}
