//! The thin side of `fuser::Filesystem`: each request is handed to [`Nfio`](crate::fs::Nfio) and its answer back. Every
//! method is here, so that none of fuser's defaults answers ENOSYS, which the kernel would remember; and here alone, as
//! a trait is implemented in one block.

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, Filesystem, INodeNo, IoctlFlags, KernelConfig,
    LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags, ReplyAttr, ReplyBmap,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl,
    ReplyLock, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow,
    WriteFlags,
};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use super::answers::{GENERATION, attr, caller, empty, entry, guarded, statfs, write, xattr};
use super::convert::{attributes, device, kind, refusal, time};
use super::negotiation::negotiate;
use super::opened::Adapter;
use crate::fs::Answer;
use crate::fs::files::Write;
use crate::fs::ordinary::Change;
use crate::fs::polls::Wake;

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        self.passthrough = negotiate(config, self.nfio.stack_depth());
        Ok(())
    }

    fn destroy(&mut self) {}

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        guarded("lookup", move || entry(reply, self.nfio.lookup(parent.0, name)));
    }

    fn forget(&self, _request: &Request, node: INodeNo, count: u64) {
        guarded("forget", move || self.nfio.forget(node.0, count));
    }

    fn getattr(&self, _request: &Request, node: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr) {
        guarded("getattr", move || {
            self.nfio.getattr(node.0, handle.map(|h| h.0), move |answer| attr(reply, answer));
        });
    }

    fn setattr(
        &self,
        request: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        guarded("setattr", move || {
            let change = Change { mode, uid, gid, size, atime: atime.map(time), mtime: mtime.map(time) };
            let handle = handle.map(|h| h.0);
            attr(reply, self.nfio.setattr(node.0, handle, &change, caller(request)));
        });
    }

    fn readlink(&self, _request: &Request, node: INodeNo, reply: ReplyData) {
        guarded("readlink", move || match self.nfio.readlink(node.0) {
            Ok(target) => reply.data(target.as_bytes()),
            Err(errno) => reply.error(refusal(errno)),
        });
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        guarded("mknod", move || {
            entry(reply, self.nfio.mknod(parent.0, name, mode, device(rdev), caller(request)));
        });
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        guarded("mkdir", move || entry(reply, self.nfio.mkdir(parent.0, name, mode, caller(request))));
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        guarded("unlink", move || empty(reply, self.nfio.unlink(parent.0, name)));
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        guarded("rmdir", move || empty(reply, self.nfio.rmdir(parent.0, name)));
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        guarded("symlink", move || {
            entry(reply, self.nfio.symlink(parent.0, name, target, caller(request)));
        });
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        guarded("rename", move || {
            empty(reply, self.nfio.rename((parent.0, name), (new_parent.0, new_name), flags.bits()));
        });
    }

    fn link(
        &self,
        _request: &Request,
        node: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        guarded("link", move || entry(reply, self.nfio.link(node.0, new_parent.0, new_name)));
    }

    fn open(&self, request: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        guarded("open", move || match self.nfio.open(node.0, flags.0, caller(request)) {
            Ok(opened) => self.opened(reply, node.0, opened),
            Err(errno) => reply.error(refusal(errno)),
        });
    }

    fn read(
        &self,
        _request: &Request,
        _node: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        guarded("read", move || {
            self.nfio.read(handle.0, offset, size as usize, move |answer: Answer<&[u8]>| match answer {
                Ok(bytes) => reply.data(bytes),
                Err(errno) => reply.error(refusal(errno)),
            });
        });
    }

    fn write(
        &self,
        request: &Request,
        _node: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        guarded("write", move || {
            let strip = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
            let nonblocking = flags.0 & libc::O_NONBLOCK != 0;
            let one = Write { offset, data, strip, nonblocking, caller: caller(request) };
            self.nfio.write(handle.0, one, move |answer| write(reply, answer));
        });
    }

    fn flush(
        &self,
        _request: &Request,
        _node: INodeNo,
        handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        guarded("flush", move || empty(reply, self.nfio.flush(handle.0)));
    }

    fn release(
        &self,
        _request: &Request,
        node: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        guarded("release", move || {
            self.close(node.0, handle.0);
            reply.ok();
        });
    }

    fn fsync(
        &self,
        _request: &Request,
        _node: INodeNo,
        handle: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        guarded("fsync", move || empty(reply, self.nfio.fsync(handle.0, data_only)));
    }

    fn opendir(&self, _request: &Request, _node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // The one ENOSYS: it tells the kernel (5.1 and later) to open directories without asking, for the whole mount,
        // and to keep their listings.
        reply.error(fuser::Errno::ENOSYS);
    }

    fn readdir(
        &self,
        _request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        guarded("readdir", move || {
            let listed = self.nfio.readdir(node.0, offset, &mut |next, listed| {
                !reply.add(INodeNo(listed.node), next, kind(listed.kind), &listed.name)
            });
            match listed {
                Ok(()) => reply.ok(),
                Err(errno) => reply.error(refusal(errno)),
            }
        });
    }

    fn readdirplus(
        &self,
        _request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        guarded("readdirplus", move || {
            let listed = self.nfio.readdirplus(node.0, offset, &mut |next, name, entry| {
                let shown = attributes(&entry.attributes);
                !reply.add(shown.ino, next, name, &entry.ttl, &shown, GENERATION)
            });
            match listed {
                Ok(()) => reply.ok(),
                Err(errno) => reply.error(refusal(errno)),
            }
        });
    }

    fn releasedir(
        &self,
        _request: &Request,
        _node: INodeNo,
        _handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        // Nothing was opened.
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        guarded("fsyncdir", move || empty(reply, self.nfio.fsync_directory(node.0, data_only)));
    }

    fn statfs(&self, _request: &Request, _node: INodeNo, reply: ReplyStatfs) {
        guarded("statfs", move || statfs(reply, self.nfio.statfs()));
    }

    fn setxattr(
        &self,
        _request: &Request,
        node: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        guarded("setxattr", move || empty(reply, self.nfio.setxattr(node.0, name, value, flags)));
    }

    fn getxattr(&self, _request: &Request, node: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        guarded("getxattr", move || xattr(reply, self.nfio.getxattr(node.0, name, size as usize)));
    }

    fn listxattr(&self, request: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        guarded("listxattr", move || {
            xattr(reply, self.nfio.listxattr(node.0, caller(request), size as usize));
        });
    }

    fn removexattr(&self, _request: &Request, node: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        guarded("removexattr", move || empty(reply, self.nfio.removexattr(node.0, name)));
    }

    fn access(&self, _request: &Request, node: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        guarded("access", move || empty(reply, self.nfio.access(node.0)));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        guarded("create", move || match self.nfio.create(parent.0, name, mode, flags, caller(request)) {
            Ok((entry, handle, io)) => self.created(reply, &entry, (handle, io)),
            Err(errno) => reply.error(refusal(errno)),
        });
    }

    fn getlk(
        &self,
        _request: &Request,
        _node: INodeNo,
        _handle: FileHandle,
        _owner: LockOwner,
        _start: u64,
        _end: u64,
        _kind: i32,
        _pid: u32,
        reply: ReplyLock,
    ) {
        // Locks were not negotiated: the kernel keeps them.
        reply.error(fuser::Errno::EOPNOTSUPP);
    }

    fn setlk(
        &self,
        _request: &Request,
        _node: INodeNo,
        _handle: FileHandle,
        _owner: LockOwner,
        _start: u64,
        _end: u64,
        _kind: i32,
        _pid: u32,
        _sleep: bool,
        reply: ReplyEmpty,
    ) {
        reply.error(fuser::Errno::EOPNOTSUPP);
    }

    fn bmap(&self, _request: &Request, _node: INodeNo, _block_size: u32, _index: u64, reply: ReplyBmap) {
        reply.error(fuser::Errno::EOPNOTSUPP);
    }

    fn ioctl(
        &self,
        _request: &Request,
        _node: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        // What isatty(3) and the like expect of a file.
        reply.error(fuser::Errno::ENOTTY);
    }

    fn poll(
        &self,
        _request: &Request,
        _node: INodeNo,
        handle: FileHandle,
        notifier: PollNotifier,
        events: PollEvents,
        flags: PollFlags,
        reply: ReplyPoll,
    ) {
        guarded("poll", move || {
            let wake = flags.contains(PollFlags::FUSE_POLL_SCHEDULE_NOTIFY).then(|| -> Wake {
                Box::new(move || {
                    // The kernel refuses it where nobody polls any more.
                    if let Err(e) = notifier.notify() {
                        tracing::debug!("a poll was not woken: {e}");
                    }
                })
            });
            match self.nfio.poll(handle.0, wake) {
                Ok(ready) => {
                    let ready = PollEvents::from_bits_truncate(ready.bits().cast_unsigned().into());
                    // POLLERR needs no asking (poll(2)).
                    reply.poll(ready & (events | PollEvents::POLLERR));
                }
                Err(errno) => reply.error(refusal(errno)),
            }
        });
    }

    fn fallocate(
        &self,
        request: &Request,
        _node: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        guarded("fallocate", move || {
            empty(reply, self.nfio.fallocate(handle.0, offset, length, mode, caller(request)));
        });
    }

    fn lseek(
        &self,
        _request: &Request,
        _node: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        guarded("lseek", move || match self.nfio.lseek(handle.0, offset, whence) {
            Ok(offset) => reply.offset(offset),
            Err(errno) => reply.error(refusal(errno)),
        });
    }

    fn copy_file_range(
        &self,
        request: &Request,
        _node_in: INodeNo,
        handle_in: FileHandle,
        offset_in: u64,
        _node_out: INodeNo,
        handle_out: FileHandle,
        offset_out: u64,
        length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        guarded("copy_file_range", move || {
            let (from, to) = ((handle_in.0, offset_in), (handle_out.0, offset_out));
            write(reply, self.nfio.copy_file_range(from, to, length, caller(request)));
        });
    }
}
