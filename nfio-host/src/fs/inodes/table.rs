//! What is known of all nodes, and how it stays consistent: names lead both ways, a node goes with its last use.

use std::collections::HashMap;
use std::ffi::OsStr;

use super::node::{Name, Names, Node};
use super::{Key, OWN_NUMBERS, ROOT_NODE, memory};

/// Nodes by number and by key.
pub(super) struct Table {
    /// ROOT's device.
    pub(super) dev: u64,
    /// Boxed: a table that has just grown is half empty.
    pub(super) nodes: HashMap<u64, Box<Node>>,
    /// The nodes that have not the number of their inode.
    pub(super) keys: HashMap<Key, u64>,
    pub(super) names: Names,
    pub(super) next: u64,
}

impl Table {
    pub(super) fn child(&self, parent: u64, name: &OsStr) -> Option<u64> {
        self.nodes.get(&parent)?.child(name)
    }

    pub(super) fn key(&self, node: u64) -> Option<Key> {
        let entry = self.nodes.get(&node)?;
        if entry.numbered { Some(Key { dev: self.dev, ino: node }) } else { entry.key() }
    }

    pub(super) fn of_key(&self, key: Key) -> Option<u64> {
        let numbered = || self.nodes.get(&key.ino).is_some_and(|entry| entry.numbered);
        if key.dev == self.dev && numbered() { Some(key.ino) } else { self.keys.get(&key).copied() }
    }

    pub(super) fn add(&mut self, key: Option<Key>) -> u64 {
        let numbered = key
            .filter(|key| key.dev == self.dev && (2..OWN_NUMBERS).contains(&key.ino))
            .filter(|key| !self.nodes.contains_key(&key.ino));
        let mut node = Node::default();
        node.numbered = numbered.is_some();
        let number = match (numbered, key) {
            (Some(key), _) => key.ino,
            (None, key) => {
                self.next += 1;
                node.set_key(key);
                self.keys.extend(key.map(|key| (key, self.next)));
                self.next
            }
        };
        self.nodes.insert(number, Box::new(node));
        number
    }

    /// Gives a node a name; another node that had it loses it.
    pub(super) fn bind(&mut self, parent: u64, name: &OsStr, node: u64) {
        match self.child(parent, name) {
            Some(same) if same == node => return,
            Some(other) => {
                self.unbind(parent, name);
                self.sweep(other);
            }
            None => {}
        }
        let name = self.names.share(name);
        if let Some(entry) = self.nodes.get_mut(&parent) {
            entry.add_child(name.clone(), node);
        }
        if let Some(entry) = self.nodes.get_mut(&node) {
            entry.add_name(parent, name);
        }
    }

    pub(super) fn unbind(&mut self, parent: u64, name: &OsStr) {
        if let Some((name, child)) = self.nodes.get_mut(&parent).and_then(|entry| entry.remove_child(name)) {
            self.lose_name(child, parent, name);
        }
    }

    /// A node is no child of `parent` any more.
    pub(super) fn lose_name(&mut self, node: u64, parent: u64, name: Name) {
        if let Some(entry) = self.nodes.get_mut(&node) {
            entry.remove_name(parent, &name);
        }
        self.names.release(name);
    }

    /// A name that a node had before leads nowhere now.
    fn lose_child(&mut self, parent: u64, name: Name) {
        if let Some(entry) = self.nodes.get_mut(&parent) {
            entry.remove_child(&name);
        }
        self.names.release(name);
    }

    /// The backing file is gone: its inode number no longer leads here.
    pub(super) fn lose(&mut self, node: u64) {
        let Some(entry) = self.nodes.get_mut(&node) else { return };
        entry.numbered = false;
        if let Some(key) = entry.key() {
            entry.set_key(None);
            if self.keys.get(&key) == Some(&node) {
                self.keys.remove(&key);
            }
        }
    }

    /// What the table believed of a node is not true any more.
    pub(super) fn forsake(&mut self, node: u64) {
        if node == ROOT_NODE {
            return;
        }
        self.lose(node);
        for (parent, name) in self.nodes.get_mut(&node).map_or_else(Vec::new, |entry| entry.take_names()) {
            self.lose_child(parent, name);
        }
        self.sweep(node);
    }

    /// Drops a node that neither the kernel nor a child needs, then its parents that were kept for it alone.
    pub(super) fn sweep(&mut self, node: u64) {
        let mut doomed = vec![node];
        while let Some(node) = doomed.pop() {
            let idle = |entry: &Node| entry.lookups == 0 && !entry.has_children();
            if node == ROOT_NODE || !self.nodes.get(&node).is_some_and(|entry| idle(entry)) {
                continue;
            }
            self.lose(node);
            for (parent, name) in
                self.nodes.remove(&node).map_or_else(Vec::new, |mut entry| entry.take_names())
            {
                self.lose_child(parent, name);
                doomed.push(parent);
            }
        }
    }

    /// Gives up room that a larger table needed; whether there was any to speak of.
    pub(super) fn shrink(&mut self) -> bool {
        let (used, room) = (self.nodes.len(), self.nodes.capacity());
        if room < memory::LARGE || used > room / 8 {
            return false;
        }
        self.nodes.shrink_to(2 * used);
        self.names.shrink_to(2 * used);
        true
    }
}
