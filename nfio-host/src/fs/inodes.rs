//! Which node number stands for which file. A node is what the kernel knows: it is counted up by every answer that
//! names it and down by forget. It is keyed by device and inode number of its backing file, so that hard links
//! share one, and keeps its names (parent and name), never a descriptor: a renamed directory moves one link and all
//! paths below it are right again.

mod memory;
mod node;
mod table;

use nix::sys::stat::FileStat;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

use node::{Names, Node};
use table::Table;

/// The mount itself (FUSE_ROOT_ID).
pub(crate) const ROOT_NODE: u64 = 1;
/// Numbers from here on are ours; below they are inode numbers of ROOT's own device, which stay the same when a
/// node is forgotten and looked up again.
const OWN_NUMBERS: u64 = 1 << 62;

/// What backs a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Device.
    pub(crate) dev: u64,
    /// Inode number on it.
    pub(crate) ino: u64,
}

/// The table.
pub(crate) struct Inodes {
    table: RwLock<Table>,
}

impl Inodes {
    /// A table that knows ROOT alone.
    pub(crate) fn new(root: Key) -> Self {
        let mut node = Node::default();
        node.lookups = 1;
        node.set_key(Some(root));
        let table = Table {
            dev: root.dev,
            nodes: HashMap::from([(ROOT_NODE, Box::new(node))]),
            keys: HashMap::from([(root, ROOT_NODE)]),
            names: Names::default(),
            next: OWN_NUMBERS,
        };
        Self { table: RwLock::new(table) }
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The path of a node below ROOT; None: it has no name any more.
    pub(crate) fn path(&self, node: u64) -> Option<PathBuf> {
        let table = self.read();
        let mut names = Vec::with_capacity(8);
        let mut at = node;
        while at != ROOT_NODE {
            let (parent, name) = table.nodes.get(&at)?.name()?;
            names.push(&**name);
            at = *parent;
        }
        Some(names.into_iter().rev().collect())
    }

    /// What backs a node.
    pub(crate) fn key(&self, node: u64) -> Option<Key> {
        self.read().key(node)
    }

    /// Notes that the kernel is about to hear of `name` in `parent`, backed by `key` or by nothing. `single`: the
    /// backing file can have no second name, so another one that is on record is out of date and its node with it.
    /// `regular`: it is a regular file.
    pub(crate) fn found(
        &self,
        parent: u64,
        name: &OsStr,
        key: Option<Key>,
        single: bool,
        regular: bool,
    ) -> u64 {
        let mut table = self.write();
        let known = match key {
            Some(key) => table.of_key(key),
            None => table.child(parent, name).filter(|node| table.key(*node).is_none()),
        };
        let fits = |node: &u64| {
            let entry = &table.nodes[node];
            *node != ROOT_NODE
                && (!single
                    || entry.name().is_none()
                    || entry.names().any(|(p, n)| *p == parent && **n == *name))
        };
        let node = match known {
            Some(node) if fits(&node) => node,
            stale => {
                if let Some(node) = stale {
                    table.forsake(node);
                }
                table.add(key)
            }
        };
        table.bind(parent, name, node);
        if let Some(entry) = table.nodes.get_mut(&node) {
            entry.lookups += 1;
            entry.regular = regular;
        }
        node
    }

    /// Whether a node's file in ROOT is a regular one.
    pub(crate) fn is_regular(&self, node: u64) -> bool {
        let table = self.read();
        table.key(node).is_some() && table.nodes.get(&node).is_some_and(|entry| entry.regular)
    }

    /// The node of a name in `parent`.
    pub(crate) fn child(&self, parent: u64, name: &OsStr) -> Option<u64> {
        self.read().child(parent, name)
    }

    /// The node of a path, where the kernel knows it.
    pub(crate) fn at(&self, path: &Path) -> Option<u64> {
        let table = self.read();
        path.iter().try_fold(ROOT_NODE, |node, name| table.child(node, name))
    }

    /// A node and all that the kernel knows below it.
    pub(crate) fn below(&self, node: u64) -> Vec<u64> {
        let table = self.read();
        let mut all = vec![node];
        let mut at = 0;
        while at < all.len() {
            all.extend(table.nodes.get(&all[at]).into_iter().flat_map(|entry| entry.children()));
            at += 1;
        }
        all
    }

    /// Keeps what a file looks like that is about to be taken away.
    pub(crate) fn note_last(&self, node: u64, stat: FileStat) {
        if let Some(entry) = self.write().nodes.get_mut(&node) {
            entry.set_last(stat);
        }
    }

    /// What the file of a node without a name looked like last; None: the node is out of date, not taken away.
    pub(crate) fn last(&self, node: u64) -> Option<FileStat> {
        let mut stat = self.read().nodes.get(&node)?.last()?;
        stat.st_nlink = 0;
        Some(stat)
    }

    /// The node above (the root is above itself).
    pub(crate) fn parent(&self, node: u64) -> u64 {
        let table = self.read();
        let name = table.nodes.get(&node).and_then(|entry| entry.name());
        name.map_or(ROOT_NODE, |(parent, _)| *parent)
    }

    /// The number that a directory listing shows for a file of ROOT's device.
    pub(crate) fn number(&self, ino: u64) -> u64 {
        let table = self.read();
        table.keys.get(&Key { dev: table.dev, ino }).copied().unwrap_or(ino)
    }

    /// The kernel forgets `count` lookups.
    pub(crate) fn forget(&self, node: u64, count: u64) {
        let mut table = self.write();
        if let Some(entry) = table.nodes.get_mut(&node) {
            entry.lookups = entry.lookups.saturating_sub(count);
        }
        table.sweep(node);
        let is_roomy = table.shrink();
        drop(table);
        if is_roomy {
            memory::give_back();
        }
    }

    /// A name is gone; `last`: and its file with it, so that the inode number may come back as another file.
    pub(crate) fn unlinked(&self, parent: u64, name: &OsStr, last: bool) {
        let mut table = self.write();
        let Some(node) = table.child(parent, name) else { return };
        table.unbind(parent, name);
        if last {
            table.lose(node);
        }
        table.sweep(node);
    }

    /// A directory is gone with all that was below it.
    pub(crate) fn removed_tree(&self, parent: u64, name: &OsStr) {
        let mut table = self.write();
        let Some(top) = table.child(parent, name) else { return };
        table.unbind(parent, name);
        let mut doomed = vec![top];
        while let Some(node) = doomed.pop() {
            table.lose(node);
            for (name, child) in
                table.nodes.get_mut(&node).map_or_else(Vec::new, |entry| entry.take_children())
            {
                table.lose_name(child, node, name);
                doomed.push(child);
            }
            table.sweep(node);
        }
    }

    /// A name has moved; what had the new name before has lost it (see [`unlinked`](Self::unlinked) for `last`).
    pub(crate) fn renamed(&self, from: (u64, &OsStr), to: (u64, &OsStr), last: bool) {
        self.unlinked(to.0, to.1, last);
        let mut table = self.write();
        if let Some(node) = table.child(from.0, from.1) {
            table.unbind(from.0, from.1);
            table.bind(to.0, to.1, node);
        }
    }

    /// Two names have changed places.
    pub(crate) fn exchanged(&self, one: (u64, &OsStr), other: (u64, &OsStr)) {
        let mut table = self.write();
        let (first, second) = (table.child(one.0, one.1), table.child(other.0, other.1));
        table.unbind(one.0, one.1);
        table.unbind(other.0, other.1);
        for (place, node) in [(other, first), (one, second)] {
            if let Some(node) = node {
                table.bind(place.0, place.1, node);
            }
        }
    }

    /// Length and time of a special file, as last told.
    pub(crate) fn sized(&self, node: u64) -> Option<(u64, SystemTime)> {
        self.read().nodes.get(&node)?.sized()
    }

    /// Keeps length and time of a special file for the next lookup.
    pub(crate) fn set_sized(&self, node: u64, sized: Option<(u64, SystemTime)>) {
        if self.sized(node) != sized
            && let Some(entry) = self.write().nodes.get_mut(&node)
        {
            entry.set_sized(sized);
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let table = self.read();
        assert!(table.keys.len() <= table.nodes.len());
        assert!(table.names.len() < table.nodes.len());
        table.nodes.len()
    }
}

#[cfg(test)]
#[path = "inodes/tests.rs"]
mod tests;
