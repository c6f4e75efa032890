//! What the table keeps of one node, and small: a listing of 10 000 instances makes 210 000 of them, nearly all with
//! one name, without children, and with the number of their backing inode for their own.

use nix::sys::stat::FileStat;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::SystemTime;

use super::Key;

/// A name, shared by all nodes that have it: every instance has a `status`.
pub(super) type Name = Arc<OsStr>;

/// A node. What few nodes have is in a box of its own.
#[derive(Default)]
pub(super) struct Node {
    /// How often the kernel has heard of it and not forgotten it.
    pub(super) lookups: u64,
    /// Its backing inode has the same number, on ROOT's device.
    pub(super) numbered: bool,
    /// Its file in ROOT is a regular one.
    pub(super) regular: bool,
    name: Option<(u64, Name)>,
    children: Option<Box<Children>>,
    rare: Option<Box<Rare>>,
}

#[derive(Default)]
struct Rare {
    /// What backs a node that has a number of our own.
    key: Option<Key>,
    /// Further names, of hard links.
    names: Vec<(u64, Name)>,
    /// What its file looked like before it was taken away: who still stands in a directory asks for it.
    last: Option<FileStat>,
    /// Length and time of a special file, as last told.
    sized: Option<(u64, SystemTime)>,
}

impl Node {
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// What backs it, where that does not have its number.
    pub(super) fn key(&self) -> Option<Key> {
        self.rare.as_ref()?.key
    }

    pub(super) fn set_key(&mut self, key: Option<Key>) {
        if self.key() != key {
            self.rare().key = key;
        }
    }

    pub(super) fn last(&self) -> Option<FileStat> {
        self.rare.as_ref()?.last
    }

    pub(super) fn set_last(&mut self, last: FileStat) {
        self.rare().last = Some(last);
    }

    pub(super) fn sized(&self) -> Option<(u64, SystemTime)> {
        self.rare.as_ref()?.sized
    }

    pub(super) fn set_sized(&mut self, sized: Option<(u64, SystemTime)>) {
        if self.sized() != sized {
            self.rare().sized = sized;
        }
    }

    /// The name by which its path is told: parent and name.
    pub(super) fn name(&self) -> Option<&(u64, Name)> {
        self.name.as_ref()
    }

    /// All names.
    pub(super) fn names(&self) -> impl Iterator<Item = &(u64, Name)> {
        self.name.iter().chain(self.rare.iter().flat_map(|rare| &rare.names))
    }

    pub(super) fn add_name(&mut self, parent: u64, name: Name) {
        match self.name {
            None => self.name = Some((parent, name)),
            Some(_) => self.rare().names.push((parent, name)),
        }
    }

    pub(super) fn remove_name(&mut self, parent: u64, name: &OsStr) {
        let is_it = |known: &(u64, Name)| known.0 == parent && *known.1 == *name;
        if self.name.as_ref().is_some_and(is_it) {
            self.name = None;
        }
        if let Some(rare) = &mut self.rare {
            rare.names.retain(|known| !is_it(known));
            if self.name.is_none() && !rare.names.is_empty() {
                self.name = Some(rare.names.remove(0));
            }
        }
    }

    /// Takes all names away.
    pub(super) fn take_names(&mut self) -> Vec<(u64, Name)> {
        let more = self.rare.as_mut().map(|rare| std::mem::take(&mut rare.names));
        self.name.take().into_iter().chain(more.into_iter().flatten()).collect()
    }

    pub(super) fn has_children(&self) -> bool {
        self.children.is_some()
    }

    /// The nodes of all children.
    pub(super) fn children(&self) -> Vec<u64> {
        match self.children.as_deref() {
            None => Vec::new(),
            Some(Children::Few(few)) => few.iter().map(|(_, node)| *node).collect(),
            Some(Children::Many(many)) => many.values().copied().collect(),
        }
    }

    pub(super) fn child(&self, name: &OsStr) -> Option<u64> {
        match &**self.children.as_ref()? {
            Children::Few(few) => few.iter().find(|(known, _)| **known == *name).map(|(_, node)| *node),
            Children::Many(many) => many.get(name).copied(),
        }
    }

    /// Takes all children away.
    pub(super) fn take_children(&mut self) -> Vec<(Name, u64)> {
        match self.children.take().map(|children| *children) {
            None => Vec::new(),
            Some(Children::Few(few)) => few,
            Some(Children::Many(many)) => many.into_iter().collect(),
        }
    }

    /// Adds a child under a name that none has.
    pub(super) fn add_child(&mut self, name: Name, node: u64) {
        let children = self.children.get_or_insert_with(|| Box::new(Children::Few(Vec::new())));
        match &mut **children {
            Children::Few(few) if few.len() < FEW => {
                if few.len() == few.capacity() {
                    few.reserve_exact(3);
                }
                few.push((name, node));
            }
            Children::Few(few) => {
                **children = Children::Many(few.drain(..).chain([(name, node)]).collect());
            }
            Children::Many(many) => {
                many.insert(name, node);
            }
        }
    }

    /// Takes a child away.
    pub(super) fn remove_child(&mut self, name: &OsStr) -> Option<(Name, u64)> {
        let children = self.children.as_mut()?;
        let (child, left) = match &mut **children {
            Children::Few(few) => {
                let at = few.iter().position(|(known, _)| **known == *name)?;
                (few.swap_remove(at), few.len())
            }
            Children::Many(many) => {
                let child = many.remove_entry(name)?;
                let left = many.len();
                if left == FEW / 2 {
                    **children = Children::Few(many.drain().collect());
                }
                (child, left)
            }
        };
        if left == 0 {
            self.children = None;
        }
        Some(child)
    }
}

/// Most children that are searched one by one: more than any skeleton has.
const FEW: usize = 16;

enum Children {
    Few(Vec<(Name, u64)>),
    Many(HashMap<Name, u64>),
}

/// Every name that some node has, once.
#[derive(Default)]
pub(super) struct Names(HashSet<Name>);

impl Names {
    /// The shared form of a name.
    pub(super) fn share(&mut self, name: &OsStr) -> Name {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let name: Name = Arc::from(name);
        self.0.insert(Arc::clone(&name));
        name
    }

    /// Takes back what a node had: the name goes with the last that has it.
    pub(super) fn release(&mut self, name: Name) {
        // This one and our own.
        if Arc::strong_count(&name) == 2 {
            self.0.remove(&*name);
        }
    }

    /// Gives up room beyond that for so many names.
    pub(super) fn shrink_to(&mut self, room: usize) {
        self.0.shrink_to(room);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
