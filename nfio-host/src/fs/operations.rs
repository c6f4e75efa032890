//! What the file system asks of the VNF side. `fs` holds this as a trait object, so it knows neither modules nor
//! drivers; `vnf::VnfsOperations` implements it.

use middlebox_sdk::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::Result;
use crate::tree::Instance;

/// Who asks: the caller's ids, as the kernel gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// What is about to be asked of a special file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// [`Operations::attributes`].
    Attributes,
    /// [`Operations::read`] or [`Operations::read_log`].
    Read,
    /// [`Operations::write`].
    Write,
}

/// Where an answer is worked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lane {
    /// At once, in the FUSE thread: the answer is in memory or costs a few system calls.
    Inline,
    /// In bounded threads of its own, past the deadline ETIMEDOUT.
    Bounded {
        /// Calls with the same key share a lane.
        key: String,
        /// How many calls of the lane run side by side, at least 1.
        width: usize,
        /// How many more may wait; one beyond is refused with EAGAIN.
        queue: usize,
        /// From the request to ETIMEDOUT. A call that still waits then is dropped; one under way runs to its end.
        deadline: Duration,
        /// Errno for new calls while every place of the lane is taken by a call that has missed its deadline (EBUSY,
        /// EAGAIN).
        overdue: i32,
    },
}

/// What a write did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Bytes taken.
    pub count: Result<usize>,
    /// What this open file answers from now on when it is read (`command`: the output, also of a command that failed).
    pub answer: Option<Vec<u8>>,
}

/// Whether a type has a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeState {
    /// Its module is loaded: the type is listed and instances can be made.
    Loaded,
    /// Its module is gone or failed; it is listed as long as it has instances.
    Missing,
}

/// Whom to tell that an instance has changed; may be called from any thread.
pub type OnChange = Box<dyn Fn(Instance<'_>) + Send + Sync>;

/// What has changed in ROOT, or in what it means, other than by a request of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskChange<'a> {
    /// Another plugin serves a type or none does: files of its instances may have become others, come or gone.
    Type {
        /// The type.
        ty: &'a str,
        /// Whether it is still listed: it has a module, or instances.
        listed: bool,
    },
    /// A file of an instance was written or made.
    File(Instance<'a>, &'a str),
}

/// Whom to tell that something has changed on disk. Not to be called where the kernel may wait with a directory's lock:
/// in [`Operations::create_instance`], [`Operations::remove_instance`] and [`Operations::rename_instance`].
pub type OnDiskChange = Box<dyn Fn(DiskChange<'_>) + Send + Sync>;

/// The questions. No method but [`read`](Self::read), [`read_log`](Self::read_log), [`write`](Self::write) and
/// [`attributes`](Self::attributes) may take long; none of the others asks a driver or a module but for `mkdir`'s
/// own hook.
pub trait Operations: Send + Sync + 'static {
    /// Names of all types that are loaded.
    fn types(&self) -> Vec<String>;

    /// Whether the type has a module.
    fn type_state(&self, ty: &str) -> TypeState;

    /// The entry of the type's table for a path below an instance; None: an ordinary file or directory.
    /// A table entry of kind `Ordinary` is ordinary too, and answered as None.
    fn special(&self, ty: &str, path: &str) -> Option<Arc<File>>;

    /// Whether the path below an instance is part of the type's skeleton (special files and directories on the way
    /// to any of its files; not its ordinary files).
    fn is_skeleton(&self, ty: &str, path: &str) -> bool;

    /// Whether a record says that the instance is deployed, or a verb is under way on it.
    fn is_deployed(&self, instance: Instance<'_>) -> bool;

    /// Makes an instance with its skeleton, whole or not at all (mkdir(2)). `mode` as given by the caller.
    fn create_instance(&self, instance: Instance<'_>, mode: u32, caller: Caller) -> Result<()>;

    /// Removes an undeployed instance with its skeleton (rmdir(2)): EBUSY while deployed, ENOTEMPTY where the user
    /// added files.
    fn remove_instance(&self, instance: Instance<'_>) -> Result<()>;

    /// Renames an undeployed instance within its type (rename(2)). `flags` as in renameat2(2).
    fn rename_instance(&self, from: Instance<'_>, to: Instance<'_>, flags: u32) -> Result<()>;

    /// Where the answer to an access is worked out.
    fn lane(&self, instance: Instance<'_>, file: &File, access: Access) -> Lane;

    /// Length and modification time of a log or a sized file; None: not known, the constant 1000 is shown.
    fn attributes(&self, instance: Instance<'_>, file: &File) -> Result<Option<(u64, SystemTime)>>;

    /// The whole text of a value, or what a verb shows when read.
    fn read(&self, instance: Instance<'_>, file: &File) -> Result<Vec<u8>>;

    /// Bytes of a log from `offset`, at most `length`; fewer only at its end.
    fn read_log(&self, instance: Instance<'_>, file: &File, offset: u64, length: usize) -> Result<Vec<u8>>;

    /// One write(2) to a special file, complete in itself.
    fn write(&self, instance: Instance<'_>, file: &File, data: &[u8], caller: Caller) -> Written;

    /// Has `changed` called whenever a value of an instance that is answered inline may have
    /// changed without being asked: `status`. Called once, before the file system is mounted.
    fn on_change(&self, changed: OnChange);

    /// Has `changed` called whenever something has changed on disk other than by a request of the kernel, which keeps
    /// what it was told for a while. Called once, before the file system is mounted.
    fn on_disk_change(&self, changed: OnDiskChange);

    /// When a module came or went last: the types that are listed, or what is in `modules/`, may be others since.
    fn modules_changed(&self) -> SystemTime;

    /// Names of all modules, loaded or not (`modules/`).
    fn modules(&self) -> Vec<String>;

    /// Names of the files below `modules/<module>/`.
    fn module_files(&self) -> &'static [&'static str];

    /// Text of a file below `modules/<module>/`; None: no such module or file.
    fn module_file(&self, module: &str, file: &str) -> Option<Vec<u8>>;
}
