//! What lies in module_root, and how a file is told from the one that was there before.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What changes with every copy, move, write, chmod or chown of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Identity {
    /// The identity of what a path leads to; a link that leads nowhere has its own.
    pub(super) fn of(file: &Path) -> io::Result<Self> {
        let found = fs::metadata(file).or_else(|_| fs::symlink_metadata(file))?;
        Ok(Self {
            dev: found.dev(),
            ino: found.ino(),
            size: found.size(),
            mtime: (found.mtime(), found.mtime_nsec()),
            ctime: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// Everything in module_root whose name ends in `.so`, in the order of the names.
pub(super) fn shared_objects(module_root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(module_root)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "so") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Device and number of a directory.
pub(super) fn place(directory: &Path) -> Option<(u64, u64)> {
    fs::metadata(directory).ok().map(|found| (found.dev(), found.ino()))
}

/// Who owns and may write module_root and the directories that lead to it: a file that was refused because of them
/// deserves another look when this changes.
pub(super) fn surroundings(module_root: &Path) -> Vec<Option<[u32; 3]>> {
    let rights = |found: Metadata| [found.mode(), found.uid(), found.gid()];
    module_root.ancestors().map(|directory| fs::metadata(directory).ok().map(rights)).collect()
}
