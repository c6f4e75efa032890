//! What the kernel is told without having asked.

use fuser::{INodeNo, Notifier};
use std::ffi::OsStr;
use std::io;

use crate::fs::kept::Kernel;

/// A mount's way to the kernel.
pub(super) struct Notices(pub(super) Notifier);

impl Kernel for Notices {
    fn forget_node(&self, node: u64) {
        // From the first byte on: of a directory these are the names in it.
        told(self.0.inval_inode(INodeNo(node), 0, 0));
    }

    fn forget_attributes(&self, node: u64) {
        // A negative offset leaves content alone, whose pages may be locked for a request to us.
        told(self.0.inval_inode(INodeNo(node), -1, 0));
    }

    fn forget_name(&self, parent: u64, name: &OsStr) {
        told(self.0.inval_entry(INodeNo(parent), name));
    }
}

fn told(told: io::Result<()>) {
    if let Err(e) = told {
        // Nobody keeps anything of a mount that is gone.
        tracing::debug!("the kernel was not told: {e}");
    }
}
