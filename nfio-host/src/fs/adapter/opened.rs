//! Opened files: whether their bytes come to nfio or go past it, from the kernel to the backing file.

use fuser::{BackingId, FileHandle, ReplyCreate, ReplyOpen};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::answers::{GENERATION, fopen};
use super::convert::attributes;
use crate::fs::Nfio;
use crate::fs::attributes::Entry;
use crate::fs::files::Io;
use crate::fs::passthrough::Passthrough;

/// A file system as fuser wants it.
pub(super) struct Adapter {
    pub(super) nfio: Arc<Nfio>,
    /// None: this kernel cannot pass files through.
    pub(super) passthrough: Option<Passthrough<BackingId>>,
}

impl Adapter {
    pub(super) fn new(nfio: Arc<Nfio>) -> Self {
        Self { nfio, passthrough: None }
    }

    /// Replies to open: `file` is its handle, and how it is read and written.
    pub(super) fn opened(&self, reply: ReplyOpen, node: u64, file: (u64, Io)) {
        let way = self.way(node, file, |fd| reply.open_backing(fd));
        let (handle, io) = (FileHandle(file.0), fopen(file.1));
        match way {
            Some(backing) => reply.opened_passthrough(handle, io, &backing),
            None => reply.opened(handle, io),
        }
    }

    /// Replies to create, as [`opened`](Self::opened) to open.
    pub(super) fn created(&self, reply: ReplyCreate, entry: &Entry, file: (u64, Io)) {
        let way = self.way(entry.attributes.node, file, |fd| reply.open_backing(fd));
        let (shown, handle, io) = (attributes(&entry.attributes), FileHandle(file.0), fopen(file.1));
        match way {
            Some(backing) => {
                reply.created_passthrough(&entry.ttl, &shown, GENERATION, handle, io, &backing);
            }
            None => reply.created(&entry.ttl, &shown, GENERATION, handle, io),
        }
    }

    /// Lets go of a handle, and of the way past nfio with the last one of an ordinary file.
    pub(super) fn close(&self, node: u64, handle: u64) {
        let ordinary = self.nfio.release(handle);
        if let Some(passthrough) = self.passthrough.as_ref().filter(|_| ordinary) {
            passthrough.leave(node);
        }
    }

    /// What the kernel passes an ordinary file's bytes to; None where they come to nfio.
    fn way(
        &self,
        node: u64,
        (handle, io): (u64, Io),
        register: impl FnOnce(BorrowedFd<'_>) -> io::Result<BackingId>,
    ) -> Option<Arc<BackingId>> {
        let passthrough = self.passthrough.as_ref().filter(|_| io == Io::Ordinary)?;
        passthrough.enter(node, || {
            // What cannot be passed through (a file system stacked too deep) comes to us, as every file once did.
            self.nfio.with_descriptor(handle, |fd| register(fd).ok())
        })
    }
}
