//! Instances follow their type: the special files that a newer plugin has learnt appear in them, those that it has
//! forgotten go.

use middlebox_sdk::layout::is_instance_name;
use middlebox_sdk::{File, Kind};
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, PoisonError};

use super::VnfsOperations;
use super::disk::{io, open_dir};
use super::skeleton::{ASIDE, exists, make_directory, make_file, texts};
use crate::error::Result;
use crate::fs::operations::{Caller, DiskChange};
use crate::modules::{Served, Table};
use crate::tree::{self, NF_TYPES};

impl VnfsOperations {
    /// Makes the directory of every type that a plugin has taken over since this was last done, gives its instances the
    /// special files that the type has learnt, and takes those that it has forgotten.
    pub(super) fn mend_types(&self) -> Result<()> {
        let types = open_dir(self.root.dir(), Path::new(NF_TYPES))?;
        let mut outcome = Ok(());
        for served in self.registry.take_changes() {
            // One type's failure is no other's.
            outcome = outcome.and(mend_type(types.as_fd(), &served));
            let ty = &served.module.describe().name;
            self.tell_disk_change(DiskChange::Type { ty, listed: true });
        }
        self.tell_of_the_gone(types.as_fd());
        outcome
    }

    /// Tells the file system which types have lost their module.
    fn tell_of_the_gone(&self, types: BorrowedFd<'_>) {
        let now = self.registry.types();
        let before =
            std::mem::replace(&mut *self.served.lock().unwrap_or_else(PoisonError::into_inner), now.clone());
        for ty in before.iter().filter(|ty| !now.contains(ty)) {
            let listed = texts(types, ty).unwrap_or_default().iter().any(|name| is_instance_name(name));
            self.tell_disk_change(DiskChange::Type { ty, listed });
        }
    }
}

fn mend_type(types: BorrowedFd<'_>, served: &Served) -> Result<()> {
    let ty = served.module.describe().name.as_str();
    match mkdirat(types, ty, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(e) => return Err(io(e)),
    }
    let Ok(parent) = open_dir(types, Path::new(ty)) else { return Ok(()) };
    for name in texts(parent.as_fd(), ".")?.iter().filter(|name| !name.starts_with(ASIDE)) {
        mend(&parent, tree::Instance { ty, name }, &served.before, &served.table);
    }
    Ok(())
}

/// Makes an instance fit another table.
pub(crate) fn mend(parent: &OwnedFd, at: tree::Instance<'_>, before: &Table, now: &Table) {
    let mended = remove_forgotten(parent.as_fd(), at.name, before, now)
        .and_then(|()| add_missing(parent.as_fd(), at.name, now));
    if let Err(e) = mended {
        tracing::warn!("{}/{} does not get all files of its type: {e}", at.ty, at.name);
    }
}

/// Removes the placeholders of special files that a newer plugin has no more. Only an empty file is one: what somebody
/// has written since it became an ordinary file is theirs.
fn remove_forgotten(parent: BorrowedFd<'_>, name: &str, before: &Table, now: &Table) -> Result<()> {
    let Ok(directory) = open_dir(parent, Path::new(name)) else { return Ok(()) };
    let place = |path: &Path| {
        let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        open_dir(directory.as_fd(), above).ok().zip(path.file_name().map(ToOwned::to_owned))
    };
    let forgotten = |file: &&Arc<File>| file.kind != Kind::Ordinary && now.file(&file.path).is_none();
    for file in before.files().filter(forgotten) {
        let Some((above, name)) = place(Path::new(&file.path)) else { continue };
        let is_placeholder =
            fstatat(&above, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|stat| {
                stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits() && stat.st_size == 0
            });
        if is_placeholder {
            unlinkat(&above, name.as_os_str(), UnlinkatFlags::NoRemoveDir).map_err(io)?;
        }
    }
    let directories: Vec<&str> = before.directories().filter(|path| !now.is_directory(path)).collect();
    for path in directories.into_iter().rev() {
        if let Some((above, name)) = place(Path::new(path)) {
            // One that holds something stays.
            let _ = unlinkat(&above, name.as_os_str(), UnlinkatFlags::RemoveDir);
        }
    }
    Ok(())
}

/// Makes the placeholders of special files that a newer plugin has, and the directories on the way to them; they belong
/// to the instance's owner. What the user removed comes back too, which is what a new mount is for.
fn add_missing(parent: BorrowedFd<'_>, name: &str, table: &Table) -> Result<()> {
    let Ok(directory) = open_dir(parent, Path::new(name)) else { return Ok(()) };
    let stat = fstat(&directory).map_err(io)?;
    let owner = Caller { uid: stat.st_uid, gid: stat.st_gid };
    // Where a path stands. Anything but a directory on the way to it is the user's, and stays.
    let place = |path: &Path| {
        let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        open_dir(directory.as_fd(), above)
            .ok()
            .filter(|above| !exists(above, Path::new(&name)))
            .zip(Some(name))
    };
    let special = || table.files().filter(|file| file.kind != Kind::Ordinary);
    for path in table.directories().map(Path::new) {
        if special().any(|file| Path::new(&file.path).starts_with(path))
            && let Some((above, name)) = place(path)
        {
            make_directory(above.as_fd(), &name, 0o755, owner)?;
        }
    }
    for file in special() {
        if let Some((above, name)) = place(Path::new(&file.path)) {
            make_file(above.as_fd(), &name, file.mode, owner, b"")?;
        }
    }
    Ok(())
}
