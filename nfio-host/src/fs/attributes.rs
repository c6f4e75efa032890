//! What stat(2) shows, and for how long the kernel may believe it.

use nix::sys::stat::{FileStat, SFlag};
use std::time::{Duration, SystemTime};

/// The size of a special file that tells none (the manual's constant): above 0, so that every reader reads.
pub(crate) const SPECIAL_SIZE: u64 = 1000;
/// For how long the kernel may keep what changes only through it, or of whose change it is told (`kept`): names and
/// attributes of types, instances and ordinary files, of special files all but a length that somebody tells. Whoever
/// changes ROOT behind the mount is seen so much later.
const TTL: Duration = Duration::from_secs(60);

/// Attributes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) node: u64,
    /// Type and permission bits.
    pub(crate) mode: u32,
    pub(crate) nlink: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) rdev: u64,
    pub(crate) size: u64,
    pub(crate) blocks: u64,
    pub(crate) blksize: u32,
    pub(crate) atime: SystemTime,
    pub(crate) mtime: SystemTime,
    pub(crate) ctime: SystemTime,
}

/// Attributes, and how long they and the name that led to them hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) attributes: Attributes,
    pub(crate) ttl: Duration,
    pub(crate) name_ttl: Duration,
}

impl Attributes {
    /// What the backing file shows.
    pub(crate) fn of(node: u64, stat: &FileStat) -> Self {
        Self {
            node,
            mode: stat.st_mode,
            nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
            uid: stat.st_uid,
            gid: stat.st_gid,
            rdev: stat.st_rdev,
            size: stat.st_size.cast_unsigned(),
            blocks: stat.st_blocks.cast_unsigned(),
            blksize: u32::try_from(stat.st_blksize).unwrap_or(4096),
            atime: time(stat.st_atime, stat.st_atime_nsec),
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// The same for a special file: mode, owner and times of its placeholder, but a size and perhaps a time of its
    /// own. Its blocks cover its size, else cp and tar would take it for sparse.
    pub(crate) fn special(mut self, sized: Option<(u64, SystemTime)>) -> Self {
        self.size = sized.map_or(SPECIAL_SIZE, |(size, _)| size);
        self.blocks = self.size.div_ceil(512);
        if let Some((_, changed)) = sized {
            self.mtime = changed;
        }
        self
    }

    /// Something that nothing in ROOT backs: root's, read-only.
    pub(crate) fn of_nothing(node: u64, kind: SFlag, size: u64, at: SystemTime) -> Self {
        let directory = kind == SFlag::S_IFDIR;
        Self {
            node,
            mode: kind.bits() | if directory { 0o555 } else { 0o444 },
            nlink: if directory { 2 } else { 1 },
            uid: 0,
            gid: 0,
            rdev: 0,
            size,
            blocks: size.div_ceil(512),
            blksize: 4096,
            atime: at,
            mtime: at,
            ctime: at,
        }
    }

    /// As something that has changed no earlier than at this time.
    pub(crate) fn not_before(mut self, time: SystemTime) -> Self {
        self.mtime = self.mtime.max(time);
        self.ctime = self.ctime.max(time);
        self
    }

    /// Asked anew each time, name and all.
    pub(crate) fn fleeting(self) -> Entry {
        Entry { attributes: self, ttl: Duration::ZERO, name_ttl: Duration::ZERO }
    }

    /// Asked anew each time, under a name that stays.
    pub(crate) fn growing(self) -> Entry {
        Entry { attributes: self, ttl: Duration::ZERO, name_ttl: TTL }
    }

    /// With the lifetime of what changes only through the kernel.
    pub(crate) fn lasting(self) -> Entry {
        Entry { attributes: self, ttl: TTL, name_ttl: TTL }
    }
}

/// Whether it is a file of this type.
pub(crate) fn is(stat: &FileStat, kind: SFlag) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

fn time(seconds: i64, nanoseconds: i64) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let part = Duration::from_nanos(nanoseconds.unsigned_abs());
    let start = SystemTime::UNIX_EPOCH;
    let base = if seconds < 0 { start.checked_sub(whole) } else { start.checked_add(whole) };
    base.and_then(|base| base.checked_add(part)).unwrap_or(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_keep_their_fraction() {
        let expected = SystemTime::UNIX_EPOCH - Duration::from_millis(1500);
        assert_eq!(time(-2, 500_000_000), expected);
        assert_eq!(time(1, 5), SystemTime::UNIX_EPOCH + Duration::new(1, 5));
    }

    #[test]
    fn a_special_file_has_a_size_and_is_never_sparse() {
        let plain = Attributes::of_nothing(7, SFlag::S_IFREG, 0, SystemTime::UNIX_EPOCH);
        let shown = plain.special(None);
        assert_eq!((shown.size, shown.blocks), (1000, 2));
        let shown = plain.special(Some((1025, SystemTime::UNIX_EPOCH + Duration::from_secs(9))));
        assert_eq!((shown.size, shown.blocks), (1025, 3));
        assert_eq!(shown.mtime, SystemTime::UNIX_EPOCH + Duration::from_secs(9));
        assert_eq!(shown.ctime, plain.ctime);
    }
}
