//! The file system without FUSE: the manual's class `Nfio`. Its operations are spread over this folder by what
//! they work on: nodes here, names in `names`, open files in `files`, listings in `directories`.

use middlebox_sdk::{File, Kind};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat};
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, fstatfs};
use nix::sys::statvfs::{Statvfs, fstatvfs};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, SystemTime};

use super::attributes::{Attributes, Entry, is};
use super::handles::{Handle, Handles, Open};
use super::inodes::{Inodes, Key};
use super::kept::Kept;
use super::lanes::Lanes;
use super::listings::Listings;
use super::modules_dir::is_virtual;
use super::operations::{Access, Caller, DiskChange, Operations, TypeState};
use super::ordinary::{self, Backing, Change};
use super::polls::Polls;
use super::{Answer, xattr};
use crate::tree::{self, NF_TYPES, Node};

/// A file system over ROOT whose special files `Operations` answers.
pub struct Nfio {
    pub(super) root: Backing,
    pub(super) ops: Arc<dyn Operations>,
    pub(super) inodes: Arc<Inodes>,
    pub(super) kept: Arc<Kept>,
    pub(super) listings: Listings,
    pub(super) handles: Handles,
    pub(super) lanes: Lanes,
    pub(super) polls: Arc<Polls>,
    pub(super) started: SystemTime,
    /// Held for writing while a name goes or moves, for reading from a node's path to the system call on it: a path
    /// never names something else than it did when it was put together.
    paths: RwLock<()>,
}

/// How long a rmdir waits for the kernel to have forgotten what went with it.
const FORGETTING: Duration = Duration::from_millis(200);

/// A node's file, reached by its path or, without one, through some open descriptor of it.
pub(super) enum Reached {
    /// By its path.
    Path(OwnedFd),
    /// Through a handle.
    Handle(Arc<Handle>),
}

impl Reached {
    pub(super) fn fd(&self) -> Answer<BorrowedFd<'_>> {
        match self {
            Self::Path(fd) => Ok(fd.as_fd()),
            Self::Handle(handle) => handle.fd().ok_or(Errno::EBADF),
        }
    }
}

pub(super) fn key(stat: &FileStat) -> Key {
    Key { dev: stat.st_dev, ino: stat.st_ino }
}

/// Whether somebody tells the length of a special file.
fn is_sized(file: &File) -> bool {
    file.sized || file.kind == Kind::Log
}

impl Nfio {
    /// A file system over the directory `root` (which holds `nf-types` and `chns`).
    ///
    /// # Errors
    /// The errno of fstat(2), as a plain POSIX error.
    pub fn new(root: OwnedFd, ops: Arc<dyn Operations>) -> crate::error::Result<Self> {
        let stat = fstat(&root).map_err(std::io::Error::from)?;
        let polls = Arc::new(Polls::default());
        let told = Arc::clone(&polls);
        ops.on_change(Box::new(move |instance| told.changed(instance)));
        let inodes = Arc::new(Inodes::new(key(&stat)));
        let kept = Arc::new(Kept::new(Arc::clone(&inodes)));
        let told = Arc::clone(&kept);
        ops.on_disk_change(Box::new(move |change| told.changed(change)));
        Ok(Self {
            root: Backing::new(root),
            ops,
            inodes,
            kept,
            listings: Listings::default(),
            handles: Handles::default(),
            lanes: Lanes::new(),
            polls,
            started: SystemTime::now(),
            paths: RwLock::new(()),
        })
    }

    pub(super) fn paths_stay(&self) -> RwLockReadGuard<'_, ()> {
        self.paths.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn paths_change(&self) -> RwLockWriteGuard<'_, ()> {
        self.paths.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The path of a node. Without one ENOENT in what was taken away, and else ESTALE, at which the kernel looks the
    /// name up again.
    pub(super) fn path(&self, node: u64) -> Answer<PathBuf> {
        let pathless = || if self.inodes.last(node).is_some() { Errno::ENOENT } else { Errno::ESTALE };
        self.inodes.path(node).ok_or_else(pathless)
    }

    /// The table's entry for a path, where it is a special file's.
    pub(super) fn special(&self, path: &Path) -> Option<Arc<File>> {
        match tree::node(path) {
            Node::Within(instance, rest) => self.ops.special(instance.ty, rest.to_str()?),
            _ => None,
        }
    }

    /// The special file behind a path whose file in ROOT looks like this. Only a regular file is a placeholder.
    pub(super) fn special_at(&self, path: &Path, stat: &FileStat) -> Option<Arc<File>> {
        if is(stat, SFlag::S_IFREG) { self.special(path) } else { None }
    }

    /// Reaches a node's file. A path that leads to another file than it did is out of date: ESTALE.
    pub(super) fn reach(&self, node: u64, handle: Option<u64>) -> Answer<(Reached, FileStat)> {
        if let Some(handle) = handle.and_then(|number| self.handles.get(number).ok())
            && let Some(fd) = handle.fd()
        {
            let stat = fstat(fd)?;
            return Ok((Reached::Handle(handle), stat));
        }
        match self.inodes.path(node) {
            Some(path) => {
                let fd = self.root.locate(&path)?;
                let stat = fstat(&fd)?;
                if self.inodes.key(node) != Some(key(&stat)) {
                    return Err(Errno::ESTALE);
                }
                Ok((Reached::Path(fd), stat))
            }
            None => {
                let handle = self.handles.any_of(node).ok_or(Errno::ESTALE)?;
                let stat = fstat(handle.fd().ok_or(Errno::ESTALE)?)?;
                Ok((Reached::Handle(handle), stat))
            }
        }
    }

    /// The answer to a lookup or to one that made something: counts the node.
    pub(super) fn entry(&self, parent: u64, name: &OsStr, path: &Path, stat: &FileStat) -> Entry {
        let single = is(stat, SFlag::S_IFDIR) || stat.st_nlink <= 1;
        let regular = is(stat, SFlag::S_IFREG);
        let node = self.inodes.found(parent, name, Some(key(stat)), single, regular);
        self.shown(node, path, stat)
    }

    /// What a node's file shows without asking anybody.
    pub(super) fn shown(&self, node: u64, path: &Path, stat: &FileStat) -> Entry {
        let attributes = Attributes::of(node, stat);
        match (self.special_at(path, stat), tree::node(path)) {
            (Some(file), _) if is_sized(&file) => attributes.special(self.last_size(node, &file)).growing(),
            // The kernel takes what was written for the size; what reads by it (sendfile) is set right by the look-up.
            (Some(file), _) if file.kind == Kind::Verb => attributes.special(None).fleeting(),
            (Some(_), _) => attributes.special(None).lasting(),
            // A listing that the kernel keeps holds while this time stays.
            (None, Node::NfTypes) => attributes.not_before(self.ops.modules_changed()).lasting(),
            // A write takes these bits away, which the kernel leaves to us and does not note.
            (None, _) if is(stat, SFlag::S_IFREG) && stat.st_mode & (libc::S_ISUID | libc::S_ISGID) != 0 => {
                attributes.growing()
            }
            (None, _) => attributes.lasting(),
        }
    }

    fn last_size(&self, node: u64, file: &File) -> Option<(u64, SystemTime)> {
        let empty = || (file.kind == Kind::Log).then_some((0, self.started));
        self.inodes.sized(node).or_else(empty)
    }

    /// Looks a name up.
    pub(super) fn lookup(&self, parent: u64, name: &OsStr) -> Answer<Entry> {
        let _paths = self.paths_stay();
        let path = self.path(parent)?.join(name);
        self.lookup_path(parent, name, &path)
    }

    /// As [`lookup`](Self::lookup), of a path already put together.
    pub(super) fn lookup_path(&self, parent: u64, name: &OsStr, path: &Path) -> Answer<Entry> {
        match tree::node(path) {
            Node::Nothing => return Err(Errno::ENOENT),
            Node::Modules | Node::Module(_) | Node::ModuleFile(..) => {
                return self.virtual_lookup(parent, name, path);
            }
            Node::Type(ty) if !self.is_listed(ty) => return Err(Errno::ENOENT),
            _ => {}
        }
        let fd = self.root.locate(path)?;
        let stat = fstat(&fd)?;
        Ok(self.entry(parent, name, path, &stat))
    }

    /// Tells the kernel to forget a type of a module that is gone, once its last instance went. From a thread of its
    /// own, and without waiting for it for long: it needs the lock of `nf-types`, and who holds that may wait for us.
    pub(super) fn forget_type(&self, path: &Path) {
        let Node::Type(ty) = tree::node(path) else { return };
        if self.ops.type_state(ty) == TypeState::Loaded || self.has_instances(path) {
            return;
        }
        let (kept, ty) = (Arc::clone(&self.kept), ty.to_owned());
        let telling = thread::Builder::new().name("nfio-forget".into());
        let (done, told) = mpsc::channel();
        let telling = telling.spawn(move || {
            kept.changed(DiskChange::Type { ty: &ty, listed: false });
            // Nobody waits any more where it took long.
            let _ = done.send(());
        });
        if let Err(e) = telling {
            tracing::warn!("{} is listed for a while although it is gone: {e}", path.display());
        }
        // Mostly it is told before whoever removed the instance goes on.
        let _ = told.recv_timeout(FORGETTING);
    }

    /// Whether a type is there: while its module is loaded (its directory is made then), or with instances.
    pub(super) fn is_listed(&self, ty: &str) -> bool {
        let path: PathBuf = [NF_TYPES, ty].iter().collect();
        if self.ops.type_state(ty) == TypeState::Loaded {
            return match self.root.directory(&path) {
                Err(Errno::ENOENT) => {
                    let mode = Mode::from_bits_truncate(0o755);
                    let made =
                        self.root.directory(Path::new(NF_TYPES)).and_then(|dir| mkdirat(&dir, ty, mode));
                    matches!(made, Ok(()) | Err(Errno::EEXIST))
                }
                opened => opened.is_ok(),
            };
        }
        self.has_instances(&path)
    }

    /// Whether a type's directory holds instances.
    pub(super) fn has_instances(&self, path: &Path) -> bool {
        self.names_in(path).is_ok_and(|names| !names.is_empty())
    }

    /// The kernel forgets `count` lookups of a node.
    pub(super) fn forget(&self, node: u64, count: u64) {
        self.inodes.forget(node, count);
    }

    /// getattr. The length of a log or a sized file is asked in its lane; whoever lists a directory is better
    /// served with the last known length than with an error.
    pub(super) fn getattr(
        self: &Arc<Self>,
        node: u64,
        handle: Option<u64>,
        reply: impl FnOnce(Answer<Entry>) + Send + 'static,
    ) {
        let shown = match self.look(node, handle) {
            Ok(shown) => shown,
            Err(errno) => return reply(Err(errno)),
        };
        let (entry, special) = shown;
        let Some(file) = special.as_ref().filter(|file| is_sized(file)) else { return reply(Ok(entry)) };
        let nfio = Arc::downgrade(self);
        self.ask(
            node,
            file,
            Access::Attributes,
            |ops, instance, file| ops.attributes(instance, file),
            move |answer| {
                let told = answer.ok().flatten();
                if let (Some(nfio), Some(_)) = (nfio.upgrade(), told) {
                    nfio.inodes.set_sized(node, told);
                }
                let entry = match told {
                    Some(_) => entry.attributes.special(told).growing(),
                    None => entry,
                };
                reply(Ok(entry));
            },
        );
    }

    fn look(&self, node: u64, handle: Option<u64>) -> Answer<(Entry, Option<Arc<File>>)> {
        let _paths = self.paths_stay();
        let path = self.inodes.path(node).unwrap_or_default();
        if is_virtual(&path) {
            return Ok((self.virtual_entry(node, &path)?, None));
        }
        let stat = match self.reach(node, handle) {
            Err(Errno::ESTALE) => self.inodes.last(node).ok_or(Errno::ESTALE)?,
            reached => reached?.1,
        };
        Ok((self.shown(node, &path, &stat), self.special_at(&path, &stat)))
    }

    /// setattr: chmod, chown, truncate and utimens of the manual.
    pub(super) fn setattr(
        &self,
        node: u64,
        handle: Option<u64>,
        change: &Change,
        caller: Caller,
    ) -> Answer<Entry> {
        let _paths = self.paths_stay();
        let path = self.inodes.path(node).unwrap_or_default();
        if is_virtual(&path) {
            // As to an open for writing.
            return Err(if change.size.is_some() { Errno::EACCES } else { Errno::EPERM });
        }
        let (reached, stat) = self.reach(node, handle)?;
        if *change == Change::default() {
            // Before it writes by itself for somebody without CAP_FSETID, and at a chown to nobody, the kernel has the
            // mode's privileges taken away by a setattr of nothing; security.capability it removes by itself.
            ordinary::strip_privileges(reached.fd()?)?;
        }
        let special = self.special_at(&path, &stat);
        match (change.size, &special) {
            (Some(_), Some(file)) if file.mode & 0o222 == 0 => return Err(Errno::EACCES),
            // What a special file shows is not for its users to cut.
            (None, _) | (_, Some(_)) => {}
            (Some(size), None) => self.truncate(&reached, handle, size, caller)?,
        }
        let fd = reached.fd()?;
        ordinary::change(&fd, change)?;
        Ok(self.shown(node, &path, &fstat(fd)?))
    }

    fn truncate(&self, reached: &Reached, handle: Option<u64>, size: u64, caller: Caller) -> Answer<()> {
        if let Some(handle) = handle.and_then(|number| self.handles.get(number).ok())
            && let Open::Ordinary(fd) = &handle.open
        {
            return ordinary::truncate(fd, size, caller);
        }
        let writing = ordinary::reopen(reached.fd()?, OFlag::O_WRONLY | OFlag::O_NONBLOCK)?;
        ordinary::truncate(writing, size, caller)
    }

    /// readlink.
    pub(super) fn readlink(&self, node: u64) -> Answer<OsString> {
        let _paths = self.paths_stay();
        let (reached, _) = self.reach(node, None)?;
        nix::fcntl::readlinkat(reached.fd()?, "")
    }

    /// statfs: that of ROOT.
    pub(super) fn statfs(&self) -> Answer<Statvfs> {
        fstatvfs(self.root.root())
    }

    /// How many file systems may lie upon one another below MOUNT for the kernel to pass files through: one more than
    /// below ROOT, which in a container is often an overlay.
    pub(super) fn stack_depth(&self) -> u32 {
        let overlay = fstatfs(self.root.root()).is_ok_and(|s| s.filesystem_type() == OVERLAYFS_SUPER_MAGIC);
        if overlay { 2 } else { 1 }
    }

    /// access: the kernel judges by mode and owner and asks only whether the node is there.
    pub(super) fn access(&self, node: u64) -> Answer<()> {
        self.look(node, None).map(drop)
    }

    fn attributed<T>(&self, node: u64, work: impl FnOnce(BorrowedFd<'_>) -> Answer<T>) -> Answer<T> {
        let _paths = self.paths_stay();
        if self.inodes.path(node).is_some_and(|path| is_virtual(&path)) {
            return Err(Errno::EOPNOTSUPP);
        }
        let (reached, _) = self.reach(node, None)?;
        work(reached.fd()?)
    }

    pub(super) fn setxattr(&self, node: u64, name: &OsStr, value: &[u8], flags: i32) -> Answer<()> {
        self.attributed(node, |fd| xattr::set(fd, name, value, flags))
    }

    pub(super) fn getxattr(&self, node: u64, name: &OsStr, room: usize) -> Answer<xattr::Found> {
        // `ls -l` asks for those of every file.
        xattr::permitted(name)?;
        self.attributed(node, |fd| xattr::get(fd, name, room))
    }

    pub(super) fn listxattr(&self, node: u64, caller: Caller, room: usize) -> Answer<xattr::Found> {
        self.attributed(node, |fd| xattr::list(fd, caller.uid == 0, room))
    }

    pub(super) fn removexattr(&self, node: u64, name: &OsStr) -> Answer<()> {
        self.attributed(node, |fd| xattr::remove(fd, name))
    }
}
