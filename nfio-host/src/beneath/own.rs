//! nfio's own files, as records are, by their absolute paths: read as warily as a tenant's, replaced whole.

use nix::fcntl::{AT_FDCWD, OFlag, ResolveFlag};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{failed, not_a, open_regular_at, read_limited};
use crate::error::Result;
use crate::fault::{self, Step};

/// Opens one of nfio's own files for reading, by its absolute path; None where there is none. Here too nothing but a
/// regular file counts and no link is followed: ROOT may have come from elsewhere.
pub fn open_own(path: &Path) -> Result<Option<File>> {
    match open_regular_at(AT_FDCWD, path, OFlag::O_RDONLY, ResolveFlag::RESOLVE_NO_SYMLINKS)? {
        Some(fd) => Ok(Some(fd.into())),
        None => Ok(None),
    }
}

/// Reads one of nfio's own files as [`open_own`] opens it. One of more than `limit` bytes is EFBIG.
pub fn read_own(path: &Path, limit: usize) -> Result<Option<Vec<u8>>> {
    open_own(path)?.map(|file| read_limited(file, path, limit)).transpose()
}

/// Replaces the file at `path` by `data` (mode 0600): after a crash at any moment it is whole, the old or the new
/// one, and after the return it is on the disk. For nfio's own records, where no tenant has a say; on the way a
/// file with a leading dot stands beside it, which whoever lists the directory passes over.
pub fn write_atomic(path: &Path, data: &[u8]) -> Result<()> {
    replace(path, data, Synced::FileAndName)
}

/// As [`write_atomic`], but a crash of the machine may leave the old file.
pub fn write_sound(path: &Path, data: &[u8]) -> Result<()> {
    replace(path, data, Synced::File)
}

/// As [`write_atomic`], but a crash of the machine may leave the old file, or an empty one.
pub fn write_whole(path: &Path, data: &[u8]) -> Result<()> {
    replace(path, data, Synced::Nothing)
}

/// What is on the disk once a file has been replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Synced {
    Nothing,
    File,
    FileAndName,
}

fn replace(path: &Path, data: &[u8], synced: Synced) -> Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(not_a(path, "file"));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let aside = parent.join(format!(".{}.{}-{count}", name.to_string_lossy(), std::process::id()));
    let replace = || {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(data)?;
        if synced != Synced::Nothing {
            file.sync_all()?;
        }
        fault::at(Step::FileAside);
        std::fs::rename(&aside, path)?;
        if synced == Synced::FileAndName { File::open(parent)?.sync_all() } else { Ok(()) }
    };
    replace().map_err(|e| {
        // Best effort: the first error is the one that matters.
        let _ = std::fs::remove_file(&aside);
        failed(path, e)
    })
}

/// Removes what [`write_atomic`] left in a directory where nfio was ended in the middle of it. For when nobody writes
/// there: at mount. What is no directory, or a link to one, is left alone.
pub fn clear_half_written(directory: &Path) -> std::io::Result<()> {
    if !std::fs::symlink_metadata(directory)?.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if is_half_written(&entry.file_name().to_string_lossy()) && entry.file_type()?.is_file() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether a name is `.NAME.PID-COUNT`.
fn is_half_written(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number =
        name.strip_prefix('.').and_then(|name| name.rsplit_once('.')).and_then(|(_, n)| n.split_once('-'));
    number.is_some_and(|(pid, count)| digits(pid) && digits(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn of_nfios_own_files_too_only_regular_ones_count_and_no_link_is_followed() {
        let path = tempfile::tempdir().unwrap();
        let at = |name: &str| path.path().canonicalize().unwrap().join(name);
        std::fs::create_dir(at("dir")).unwrap();
        std::fs::write(at("dir/file"), "x").unwrap();
        symlink("dir/file", at("link")).unwrap();
        symlink("dir", at("linked")).unwrap();
        mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
        assert_eq!(read_own(&at("dir/file"), 16).unwrap().unwrap(), b"x");
        assert_eq!(read_own(&at("dir/none"), 16).unwrap(), None);
        for name in ["link", "linked/file", "fifo", "dir"] {
            assert_eq!(read_own(&at(name), 16).unwrap_err().errno(), Errno::EINVAL as i32, "{name}");
        }
    }

    #[test]
    fn what_an_atomic_write_left_half_way_is_cleared_and_nothing_else() {
        let path = tempfile::tempdir().unwrap();
        let names = [".record.toml.12-3", "record.toml", ".hidden", ".a.b-3", ".x.1-", "id"];
        for name in names {
            std::fs::write(path.path().join(name), "").unwrap();
        }
        clear_half_written(path.path()).unwrap();
        let left = |name: &&str| path.path().join(name).exists();
        assert_eq!(names.into_iter().filter(left).collect::<Vec<_>>(), names[1..]);
    }

    #[test]
    fn an_atomic_write_replaces_the_whole_file_and_leaves_nothing_beside_it() {
        let path = tempfile::tempdir().unwrap();
        let record = path.path().join("record.toml");
        write_atomic(&record, b"a long first text").unwrap();
        write_atomic(&record, b"second").unwrap();
        assert_eq!(std::fs::read(&record).unwrap(), b"second");
        assert_eq!(std::fs::metadata(&record).unwrap().mode() & 0o7777, 0o600);
        std::fs::create_dir(path.path().join("dir")).unwrap();
        assert!(write_atomic(&path.path().join("dir"), b"x").is_err());
        assert_eq!(std::fs::read_dir(path.path()).unwrap().count(), 2);
    }
}
