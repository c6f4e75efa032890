//! Which node number stands for which file. A node is what the kernel knows: it is counted up by every answer that
//! names it and down by forget. It is keyed by device and inode number of its backing file, so that hard links
//! share one, and keeps its names (parent and name), never a descriptor: a renamed directory moves one link and all
//! paths below it are right again.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

/// The mount itself (FUSE_ROOT_ID).
pub(crate) const ROOT_NODE: u64 = 1;
/// Numbers from here on are ours; below they are inode numbers of ROOT's own device, which stay the same when a
/// node is forgotten and looked up again.
const OWN_NUMBERS: u64 = 1 << 62;

/// So many names are kept once for all nodes that have them.
const COMMON: usize = 1024;

/// What backs a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Device.
    pub(crate) dev: u64,
    /// Inode number on it.
    pub(crate) ino: u64,
}

type Name = Arc<OsStr>;

/// There are as many as the kernel knows names, hundreds of thousands: what few of them have takes no room in all.
#[derive(Default)]
struct Node {
    name: Option<(u64, Name)>,
    rest: Option<Box<Rest>>,
    /// Saturating: the kernel forgets all of them at once.
    lookups: u32,
    /// Its number is that of its inode on ROOT's own device.
    own: bool,
    /// Its file in ROOT is a regular one.
    regular: bool,
}

/// What directories have, files of several names, and what lies on another device.
#[derive(Default)]
struct Rest {
    /// What backs it where that is not its own inode; None: nothing, or what did is gone.
    key: Option<Key>,
    more: Vec<(u64, Name)>,
    children: HashMap<Name, u64>,
}

impl Node {
    fn names(&self) -> impl Iterator<Item = &(u64, Name)> {
        self.name.iter().chain(self.rest.iter().flat_map(|rest| &rest.more))
    }

    fn add_name(&mut self, parent: u64, name: Name) {
        match &self.name {
            None => self.name = Some((parent, name)),
            Some(_) => self.rest.get_or_insert_default().more.push((parent, name)),
        }
    }

    fn remove_name(&mut self, parent: u64, name: &OsStr) {
        let other = |(p, n): &(u64, Name)| *p != parent || **n != *name;
        if let Some(rest) = &mut self.rest {
            rest.more.retain(other);
        }
        if !self.name.as_ref().is_some_and(other) {
            self.name = self.rest.as_mut().and_then(|rest| rest.more.pop());
        }
    }

    fn children(&self) -> impl Iterator<Item = (&Name, &u64)> {
        self.rest.iter().flat_map(|rest| &rest.children)
    }

    fn child(&self, name: &OsStr) -> Option<u64> {
        self.rest.as_ref()?.children.get(name).copied()
    }

    fn add_child(&mut self, name: Name, node: u64) {
        self.rest.get_or_insert_default().children.insert(name, node);
    }

    fn remove_child(&mut self, name: &OsStr) -> Option<u64> {
        self.rest.as_mut()?.children.remove(name)
    }

    /// What backs it, where `number` is its number.
    fn key(&self, number: u64, dev: u64) -> Option<Key> {
        let own = self.own.then_some(Key { dev, ino: number });
        own.or_else(|| self.rest.as_ref().and_then(|rest| rest.key))
    }
}

/// The table.
pub(crate) struct Inodes {
    table: RwLock<Table>,
}

struct Table {
    /// ROOT's own device.
    dev: u64,
    nodes: HashMap<u64, Node>,
    /// Nodes whose number is not that of their inode.
    keys: HashMap<Key, u64>,
    /// Length and time of special files, as last told.
    sized: HashMap<u64, (u64, SystemTime)>,
    /// The names that many nodes have, as those of skeletons.
    common: HashSet<Name>,
    next: u64,
}

impl Inodes {
    /// A table that knows ROOT alone.
    pub(crate) fn new(root: Key) -> Self {
        let rest = Rest { key: Some(root), ..Rest::default() };
        let node = Node { rest: Some(Box::new(rest)), lookups: 1, ..Node::default() };
        let table = Table {
            dev: root.dev,
            nodes: HashMap::from([(ROOT_NODE, node)]),
            keys: HashMap::from([(root, ROOT_NODE)]),
            sized: HashMap::new(),
            common: HashSet::new(),
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
            let (parent, name) = table.nodes.get(&at)?.name.as_ref()?;
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
            Some(key) => table.known(key),
            None => table.child(parent, name).filter(|node| table.key(*node).is_none()),
        };
        let fits = |node: &u64| {
            let mut names = table.nodes[node].names().peekable();
            *node != ROOT_NODE
                && (!single || names.peek().is_none() || names.any(|(p, n)| *p == parent && **n == *name))
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
        if let Some(entry) = table.nodes.get_mut(&node) {
            entry.lookups = entry.lookups.saturating_add(1);
            entry.regular = regular;
        }
        table.bind(parent, name, node);
        node
    }

    /// Whether a node's file in ROOT is a regular one.
    pub(crate) fn is_regular(&self, node: u64) -> bool {
        let table = self.read();
        table.nodes.get(&node).is_some_and(|entry| entry.regular && entry.key(node, table.dev).is_some())
    }

    /// The node of a name, where the kernel knows it.
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
            all.extend(
                table.nodes.get(&all[at]).into_iter().flat_map(Node::children).map(|(_, child)| child),
            );
            at += 1;
        }
        all
    }

    /// The node above (the root is above itself).
    pub(crate) fn parent(&self, node: u64) -> u64 {
        let table = self.read();
        let name = table.nodes.get(&node).and_then(|entry| entry.name.as_ref());
        name.map_or(ROOT_NODE, |(parent, _)| *parent)
    }

    /// The number that a directory listing shows for a file of ROOT's device.
    pub(crate) fn number(&self, ino: u64) -> u64 {
        let table = self.read();
        table.known(Key { dev: table.dev, ino }).unwrap_or(ino)
    }

    /// The kernel forgets `count` lookups.
    pub(crate) fn forget(&self, node: u64, count: u64) {
        let mut table = self.write();
        if let Some(entry) = table.nodes.get_mut(&node) {
            entry.lookups = entry.lookups.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
        }
        table.sweep(node);
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
            let children: Vec<_> = table.nodes.get(&node).map_or_else(Vec::new, |entry| {
                entry.children().map(|(name, child)| (Arc::clone(name), *child)).collect()
            });
            for (name, child) in children {
                table.unbind(node, &name);
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
        self.read().sized.get(&node).copied()
    }

    /// Keeps length and time of a special file for the next lookup.
    pub(crate) fn set_sized(&self, node: u64, sized: Option<(u64, SystemTime)>) {
        if self.sized(node) == sized {
            return;
        }
        let mut table = self.write();
        match sized {
            Some(sized) if table.nodes.contains_key(&node) => table.sized.insert(node, sized),
            _ => table.sized.remove(&node),
        };
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let table = self.read();
        assert!(table.keys.len() <= table.nodes.len());
        table.nodes.len()
    }
}

impl Table {
    fn child(&self, parent: u64, name: &OsStr) -> Option<u64> {
        self.nodes.get(&parent)?.child(name)
    }

    /// What backs a node.
    fn key(&self, node: u64) -> Option<Key> {
        self.nodes.get(&node)?.key(node, self.dev)
    }

    /// The node of a backing file.
    fn known(&self, key: Key) -> Option<u64> {
        let own = || self.nodes.get(&key.ino).is_some_and(|entry| entry.own);
        if key.dev == self.dev && own() { Some(key.ino) } else { self.keys.get(&key).copied() }
    }

    /// A name, shared with the others that have it where it may be one of many: that of a file, not of an instance.
    fn shared(&mut self, name: &OsStr, node: u64) -> Name {
        if let Some(known) = self.common.get(name) {
            return Arc::clone(known);
        }
        let name: Name = Arc::from(name);
        if self.common.len() < COMMON && self.nodes.get(&node).is_some_and(|entry| entry.regular) {
            self.common.insert(Arc::clone(&name));
        }
        name
    }

    fn add(&mut self, key: Option<Key>) -> u64 {
        let own = key.filter(|key| key.dev == self.dev && (2..OWN_NUMBERS).contains(&key.ino));
        if let Some(key) = own.filter(|key| !self.nodes.contains_key(&key.ino)) {
            self.nodes.insert(key.ino, Node { own: true, ..Node::default() });
            return key.ino;
        }
        self.next += 1;
        let rest = key.map(|_| Box::new(Rest { key, ..Rest::default() }));
        self.nodes.insert(self.next, Node { rest, ..Node::default() });
        if let Some(key) = key {
            self.keys.insert(key, self.next);
        }
        self.next
    }

    /// Gives a node a name; another node that had it loses it.
    fn bind(&mut self, parent: u64, name: &OsStr, node: u64) {
        match self.child(parent, name) {
            Some(same) if same == node => return,
            Some(other) => {
                self.unbind(parent, name);
                self.sweep(other);
            }
            None => {}
        }
        let name = self.shared(name, node);
        if let Some(entry) = self.nodes.get_mut(&parent) {
            entry.add_child(Arc::clone(&name), node);
        }
        if let Some(entry) = self.nodes.get_mut(&node) {
            entry.add_name(parent, name);
        }
    }

    fn unbind(&mut self, parent: u64, name: &OsStr) {
        let Some(entry) = self.nodes.get_mut(&parent) else { return };
        if let Some(child) = entry.remove_child(name)
            && let Some(entry) = self.nodes.get_mut(&child)
        {
            entry.remove_name(parent, name);
        }
    }

    /// The backing file is gone: its inode number no longer leads here.
    fn lose(&mut self, node: u64) {
        let Some(entry) = self.nodes.get_mut(&node) else { return };
        entry.own = false;
        if let Some(key) = entry.rest.as_mut().and_then(|rest| rest.key.take())
            && self.keys.get(&key) == Some(&node)
        {
            self.keys.remove(&key);
        }
    }

    /// What the table believed of a node is not true any more.
    fn forsake(&mut self, node: u64) {
        if node == ROOT_NODE {
            return;
        }
        self.lose(node);
        let names: Vec<_> =
            self.nodes.get(&node).map_or_else(Vec::new, |entry| entry.names().cloned().collect());
        for (parent, name) in names {
            self.unbind(parent, &name);
        }
        self.sweep(node);
    }

    /// Drops a node that neither the kernel nor a child needs, then its parents that were kept for it alone.
    fn sweep(&mut self, node: u64) {
        let mut doomed = vec![node];
        while let Some(node) = doomed.pop() {
            let idle = |entry: &Node| entry.lookups == 0 && entry.children().next().is_none();
            if node == ROOT_NODE || !self.nodes.get(&node).is_some_and(idle) {
                continue;
            }
            self.lose(node);
            self.sized.remove(&node);
            let Some(gone) = self.nodes.remove(&node) else { continue };
            for (parent, name) in gone.names() {
                if let Some(entry) = self.nodes.get_mut(parent) {
                    entry.remove_child(name);
                }
                doomed.push(*parent);
            }
        }
    }
}

#[cfg(test)]
#[path = "inodes/tests.rs"]
mod tests;
