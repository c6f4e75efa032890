//! Small files of the kernel that are read again and again (/proc, control groups): opened once, then one pread each
//! time. Only so many are kept open; others are opened for each read.

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::uio::pread;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The kernel fills a page with whole lines before it answers: what is shorter by more than a line was all.
const WHOLE: usize = 3 << 10;

/// A file that is kept open, counted.
#[derive(Debug)]
struct Kept(File);

static OPEN: AtomicUsize = AtomicUsize::new(0);

impl Kept {
    /// Keeps a file open, if there is room.
    fn new(file: File) -> Option<Self> {
        let kept = Self(file);
        // Dropped beyond the limit, which counts it out again.
        (OPEN.fetch_add(1, Ordering::Relaxed) < most()).then_some(kept)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A quarter of the descriptors that this process may have.
fn most() -> usize {
    static MOST: OnceLock<usize> = OnceLock::new();
    *MOST.get_or_init(|| {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(now, _)| now);
        usize::try_from(limit / 4).unwrap_or(usize::MAX)
    })
}

/// A file that is read again and again; it must be the same one each time.
#[derive(Debug, Default)]
pub(in crate::hypervisor) struct Again(OnceLock<Kept>);

impl Again {
    /// The file's text as it is now.
    pub(in crate::hypervisor) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if let Some(kept) = self.0.get() {
            return whole(&kept.0);
        }
        let file = File::open(path)?;
        let text = whole(&file)?;
        if let Some(kept) = Kept::new(file) {
            // Another thread may have been faster: one is enough.
            let _ = self.0.set(kept);
        }
        Ok(text)
    }
}

fn whole(file: &File) -> io::Result<Vec<u8>> {
    let mut text = vec![0; 4 << 10];
    let mut end = 0;
    loop {
        let count = pread(file, &mut text[end..], i64::try_from(end).unwrap_or(i64::MAX))?;
        end += count;
        if count == 0 || end < WHOLE {
            text.truncate(end);
            return Ok(text);
        }
        text.resize(end + (4 << 10), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn each_read_is_of_the_file_as_it_is_now_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let again = Again::default();
        assert_eq!(again.read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        for length in [3, 0, 4096, 10_000, 1] {
            let text = vec![b'x'; length];
            fs::write(&path, &text).unwrap();
            assert_eq!(again.read(&path).unwrap(), text);
        }
        // Kept open: its name is not needed any more.
        fs::remove_file(&path).unwrap();
        assert_eq!(again.read(&path).unwrap(), b"x");
        assert_eq!(OPEN.load(Ordering::Relaxed), 1);
        drop(again);
        assert_eq!(OPEN.load(Ordering::Relaxed), 0);
    }
}
