//! The operations. Any sequence of them can be run, so any part of one can too.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Types: two with a plugin, of which one has a layout of its own, and one without.
pub(crate) const GUARD: &str = "firewall";
pub(crate) const BARE: &str = "random";

/// One thing that somebody does. Paths are below the mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    Mkdir(&'static str),
    Rmdir(&'static str),
    Unlink(&'static str),
    Rename(&'static str, &'static str),
    /// As renameat2 with RENAME_NOREPLACE.
    RenameFree(&'static str, &'static str),
    /// As renameat2 with RENAME_EXCHANGE.
    Exchange(&'static str, &'static str),
    /// A hard link: old name, new name.
    Link(&'static str, &'static str),
    /// A symbolic link: target, name.
    Symlink(&'static str, &'static str),
    Chmod(&'static str, u32),
    Truncate(&'static str, u64),
    /// Sets an extended attribute, always the same one.
    Label(&'static str, &'static str),
    ReadLabel(&'static str),
    /// Opens a file to read and write, and keeps it open in place of the last one that was.
    Keep(&'static str),
    /// The same, to read alone: special files and directories too.
    KeepReading(&'static str),
    /// Reads the file that is kept open, from its beginning.
    ReadKept,
    /// Writes a text at the beginning of the file that is kept open.
    WriteKept(&'static str),
    /// One write(2) of a text.
    Put(&'static str, &'static str, How),
    /// A script to an instance's `command`, read from the same open file.
    Run(&'static str, &'static str),
    Read(&'static str),
    List(&'static str),
    Stat(&'static str),
    /// An instance's guest ends by itself.
    End(&'static str),
    /// Somebody starts an instance's guest past nfio.
    StartByHand(&'static str),
    /// A type's plugin comes (true) or goes.
    Plugin(&'static str, bool),
    /// umount, and mount again.
    Remount,
    /// kill -9 of nfio, and mount again.
    Kill,
    /// kill -9 of nfio so many microseconds after an operation on names was begun, and mount again.
    KillDuring(Box<Operation>, u64),
}

/// How a file is opened for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// As `>`.
    Truncate,
    /// As `>>`.
    Append,
    /// With O_NONBLOCK, as it is.
    Nonblock,
}

/// A path as operations hold it: each is made once and stays.
pub(crate) fn path(text: String) -> &'static str {
    static PATHS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut paths = PATHS.lock().unwrap_or_else(PoisonError::into_inner);
    match paths.get(text.as_str()) {
        Some(path) => path,
        None => {
            let path = text.leak();
            paths.insert(path);
            path
        }
    }
}
