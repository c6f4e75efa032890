//! What is open. A handle is what one open(2) made; all handles of a node can be found, so that a file without a
//! name is still reached through any descriptor of it.

use middlebox_sdk::File;
use nix::errno::Errno;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::Answer;
use super::special::Reader;

/// One open file.
pub(crate) struct Handle {
    /// The node that was opened.
    pub(crate) node: u64,
    /// What it is.
    pub(crate) open: Open,
}

/// What a handle holds.
pub(crate) enum Open {
    /// An ordinary file.
    Ordinary(OwnedFd),
    /// A special file, as its type's table had it when it was opened.
    Special(Arc<File>, Reader),
    /// A file below `modules/`.
    Module(Reader),
}

impl Handle {
    /// The descriptor behind it, where it has one.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.open {
            Open::Ordinary(fd) => Some(fd.as_fd()),
            Open::Special(..) | Open::Module(_) => None,
        }
    }

    /// The descriptor of an ordinary file; EINVAL for anything else.
    pub(crate) fn ordinary(&self) -> Answer<BorrowedFd<'_>> {
        match &self.open {
            Open::Ordinary(fd) => Ok(fd.as_fd()),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// All handles.
#[derive(Default)]
pub(crate) struct Handles {
    table: RwLock<Table>,
    last: AtomicU64,
}

#[derive(Default)]
struct Table {
    handles: HashMap<u64, Arc<Handle>>,
    of_node: HashMap<u64, Vec<u64>>,
}

impl Handles {
    /// Takes a handle and gives it its number.
    pub(crate) fn insert(&self, node: u64, open: Open) -> u64 {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.handles.insert(number, Arc::new(Handle { node, open }));
        table.of_node.entry(node).or_default().push(number);
        number
    }

    /// The handle of that number.
    pub(crate) fn get(&self, number: u64) -> Answer<Arc<Handle>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.handles.get(&number).cloned().ok_or(Errno::EBADF)
    }

    /// Closes; the descriptor goes with the last request that uses it.
    pub(crate) fn remove(&self, number: u64) -> Option<Arc<Handle>> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let handle = table.handles.remove(&number)?;
        if let Some(of_node) = table.of_node.get_mut(&handle.node) {
            of_node.retain(|other| *other != number);
            if of_node.is_empty() {
                table.of_node.remove(&handle.node);
            }
        }
        Some(handle)
    }

    /// Some handle of a node that has a descriptor.
    pub(crate) fn any_of(&self, node: u64) -> Option<Arc<Handle>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let numbers = table.of_node.get(&node)?;
        numbers.iter().filter_map(|n| table.handles.get(n)).find(|handle| handle.fd().is_some()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File as StdFile;

    #[test]
    fn a_node_is_found_through_any_handle_that_has_a_descriptor() {
        let handles = Handles::default();
        let bare = handles.insert(7, Open::Module(Reader::default()));
        assert!(handles.any_of(7).is_none());
        let fd = OwnedFd::from(StdFile::open("/dev/null").unwrap());
        let number = handles.insert(7, Open::Ordinary(fd));
        assert!(handles.any_of(7).is_some());
        handles.remove(number);
        handles.remove(bare);
        assert!(handles.any_of(7).is_none());
        assert_eq!(handles.get(number).err(), Some(Errno::EBADF));
        assert!(handles.table.read().unwrap().of_node.is_empty());
    }
}
