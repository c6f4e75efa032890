//! What the kernel keeps of names and attributes for a while, and is told to forget when it changes other than through
//! the kernel: a plugin takes over or goes, a module writes an ordinary file.
//!
//! Nothing here but [`Kept::lost_their_names`] may be called while the kernel waits for us with a directory's lock, hence
//! not in the handling of a request on names ([`Kernel::forget_name`] wants that lock itself).

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::inodes::{Inodes, ROOT_NODE};
use super::operations::DiskChange;
use crate::tree::NF_TYPES;

/// Tells the kernel what to forget; what it does not know is no error.
pub(crate) trait Kernel: Send + Sync {
    /// Attributes of a node and, of a directory, what is in it.
    fn forget_node(&self, node: u64);
    /// Attributes of a node alone. Takes no lock and waits for nobody.
    fn forget_attributes(&self, node: u64);
    /// That a directory has this name.
    fn forget_name(&self, parent: u64, name: &OsStr);
}

/// What the kernel was told, and how to take it back.
pub(crate) struct Kept {
    inodes: Arc<Inodes>,
    kernel: OnceLock<Box<dyn Kernel>>,
}

impl Kept {
    pub(crate) fn new(inodes: Arc<Inodes>) -> Self {
        Self { inodes, kernel: OnceLock::new() }
    }

    /// Once mounted.
    pub(crate) fn set_kernel(&self, kernel: Box<dyn Kernel>) {
        // A file system is mounted once.
        let _ = self.kernel.set(kernel);
    }

    /// These were below what a rmdir took away whole: the kernel, which asked for one directory, believes that they have
    /// names.
    pub(crate) fn lost_their_names(&self, nodes: &[u64]) {
        let Some(kernel) = self.kernel.get() else { return };
        nodes.iter().for_each(|node| kernel.forget_attributes(*node));
    }

    /// Takes back what a change makes untrue.
    pub(crate) fn changed(&self, change: DiskChange<'_>) {
        let Some(kernel) = self.kernel.get() else { return };
        let types = self.inodes.child(ROOT_NODE, OsStr::new(NF_TYPES));
        match change {
            DiskChange::Type { ty, listed } => {
                let Some(types) = types else { return };
                kernel.forget_node(types);
                let Some(node) = self.inodes.child(types, OsStr::new(ty)) else { return };
                self.inodes.below(node).into_iter().for_each(|node| kernel.forget_node(node));
                if !listed {
                    kernel.forget_name(types, OsStr::new(ty));
                }
            }
            DiskChange::File(instance, path) => {
                let path = instance.path().join(path);
                for path in [path.parent().unwrap_or(Path::new("")), path.as_path()] {
                    if let Some(node) = self.inodes.at(path) {
                        kernel.forget_node(node);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::inodes::Key;
    use crate::tree::Instance;
    use std::sync::Mutex;

    struct Told(Arc<Mutex<Vec<String>>>);

    impl Kernel for Told {
        fn forget_node(&self, node: u64) {
            self.0.lock().unwrap().push(node.to_string());
        }
        fn forget_attributes(&self, node: u64) {
            self.0.lock().unwrap().push(format!("attributes of {node}"));
        }
        fn forget_name(&self, parent: u64, name: &OsStr) {
            self.0.lock().unwrap().push(format!("{parent} {}", name.display()));
        }
    }

    #[test]
    fn what_a_change_concerns_is_forgotten_and_nothing_else() {
        let inodes = Arc::new(Inodes::new(Key { dev: 5, ino: 900 }));
        let found = |parent, name: &str, ino| {
            let key = Key { dev: 5, ino };
            inodes.found(parent, OsStr::new(name), Some(key), true, name == "nf_conf")
        };
        let types = found(ROOT_NODE, "nf-types", 10);
        let ty = found(types, "firewall", 11);
        found(types, "other", 12);
        let instance = found(ty, "fw-a", 13);
        let config = found(instance, "config", 14);
        found(config, "nf_conf", 15);
        let kept = Kept::new(Arc::clone(&inodes));
        let told = Arc::new(Mutex::new(Vec::new()));
        kept.set_kernel(Box::new(Told(Arc::clone(&told))));
        let after = |change| {
            kept.changed(change);
            let mut all = std::mem::take(&mut *told.lock().unwrap());
            all.sort();
            all
        };
        let fw = Instance { ty: "firewall", name: "fw-a" };
        assert_eq!(after(DiskChange::File(fw, "config/nf_conf")), ["14", "15"]);
        assert_eq!(after(DiskChange::File(fw, "config/none")), ["14"]);
        let all = ["10", "11", "13", "14", "15"];
        assert_eq!(after(DiskChange::Type { ty: "firewall", listed: true }), all);
        assert_eq!(after(DiskChange::Type { ty: "other", listed: false }), ["10", "10 other", "12"]);
        assert_eq!(after(DiskChange::Type { ty: "unknown", listed: true }), ["10"]);
        kept.lost_their_names(&[14, 15]);
        assert_eq!(*told.lock().unwrap(), ["attributes of 14", "attributes of 15"]);
    }
}
