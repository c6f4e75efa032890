//! Answers of ours as replies of fuser's, and what every handler does before.

use fuser::{
    FopenFlags, Generation, ReplyAttr, ReplyEmpty, ReplyEntry, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
};
use nix::sys::statvfs::Statvfs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::convert::{attributes, refusal};
use crate::fs::Answer;
use crate::fs::attributes::Entry;
use crate::fs::files::Io;
use crate::fs::operations::Caller;
use crate::fs::xattr::Found;

/// Node numbers are not used again while the kernel knows them.
pub(super) const GENERATION: Generation = Generation(0);

/// Runs a handler. One that panics has dropped its reply, which answers EIO; the thread goes on serving.
pub(super) fn guarded(operation: &str, handler: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(handler)).is_err() {
        tracing::error!("{operation} panicked; its caller got EIO");
    }
}

pub(super) fn caller(request: &Request) -> Caller {
    Caller { uid: request.uid(), gid: request.gid() }
}

pub(super) fn fopen(io: Io) -> FopenFlags {
    // There is nothing to flush at a close: no write is kept back, here or in the kernel.
    FopenFlags::FOPEN_NOFLUSH
        | match io {
            Io::Ordinary => FopenFlags::empty(),
            Io::Direct => FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES,
        }
}

pub(super) fn empty(reply: ReplyEmpty, answer: Answer<()>) {
    match answer {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(refusal(errno)),
    }
}

pub(super) fn entry(reply: ReplyEntry, answer: Answer<Entry>) {
    match answer {
        Ok(entry) => {
            let shown = attributes(&entry.attributes);
            reply.entry_with_ttls(&entry.ttl, &entry.name_ttl, &shown, GENERATION);
        }
        Err(errno) => reply.error(refusal(errno)),
    }
}

pub(super) fn attr(reply: ReplyAttr, answer: Answer<Entry>) {
    match answer {
        Ok(entry) => reply.attr(&entry.ttl, &attributes(&entry.attributes)),
        Err(errno) => reply.error(refusal(errno)),
    }
}

pub(super) fn write(reply: ReplyWrite, answer: Answer<usize>) {
    match answer {
        Ok(count) => reply.written(u32::try_from(count).unwrap_or(u32::MAX)),
        Err(errno) => reply.error(refusal(errno)),
    }
}

pub(super) fn xattr(reply: ReplyXattr, answer: Answer<Found>) {
    match answer {
        Ok(Found::Length(length)) => reply.size(u32::try_from(length).unwrap_or(u32::MAX)),
        Ok(Found::Bytes(bytes)) => reply.data(&bytes),
        Err(errno) => reply.error(refusal(errno)),
    }
}

pub(super) fn statfs(reply: ReplyStatfs, answer: Answer<Statvfs>) {
    let s = match answer {
        Ok(s) => s,
        Err(errno) => return reply.error(refusal(errno)),
    };
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let (bsize, frsize, name) = (small(s.block_size()), small(s.fragment_size()), small(s.name_max()));
    let (blocks, free, available) = (s.blocks(), s.blocks_free(), s.blocks_available());
    reply.statfs(blocks, free, available, s.files(), s.files_free(), bsize, name, frsize);
}
