//! `modules/`: directories and texts that nothing in ROOT backs.

use nix::errno::Errno;
use nix::sys::stat::SFlag;
use std::ffi::OsStr;
use std::path::Path;

use super::attributes::{Attributes, Entry};
use super::inodes::ROOT_NODE;
use super::listings::Listed;
use super::{Answer, Nfio};
use crate::tree::{self, Node};

/// Whether the path is one that nothing in ROOT backs.
pub(crate) fn is_virtual(path: &Path) -> bool {
    matches!(tree::node(path), Node::Modules | Node::Module(_) | Node::ModuleFile(..))
}

impl Nfio {
    /// Attributes of something in `modules/` as `node`; ENOENT where there is no such thing (any more).
    pub(super) fn virtual_entry(&self, node: u64, path: &Path) -> Answer<Entry> {
        let (kind, size) = match tree::node(path) {
            Node::Modules => (SFlag::S_IFDIR, 0),
            Node::Module(name) if self.ops.modules().iter().any(|known| known == name) => (SFlag::S_IFDIR, 0),
            Node::ModuleFile(module, file) => {
                let text = self.ops.module_file(module, file).ok_or(Errno::ENOENT)?;
                (SFlag::S_IFREG, text.len() as u64)
            }
            _ => return Err(Errno::ENOENT),
        };
        Ok(Attributes::of_nothing(node, kind, size, self.ops.modules_changed()).fleeting())
    }

    /// Looks up something in `modules/`.
    pub(super) fn virtual_lookup(&self, parent: u64, name: &OsStr, path: &Path) -> Answer<Entry> {
        let mut entry = self.virtual_entry(ROOT_NODE, path)?;
        entry.attributes.node = self.inodes.found(parent, name, None, true, false);
        Ok(entry)
    }

    /// The text of a file below `modules/`.
    pub(super) fn module_text(&self, path: &Path) -> Answer<Vec<u8>> {
        match tree::node(path) {
            Node::ModuleFile(module, file) => self.ops.module_file(module, file).ok_or(Errno::ENXIO),
            _ => Err(Errno::ENXIO),
        }
    }

    /// The names in a directory of `modules/`. Their numbers are not those that a lookup would give: what nothing
    /// backs has one only while the kernel knows it.
    pub(super) fn virtual_names(&self, path: &Path) -> Vec<Listed> {
        let listed =
            |name: &str, kind: SFlag| Listed { name: name.into(), node: ROOT_NODE, kind: kind.bits() };
        match tree::node(path) {
            Node::Modules => self.ops.modules().iter().map(|name| listed(name, SFlag::S_IFDIR)).collect(),
            Node::Module(module) => {
                let there = |file: &&&str| self.ops.module_file(module, file).is_some();
                let files = self.ops.module_files().iter().filter(there);
                files.map(|file| listed(file, SFlag::S_IFREG)).collect()
            }
            _ => Vec::new(),
        }
    }
}
