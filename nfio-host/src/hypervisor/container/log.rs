//! A guest's log: what it wrote to stdout and stderr, kept below a cap by dropping the oldest half.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// The most that a log keeps.
pub(in crate::hypervisor) const CAP: u64 = 4 << 20;

/// A log that is written to.
#[derive(Debug)]
pub(in crate::hypervisor) struct Log {
    file: File,
    cap: u64,
}

impl Log {
    /// Opens the file, which must be there; no link is followed.
    pub(in crate::hypervisor) fn open(path: &Path, cap: u64) -> io::Result<Self> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).append(true).custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(Self { file, cap })
    }

    pub(in crate::hypervisor) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Asked each time: somebody may have emptied the file meanwhile.
        let size = self.file.metadata()?.len();
        if size + bytes.len() as u64 > self.cap {
            self.drop_oldest_half(size)?;
        }
        self.file.write_all(bytes)
    }

    /// Drops the oldest half of a log that somebody else appends to (`O_APPEND`), once it has reached the cap. What is
    /// appended in that moment may be lost.
    #[cfg(feature = "libvirt")]
    pub(in crate::hypervisor) fn hold(&mut self) -> io::Result<()> {
        let size = self.file.metadata()?.len();
        if size > self.cap { self.drop_oldest_half(size) } else { Ok(()) }
    }

    /// Empties it.
    pub(in crate::hypervisor) fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)
    }

    /// In place: a reader that follows the log keeps its open file.
    fn drop_oldest_half(&mut self, size: u64) -> io::Result<()> {
        let keep = size.min(self.cap / 2);
        let mut kept = vec![0; keep as usize];
        self.file.read_exact_at(&mut kept, size - keep)?;
        // From the first whole line on.
        let from = kept.iter().position(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        self.file.set_len(0)?;
        self.file.write_all(&kept[from..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_half_goes_and_lines_stay_whole() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut log = Log::open(file.path(), 100).unwrap();
        for n in 0..50 {
            log.append(format!("line {n}\n").as_bytes()).unwrap();
        }
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(text.len() <= 100 && text.starts_with("line ") && text.ends_with("line 49\n"), "{text}");
        file.as_file().set_len(0).unwrap();
        log.append(b"after\n").unwrap();
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "after\n");
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("log");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(Log::open(&link, CAP).is_err());
    }
}
