//! What POSIX says of names: a tree of directories, files and symbolic links in memory.

use nix::errno::Errno;
use std::collections::BTreeMap;

/// An answer, or an errno.
pub(crate) type Answer<T> = Result<T, Errno>;
/// The number of a node.
pub(crate) type Id = usize;

/// Symbolic links that are followed on one way.
const MOST_LINKS: u32 = 40;

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory(BTreeMap<String, Id>),
    File(String),
    Link(String),
}

/// A node.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    /// The value of its extended attribute.
    pub(crate) label: Option<&'static str>,
}

/// The tree. Nodes are never taken out: a sequence is short.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    nodes: Vec<Node>,
}

/// Where a path leads: a name in a directory, which may be free.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    /// The nodes from the top down to the directory.
    pub(crate) above: Vec<Id>,
    /// The same by names, the last one's included: the path without links.
    pub(crate) names: Vec<String>,
    pub(crate) node: Option<Id>,
}

impl Spot {
    pub(crate) fn parent(&self) -> Id {
        *self.above.last().expect("the top is above everything")
    }

    pub(crate) fn name(&self) -> &str {
        self.names.last().map_or("", String::as_str)
    }

    pub(crate) fn existing(&self) -> Answer<Id> {
        self.node.ok_or(Errno::ENOENT)
    }
}

impl Files {
    /// An empty tree.
    pub(crate) fn new() -> Self {
        Self { nodes: vec![Node { kind: Kind::Directory(BTreeMap::new()), mode: 0o755, label: None }] }
    }

    pub(crate) fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    pub(crate) fn node_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[id]
    }

    /// The names in a directory; None for anything else.
    pub(crate) fn children(&self, id: Id) -> Option<&BTreeMap<String, Id>> {
        match &self.nodes[id].kind {
            Kind::Directory(children) => Some(children),
            _ => None,
        }
    }

    pub(crate) fn is_directory(&self, id: Id) -> bool {
        self.children(id).is_some()
    }

    pub(crate) fn is_empty(&self, id: Id) -> bool {
        self.children(id).is_none_or(BTreeMap::is_empty)
    }

    /// How many names a file has.
    pub(crate) fn links(&self, id: Id) -> u64 {
        let names = |at: &Node| match &at.kind {
            Kind::Directory(children) => children.values().filter(|child| **child == id).count(),
            _ => 0,
        };
        self.reachable(0).into_iter().map(|at| names(&self.nodes[at]) as u64).sum()
    }

    fn reachable(&self, from: Id) -> Vec<Id> {
        let below = self.children(from).into_iter().flat_map(BTreeMap::values);
        below.flat_map(|child| self.reachable(*child)).chain([from]).collect()
    }

    /// Walks a path. With `follow`, a symbolic link at its end too.
    pub(crate) fn walk(&self, path: &str, follow: bool) -> Answer<Spot> {
        let mut left: Vec<String> =
            path.split('/').filter(|name| !name.is_empty()).rev().map(str::to_owned).collect();
        let (mut above, mut names, mut hops): (Vec<Id>, Vec<String>, u32) = (vec![0], Vec::new(), 0);
        while let Some(name) = left.pop() {
            let last = left.is_empty();
            let here = *above.last().expect("the top is above everything");
            let children = self.children(here).ok_or(Errno::ENOTDIR)?;
            if name == ".." {
                above.truncate((above.len() - 1).max(1));
                names.pop();
                continue;
            }
            names.push(name.clone());
            let Some(&child) = children.get(&name) else {
                return if last { Ok(Spot { above, names, node: None }) } else { Err(Errno::ENOENT) };
            };
            match &self.nodes[child].kind {
                Kind::Link(target) if follow || !last => {
                    hops += 1;
                    if hops > MOST_LINKS {
                        return Err(Errno::ELOOP);
                    }
                    names.pop();
                    left.extend(target.split('/').rev().map(str::to_owned));
                }
                _ if last => return Ok(Spot { above, names, node: Some(child) }),
                _ => above.push(child),
            }
        }
        // The top itself, or what ended in `..`.
        let node = above.last().copied();
        Ok(Spot { above, names, node })
    }

    /// The node behind a path without links, as nfio itself looks for it.
    pub(crate) fn at(&self, names: &[&str]) -> Option<Id> {
        names.iter().try_fold(0, |here, name| self.children(here)?.get(*name).copied())
    }

    /// Puts a new node under a name.
    pub(crate) fn make(&mut self, parent: Id, name: &str, kind: Kind, mode: u32) -> Id {
        self.nodes.push(Node { kind, mode, label: None });
        let id = self.nodes.len() - 1;
        self.put(parent, name, id);
        id
    }

    pub(crate) fn make_directory(&mut self, parent: Id, name: &str, mode: u32) -> Id {
        self.make(parent, name, Kind::Directory(BTreeMap::new()), mode)
    }

    /// Gives a node a name, in place of what had it.
    pub(crate) fn put(&mut self, parent: Id, name: &str, id: Id) {
        if let Kind::Directory(children) = &mut self.nodes[parent].kind {
            children.insert(name.to_owned(), id);
        }
    }

    /// Takes a name away, and what is below it.
    pub(crate) fn take(&mut self, parent: Id, name: &str) -> Option<Id> {
        match &mut self.nodes[parent].kind {
            Kind::Directory(children) => children.remove(name),
            _ => None,
        }
    }
}
