//! A plugin's file: opened once, so that what is judged is what is read, whatever becomes of its name meanwhile.

use sha2::{Digest, Sha256};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The largest file that is taken for a plugin, in bytes: a debug build of one has some 20 MB.
const SIZE_LIMIT: u64 = 256 << 20;

/// An open plugin file.
pub(super) struct Source {
    /// The name that it was opened by.
    pub(super) path: PathBuf,
    file: File,
    meta: Metadata,
}

/// Bytes that are read at a time: a plugin is never in memory as a whole, which would leave its mark there.
const PIECE: usize = 64 << 10;

/// What tells a plugin file's content.
pub(super) struct Content {
    /// SHA-256 of it, in lower-case hexadecimal digits.
    pub(super) sha256: String,
    /// When the file was changed last: seconds and nanoseconds.
    pub(super) modified: (i64, i64),
}

impl Source {
    /// Opens a regular file.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let cannot = |e: std::io::Error| format!("it cannot be opened: {e}");
        // Without O_NONBLOCK a fifo would have us wait for its writer.
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        let file = opened.map_err(cannot)?;
        let meta = file.metadata().map_err(cannot)?;
        if !meta.is_file() {
            return Err("it is not a regular file; put the plugin itself in its place".into());
        }
        if meta.len() > SIZE_LIMIT {
            return Err(format!("it has {} bytes; a plugin has at most {SIZE_LIMIT}", meta.len()));
        }
        Ok(Self { path: path.to_owned(), file, meta })
    }

    /// Owner, mode and identity of the file.
    pub(super) fn metadata(&self) -> &Metadata {
        &self.meta
    }

    /// Copies all of it to the new file `copy` (0600).
    pub(super) fn copy(self, copy: &Path) -> Result<Content, String> {
        let cannot = |e: io::Error| format!("it cannot be read: {e}");
        let fail = |e: io::Error| format!("it cannot be copied to {}: {e}", copy.display());
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(copy).map_err(fail)?;
        let (mut hash, mut length, mut piece) = (Sha256::new(), 0, vec![0; PIECE]);
        let mut whole = (&self.file).take(SIZE_LIMIT);
        loop {
            let count = match whole.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(cannot(e)),
            };
            hash.update(&piece[..count]);
            out.write_all(&piece[..count]).map_err(fail)?;
            length += count as u64;
        }
        let after = self.file.metadata().map_err(cannot)?;
        let stamp = |meta: &Metadata| (meta.mtime(), meta.mtime_nsec(), meta.len());
        if stamp(&after) != stamp(&self.meta) || length != after.len() {
            return Err("it was written to while it was read; copy it aside and move it into place".into());
        }
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Content { sha256, modified: (after.mtime(), after.mtime_nsec()) })
    }
}
