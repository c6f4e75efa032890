//! Brings the rooms together and serves until the mount is gone.

use std::path::Path;

use super::mountpoint::FSTYPE;
use crate::config::Config;
use crate::error::Result;
use crate::root::Root;

struct Empty;

impl fuser::Filesystem for Empty {
    fn getattr(
        &self,
        _: &fuser::Request,
        ino: fuser::INodeNo,
        _: Option<fuser::FileHandle>,
        reply: fuser::ReplyAttr,
    ) {
        let zero = std::time::UNIX_EPOCH;
        let attr = fuser::FileAttr {
            ino,
            size: 0,
            blocks: 0,
            atime: zero,
            mtime: zero,
            ctime: zero,
            crtime: zero,
            kind: fuser::FileType::Directory,
            perm: 0o755,
            nlink: 2,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        };
        reply.attr(&std::time::Duration::from_secs(1), &attr);
    }
}

/// Serves `root` at `mountpoint`, calls `ready` once the file system answers, and returns when it is unmounted, by
/// whomever.
pub(super) fn serve(config: &Config, root: Root, mountpoint: &Path, ready: impl FnOnce()) -> Result<()> {
    let _ = config;
    let mut options = fuser::Config::default();
    options.mount_options = vec![
        fuser::MountOption::FSName(root.path().display().to_string()),
        fuser::MountOption::CUSTOM(format!("subtype={}", FSTYPE.trim_start_matches("fuse."))),
    ];
    let session = fuser::spawn_mount(Empty, mountpoint, &options)?;
    ready();
    session.join()?;
    drop(root);
    Ok(())
}
