//! Open files: create, open, read, write, flush, release, fsync and what else works on a descriptor.

use middlebox_sdk::{File, Kind};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, copy_file_range, fallocate};
use nix::sys::stat::fstat;
use nix::sys::uio::{pread, pwrite};
use nix::unistd::{Whence, fdatasync, fsync, lseek64};
use std::cell::RefCell;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::attributes::Entry;
use super::handles::{Handle, Open};
use super::modules_dir::is_virtual;
use super::operations::{Access, Caller};
use super::special::Reader;
use super::{Answer, Nfio, ordinary, rules};

/// How the kernel is to treat an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Io {
    /// By the kernel itself (passthrough), or else through its page cache.
    Ordinary,
    /// Each read and write comes here. The kernel holds the inode's lock during a write, shared where it neither
    /// appends nor goes past the size shown: an open with O_TRUNC (`echo … > action`), `>>` and chmod then wait for
    /// its answer, which the deadline bounds; reads, stat and other opens do not.
    Direct,
}

/// One write(2).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Write<'a> {
    pub(crate) offset: u64,
    pub(crate) data: &'a [u8],
    /// The writer may not keep suid and sgid bits.
    pub(crate) strip: bool,
    /// O_NONBLOCK is set: a verb is only queued.
    pub(crate) nonblocking: bool,
    pub(crate) caller: Caller,
}

thread_local! {
    /// Where a FUSE thread reads ordinary files to, kept over requests.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn signed(offset: u64) -> Answer<i64> {
    i64::try_from(offset).map_err(|_| Errno::EINVAL)
}

impl Nfio {
    /// open.
    pub(super) fn open(&self, node: u64, flags: i32, caller: Caller) -> Answer<(u64, Io)> {
        let _paths = self.paths_stay();
        let path = self.inodes.path(node);
        if path.as_ref().is_some_and(|path| is_virtual(path)) {
            if ordinary::writes(flags) {
                return Err(Errno::EACCES);
            }
            return Ok((self.handles.insert(node, Open::Module(Reader::default())), Io::Direct));
        }
        let special = path.as_ref().and_then(|path| self.special(path));
        if let Some(file) = special.filter(|_| self.inodes.is_regular(node)) {
            return self.open_special(node, flags, file);
        }
        let fd = self.open_ordinary(node, flags)?;
        if flags & libc::O_TRUNC != 0 && caller.uid != 0 {
            ordinary::strip_privileges(&fd)?;
        }
        Ok((self.handles.insert(node, Open::Ordinary(fd)), Io::Ordinary))
    }

    fn open_special(&self, node: u64, flags: i32, file: Arc<File>) -> Answer<(u64, Io)> {
        // The kernel lets root write whatever the mode says.
        if ordinary::writes(flags) && file.mode & 0o222 == 0 {
            return Err(Errno::EACCES);
        }
        Ok((self.handles.insert(node, Open::Special(file, Reader::default())), Io::Direct))
    }

    fn open_ordinary(&self, node: u64, flags: i32) -> Answer<OwnedFd> {
        let flags = ordinary::backing_flags(flags);
        match self.inodes.path(node) {
            Some(path) => {
                let fd = self.root.open(&path, flags)?;
                let there = self.inodes.key(node) == Some(super::nfio::key(&fstat(&fd)?));
                if there { Ok(fd) } else { Err(Errno::ESTALE) }
            }
            None => {
                let handle = self.handles.any_of(node).ok_or(Errno::ESTALE)?;
                ordinary::reopen(handle.fd().ok_or(Errno::ESTALE)?, flags)
            }
        }
    }

    /// create. At a special file's path it puts the placeholder back.
    pub(super) fn create(
        &self,
        parent: u64,
        name: &OsStr,
        mode: u32,
        flags: i32,
        caller: Caller,
    ) -> Answer<(Entry, u64, Io)> {
        let _paths = self.paths_stay();
        let above = self.path(parent)?;
        rules::may_make_in(&above)?;
        let path = above.join(name);
        let special = self.special(&path);
        if special.as_ref().is_some_and(|file| ordinary::writes(flags) && file.mode & 0o222 == 0) {
            return Err(Errno::EACCES);
        }
        let dir = self.root.directory(&above)?;
        let (fd, stat) = match ordinary::create(&dir, name, flags, mode, caller) {
            // The kernel believed that the name is free and has checked no permission of the file that has it now.
            Err(Errno::EEXIST) if flags & libc::O_EXCL == 0 => return Err(Errno::ESTALE),
            made => made?,
        };
        let entry = self.entry(parent, name, &path, &stat);
        let node = entry.attributes.node;
        let (handle, io) = match special {
            Some(file) => self.open_special(node, flags, file)?,
            None => (self.handles.insert(node, Open::Ordinary(fd)), Io::Ordinary),
        };
        Ok((entry, handle, io))
    }

    /// read.
    pub(super) fn read(
        &self,
        handle: u64,
        offset: u64,
        length: usize,
        reply: impl for<'a> FnOnce(Answer<&'a [u8]>) + Send + 'static,
    ) {
        let handle = match self.handles.get(handle) {
            Ok(handle) => handle,
            Err(errno) => return reply(Err(errno)),
        };
        match &handle.open {
            Open::Ordinary(fd) => read_ordinary(fd, offset, length, reply),
            Open::Module(reader) => {
                let kept = reader.read(offset, length).map_or_else(
                    || {
                        let text = self.path(handle.node).and_then(|path| self.module_text(&path))?;
                        Ok(reader.take(text, offset, length))
                    },
                    Ok,
                );
                reply(kept.as_deref().map_err(|errno| *errno));
            }
            Open::Special(file, _) if file.kind == Kind::Log => {
                self.ask(
                    handle.node,
                    file,
                    Access::Read,
                    move |ops, instance, file| ops.read_log(instance, file, offset, length),
                    move |answer| match answer {
                        Ok(bytes) => reply(Ok(&bytes[..bytes.len().min(length)])),
                        Err(errno) => reply(Err(errno)),
                    },
                );
            }
            Open::Special(file, reader) => match reader.read(offset, length) {
                Some(part) => reply(Ok(&part)),
                None => {
                    let (node, file, handle) = (handle.node, Arc::clone(file), Arc::clone(&handle));
                    self.ask(
                        node,
                        &file,
                        Access::Read,
                        |ops, instance, file| ops.read(instance, file),
                        move |answer| match answer {
                            Ok(text) => reply(Ok(&handle.take(text, offset, length))),
                            Err(errno) => reply(Err(errno)),
                        },
                    );
                }
            },
        }
    }

    /// write.
    pub(super) fn write(
        &self,
        handle: u64,
        write: Write<'_>,
        reply: impl FnOnce(Answer<usize>) + Send + 'static,
    ) {
        let handle = match self.handles.get(handle) {
            Ok(handle) => handle,
            Err(errno) => return reply(Err(errno)),
        };
        match &handle.open {
            Open::Ordinary(fd) => reply(write_ordinary(fd, &write)),
            Open::Special(file, _) if file.mode & 0o222 != 0 => {
                let (node, file, handle) = (handle.node, Arc::clone(file), Arc::clone(&handle));
                let (data, caller, offset) = (write.data.to_vec(), write.caller, write.offset);
                if write.nonblocking && file.kind == Kind::Verb {
                    let count = data.len();
                    let queued = self.queue(node, &file, move |ops, instance, file| {
                        // Whoever queued it has gone on; a failure stands in last_error.
                        let _ = ops.write(instance, file, &data, caller);
                    });
                    return reply(queued.map(|()| count));
                }
                self.ask(
                    node,
                    &file,
                    Access::Write,
                    move |ops, instance, file| Ok(ops.write(instance, file, &data, caller)),
                    move |answer| {
                        reply(answer.and_then(|written| {
                            // A write that failed leaves the descriptor's position where it was.
                            let taken = *written.count.as_ref().unwrap_or(&0);
                            handle.written(offset.saturating_add(taken as u64), written.answer);
                            written.count.map_err(|e| super::errno(&e))
                        }));
                    },
                );
            }
            Open::Special(..) | Open::Module(_) => reply(Err(Errno::EACCES)),
        }
    }

    /// flush: nothing is kept back here, and what close(2) says nobody hears.
    pub(super) fn flush(&self, handle: u64) -> Answer<()> {
        self.handles.get(handle).map(drop)
    }

    /// release; whether it was an ordinary file.
    pub(super) fn release(&self, handle: u64) -> bool {
        match self.handles.remove(handle).as_deref() {
            Some(Handle { open: Open::Ordinary(_), .. }) => true,
            _ => {
                self.polls.closed(handle);
                false
            }
        }
    }

    /// Does something with the descriptor of an open ordinary file.
    pub(super) fn with_descriptor<T>(
        &self,
        handle: u64,
        work: impl FnOnce(BorrowedFd<'_>) -> Option<T>,
    ) -> Option<T> {
        work(self.handles.get(handle).ok()?.ordinary().ok()?)
    }

    /// fsync. What nothing in ROOT holds needs none.
    pub(super) fn fsync(&self, handle: u64, data_only: bool) -> Answer<()> {
        match self.handles.get(handle)?.fd() {
            Some(fd) if data_only => fdatasync(fd),
            Some(fd) => fsync(fd),
            None => Ok(()),
        }
    }

    /// fsync of a directory, which is not open here.
    pub(super) fn fsync_directory(&self, node: u64, data_only: bool) -> Answer<()> {
        let path = match self.path(node) {
            // What was taken away needs none either.
            Err(Errno::ENOENT) => return Ok(()),
            path => path?,
        };
        if is_virtual(&path) {
            return Ok(());
        }
        let fd = self.root.open(&path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        if data_only { fdatasync(fd) } else { fsync(fd) }
    }

    /// fallocate.
    pub(super) fn fallocate(
        &self,
        handle: u64,
        offset: u64,
        length: u64,
        mode: i32,
        caller: Caller,
    ) -> Answer<()> {
        let handle = self.handles.get(handle)?;
        let fd = handle.ordinary().map_err(|_| Errno::EOPNOTSUPP)?;
        let mode = FallocateFlags::from_bits(mode).ok_or(Errno::EOPNOTSUPP)?;
        fallocate(fd, mode, signed(offset)?, signed(length)?)?;
        if caller.uid == 0 { Ok(()) } else { ordinary::strip_privileges(fd) }
    }

    /// lseek for SEEK_DATA and SEEK_HOLE; the kernel does the rest by itself.
    pub(super) fn lseek(&self, handle: u64, offset: i64, whence: i32) -> Answer<i64> {
        let handle = self.handles.get(handle)?;
        let whence = match whence {
            libc::SEEK_DATA => Whence::SeekData,
            libc::SEEK_HOLE => Whence::SeekHole,
            _ => return Err(Errno::EINVAL),
        };
        lseek64(handle.ordinary()?, offset, whence)
    }

    /// copy_file_range between ordinary files. For others EINVAL, at which cp reads and writes; at EOPNOTSUPP the
    /// kernel would copy by itself, but no more than the size that a special file shows.
    pub(super) fn copy_file_range(
        &self,
        from: (u64, u64),
        to: (u64, u64),
        length: u64,
        caller: Caller,
    ) -> Answer<usize> {
        let (source, target) = (self.handles.get(from.0)?, self.handles.get(to.0)?);
        let (read, write) = (source.ordinary()?, target.ordinary()?);
        let (mut offset_in, mut offset_out) = (signed(from.1)?, signed(to.1)?);
        // The answer has 32 bits.
        let length = usize::try_from(length.min(1 << 30)).map_err(|_| Errno::EINVAL)?;
        let copied = copy_file_range(read, Some(&mut offset_in), write, Some(&mut offset_out), length)?;
        if caller.uid != 0 {
            ordinary::strip_privileges(write)?;
        }
        Ok(copied)
    }
}

impl Handle {
    fn reader(&self) -> Option<&Reader> {
        match &self.open {
            Open::Special(_, reader) | Open::Module(reader) => Some(reader),
            _ => None,
        }
    }

    fn take(&self, text: Vec<u8>, offset: u64, length: usize) -> Vec<u8> {
        self.reader().map_or_else(Vec::new, |reader| reader.take(text, offset, length).to_vec())
    }

    fn written(&self, position: u64, answer: Option<Vec<u8>>) {
        if let Some(reader) = self.reader() {
            reader.written(position, answer);
        }
    }
}

fn read_ordinary(fd: &OwnedFd, offset: u64, length: usize, reply: impl for<'a> FnOnce(Answer<&'a [u8]>)) {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        match signed(offset).and_then(|at| read_fully(fd.as_fd(), &mut buffer[..length], at)) {
            Ok(count) => reply(Ok(&buffer[..count])),
            Err(errno) => reply(Err(errno)),
        }
    });
}

/// Reads until the end of the file or of the buffer: the kernel takes less for the end.
fn read_fully(fd: BorrowedFd<'_>, buffer: &mut [u8], at: i64) -> Answer<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match pread(fd, &mut buffer[done..], at + done as i64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::EINTR) => {}
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    Ok(done)
}

fn write_ordinary(fd: &OwnedFd, write: &Write<'_>) -> Answer<usize> {
    let at = signed(write.offset)?;
    let mut done = 0;
    while done < write.data.len() {
        match pwrite(fd, &write.data[done..], at + done as i64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::EINTR) => {}
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    if write.strip {
        ordinary::strip_privileges(fd)?;
    }
    Ok(done)
}
