//! Words of fuser to words of ours and back.

use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use std::time::SystemTime;

use crate::fs::attributes::Attributes;

/// The errno of a refusal. The kernel takes 1 … 511 only (beyond, the caller would hang), and would remember ENOSYS
/// for the whole mount.
pub(super) fn refusal(errno: Errno) -> fuser::Errno {
    match errno as i32 {
        libc::ENOSYS => fuser::Errno::EOPNOTSUPP,
        raw @ 1..=511 => fuser::Errno::from_i32(raw),
        _ => fuser::Errno::EIO,
    }
}

/// The type in a mode.
pub(super) fn kind(mode: u32) -> FileType {
    match mode & libc::S_IFMT {
        libc::S_IFDIR => FileType::Directory,
        libc::S_IFLNK => FileType::Symlink,
        libc::S_IFIFO => FileType::NamedPipe,
        libc::S_IFSOCK => FileType::Socket,
        libc::S_IFCHR => FileType::CharDevice,
        libc::S_IFBLK => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

/// Attributes as fuser takes them.
pub(super) fn attributes(shown: &Attributes) -> FileAttr {
    FileAttr {
        ino: INodeNo(shown.node),
        size: shown.size,
        blocks: shown.blocks,
        atime: shown.atime,
        mtime: shown.mtime,
        ctime: shown.ctime,
        crtime: SystemTime::UNIX_EPOCH,
        kind: kind(shown.mode),
        perm: (shown.mode & 0o7777) as u16,
        nlink: shown.nlink,
        uid: shown.uid,
        gid: shown.gid,
        rdev: packed_device(shown.rdev),
        blksize: shown.blksize,
        flags: 0,
    }
}

/// The kernel's 32-bit form of a device number (`new_encode_dev`).
fn packed_device(rdev: u64) -> u32 {
    let (major, minor) = (libc::major(rdev), libc::minor(rdev));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// A device number from the kernel's 32-bit form (`new_decode_dev`).
pub(super) fn device(packed: u32) -> u64 {
    libc::makedev((packed & 0xf_ff00) >> 8, (packed & 0xff) | ((packed >> 12) & 0xf_ff00))
}

/// A time to set.
pub(super) fn time(asked: TimeOrNow) -> TimeSpec {
    let time = match asked {
        TimeOrNow::Now => return TimeSpec::UTIME_NOW,
        TimeOrNow::SpecificTime(time) => time,
    };
    let spec = |since: std::time::Duration, sign: i64| {
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        TimeSpec::new(sign * seconds, i64::from(since.subsec_nanos()))
    };
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => spec(since, 1),
        // fuser 0.18 reads -2 s + 0.5 s (half past minus two) as -2.5 s: taken back here.
        Err(before) => spec(before.duration(), -1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn no_errno_that_the_kernel_would_choke_on_gets_through() {
        assert_eq!(refusal(Errno::EACCES).code(), libc::EACCES);
        assert_eq!(refusal(Errno::ENOSYS).code(), libc::EOPNOTSUPP);
        assert_eq!(refusal(Errno::UnknownErrno).code(), libc::EIO);
    }

    #[test]
    fn device_numbers_survive_the_kernels_form() {
        for (major, minor) in [(1, 3), (8, 17), (259, 70_000), (4095, 1_048_575)] {
            let rdev = libc::makedev(major, minor);
            assert_eq!(device(packed_device(rdev)), rdev, "{major}:{minor}");
        }
    }

    #[test]
    fn times_before_the_epoch_are_what_was_asked() {
        let as_fuser_says = SystemTime::UNIX_EPOCH - Duration::from_millis(2500);
        assert_eq!(time(TimeOrNow::SpecificTime(as_fuser_says)), TimeSpec::new(-2, 500_000_000));
        let later = SystemTime::UNIX_EPOCH + Duration::new(3, 4);
        assert_eq!(time(TimeOrNow::SpecificTime(later)), TimeSpec::new(3, 4));
    }
}
