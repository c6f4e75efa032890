//! Instances on disk: they appear whole or not at all (built aside, renamed into place), and so they go.

use nix::fcntl::{AtFlags, OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::{Mode, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, fchown};
use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::VnfsOperations;
use super::disk::{io, names, open_dir, remove_directory};
use super::instance::{self, Instance};
use super::mend;
use super::unborn::call_mkdir;
use crate::beneath;
use crate::error::{HostError, HypervisorError, NfioError, Result};
use crate::fault::{self, Step};
use crate::fs::operations::Caller;
use crate::modules::{Module, Table};
use crate::tree::{self, NF_TYPES};

/// What stands before the name of an instance that is being made or removed; no name of an instance begins so, and
/// the file system shows none that does.
pub(crate) const ASIDE: &str = ".aside-";

impl VnfsOperations {
    /// Makes an instance that belongs to `caller`.
    pub(super) fn create(&self, at: tree::Instance<'_>, mode: u32, caller: Caller) -> Result<()> {
        let (module, table) = self.registry.served(at.ty)?;
        let parent = self.type_directory(at.ty)?;
        if exists(&parent, Path::new(at.name)) {
            // What is kept of it is not touched.
            return Err(NfioError::posix(libc::EEXIST, format!("{}/{} exists", at.ty, at.name)));
        }
        let aside = unused_name();
        let _watch = fault::watch(at);
        let made = self.create_aside(&parent, &aside, at, mode, caller, &table, &module).and_then(|()| {
            renameat2(&parent, aside.as_str(), &parent, at.name, RenameFlags::RENAME_NOREPLACE)
                .map_err(|e| create_error(at, io(e)))
                .inspect(|()| fault::at(Step::SkeletonInPlace))
        });
        if let Err(e) = &made {
            // mkdir(2) reports an errno, and there is no last_error to tell more.
            tracing::warn!("{}/{} cannot be made: {}: {e}", at.ty, at.name, e.name());
            self.clear_aside(at.ty, &aside);
        } else if let Some(now) = self.registry.table(at.ty).filter(|now| !Arc::ptr_eq(now, &table)) {
            // Another plugin has taken over meanwhile, and whoever mended the type's instances did not see this one.
            mend::mend(&parent, at, &table, &now);
        }
        made
    }

    #[allow(clippy::too_many_arguments, reason = "one call, and each is needed")]
    fn create_aside(
        &self,
        parent: &OwnedFd,
        aside: &str,
        at: tree::Instance<'_>,
        mode: u32,
        caller: Caller,
        table: &Table,
        module: &Arc<Module>,
    ) -> Result<()> {
        let fail = |e: NfioError| create_error(at, e);
        let image = module.describe().needs.image.as_deref();
        let content = |path: &str| match (path, image) {
            ("machine/vm.image", Some(image)) => format!("{image}\n"),
            _ => String::new(),
        };
        let directory = make_skeleton(parent.as_fd(), aside, mode, caller, table, content).map_err(fail)?;
        let private = instance::private_directory(&self.root, at);
        if !private.join("record.toml").exists() {
            // What an earlier instance of this name left behind in a crash.
            remove_directory(&private).map_err(fail)?;
        }
        fault::at(Step::PrivateCleared);
        instance::make_private(&private).map_err(fail)?;
        fault::at(Step::PrivateMade);
        self.forget_instance(at);
        call_mkdir(module.clone(), at, directory, self.deadlines.read)?;
        fault::at(Step::ModuleMkdir);
        Ok(())
    }

    /// Removes an undeployed instance with its skeleton.
    pub(super) fn remove(&self, at: tree::Instance<'_>) -> Result<()> {
        let instance = self.instance(at)?;
        let _busy = instance.try_busy()?;
        self.refuse_if_deployed(&instance)?;
        let _watch = fault::watch(at);
        let parent = self.type_directory(at.ty)?;
        let table = self.registry.table(at.ty);
        let aside = put_aside(&parent, at.name, table.as_deref(), &*instance)?;
        self.forget_instance(at);
        self.clear_aside(at.ty, &aside);
        fault::at(Step::SkeletonRemoved);
        remove_directory(&instance::private_directory(&self.root, at))?;
        fault::at(Step::PrivateRemoved);
        Ok(())
    }

    /// Removes what stands aside. Nobody sees it any more: what resists is logged, and the next mount tries again.
    fn clear_aside(&self, ty: &str, aside: &str) {
        let path: PathBuf =
            [self.root.path(), Path::new(NF_TYPES), Path::new(ty), Path::new(aside)].iter().collect();
        if let Err(e) = remove_directory(&path) {
            tracing::warn!("{} is left over and cannot be removed: {e}", path.display());
        }
    }

    /// Renames an undeployed instance within its type.
    pub(super) fn rename(&self, from: tree::Instance<'_>, to: tree::Instance<'_>, flags: u32) -> Result<()> {
        if from.ty != to.ty {
            return Err(NfioError::posix(libc::EPERM, "an instance stays within its type"));
        }
        let instance = self.instance(from)?;
        let _busy = instance.try_busy()?;
        self.refuse_if_deployed(&instance)?;
        let parent = self.type_directory(from.ty)?;
        refuse_existing(&parent, to.name, flags)?;
        let _watch = fault::watch(from);
        // A guest whose instance was removed in ROOT, past nfio: its record must not be lost.
        self.refuse_if_deployed(&*self.instance(to)?)?;
        let private = |at| instance::private_directory(&self.root, at);
        move_both(&parent, (from.name, to.name), (&private(from), &private(to)))?;
        self.forget_instance(from);
        self.forget_instance(to);
        Ok(())
    }

    fn refuse_if_deployed(&self, instance: &Instance) -> Result<()> {
        match instance.record() {
            None => Ok(()),
            Some(_) => {
                Err(HostError::Busy(format!("{instance} is deployed; write destroy to its action first"))
                    .into())
            }
        }
    }

    fn type_directory(&self, ty: &str) -> Result<OwnedFd> {
        open_dir(self.root.dir(), &Path::new(NF_TYPES).join(ty))
    }

    /// Clears what a crash left half made or half removed.
    pub(super) fn clear_aside_all(&self) -> Result<()> {
        let types = open_dir(self.root.dir(), Path::new(NF_TYPES))?;
        for ty in texts(types.as_fd(), ".")? {
            // What is no directory holds nothing.
            for name in texts(types.as_fd(), &ty).unwrap_or_default() {
                if name.starts_with(ASIDE) {
                    self.clear_aside(&ty, &name);
                }
            }
        }
        Ok(())
    }

    /// Removes what is kept of instances that are gone, and of those that are there what was half written: a crash came
    /// between the two. A record stays in any case.
    pub(super) fn clear_private(&self) -> Result<()> {
        for (ty, name) in instance::all_private(&self.root)? {
            let at = tree::Instance { ty: &ty, name: &name };
            let private = instance::private_directory(&self.root, at);
            let kept = exists(self.root.dir(), &at.path()) || private.join("record.toml").exists();
            let cleared = match kept {
                true => beneath::clear_half_written(&private).map_err(NfioError::from),
                false => remove_directory(&private),
            };
            if let Err(e) = cleared {
                tracing::warn!("what is left over in {} cannot be removed: {e}", private.display());
            }
        }
        Ok(())
    }
}

/// Makes the directory `aside` with the files of a table, ordinary ones with the content that `content` gives their path.
pub(crate) fn make_skeleton(
    parent: BorrowedFd<'_>,
    aside: &str,
    mode: u32,
    owner: Caller,
    table: &Table,
    content: impl Fn(&str) -> String,
) -> Result<OwnedFd> {
    let directory = make_directory(parent, aside, mode, owner)?;
    fault::at(Step::SkeletonBegun);
    for path in table.directories() {
        make_directory(directory.as_fd(), path, 0o755, owner)?;
    }
    for file in table.files() {
        make_file(directory.as_fd(), &file.path, file.mode, owner, content(&file.path).as_bytes())?;
    }
    fault::at(Step::SkeletonFilled);
    Ok(directory)
}

/// Takes what is to be removed out of sight, unless it holds more than its skeleton. Answers the name that it has now.
///
/// # Errors
/// ENOTEMPTY that names what is not of the skeleton.
pub(crate) fn put_aside(
    parent: &OwnedFd,
    name: &str,
    table: Option<&Table>,
    what: &dyn std::fmt::Display,
) -> Result<String> {
    let foreign = |directory: &str| -> Result<()> {
        match first_foreign(parent.as_fd(), directory, table)? {
            None => Ok(()),
            Some(path) => Err(NfioError::posix(
                libc::ENOTEMPTY,
                format!("{what} holds {}, which is not part of its skeleton", path.display()),
            )),
        }
    };
    foreign(name)?;
    let aside = unused_name();
    renameat2(parent, name, parent, aside.as_str(), RenameFlags::RENAME_NOREPLACE).map_err(io)?;
    fault::at(Step::SkeletonAside);
    // Somebody may have added a file between the look and the rename: then it comes back.
    if let Err(e) = foreign(&aside) {
        renameat2(parent, aside.as_str(), parent, name, RenameFlags::RENAME_NOREPLACE).map_err(io)?;
        return Err(e);
    }
    Ok(aside)
}

/// Refuses to rename over something. An instance is never an empty directory, so nothing can be renamed over it;
/// exchanging two would exchange their private sides in two steps.
pub(crate) fn refuse_existing(parent: &OwnedFd, name: &str, flags: u32) -> Result<()> {
    let flags = RenameFlags::from_bits(flags).filter(|flags| !flags.contains(RenameFlags::RENAME_WHITEOUT));
    let flags = flags.ok_or_else(|| NfioError::posix(libc::EINVAL, "unknown flags of rename"))?;
    if !exists(parent, Path::new(name)) {
        return Ok(());
    }
    let errno = if flags.contains(RenameFlags::RENAME_NOREPLACE) { libc::EEXIST } else { libc::ENOTEMPTY };
    let errno = if flags.contains(RenameFlags::RENAME_EXCHANGE) { libc::EINVAL } else { errno };
    Err(NfioError::posix(errno, format!("{name} exists")))
}

/// Renames a directory and its private side, each given as (old, new).
pub(crate) fn move_both(
    parent: &OwnedFd,
    (from, to): (&str, &str),
    (old, new): (&Path, &Path),
) -> Result<()> {
    remove_directory(new)?;
    // The private side first: it can be put back where the other step fails.
    if old.exists() {
        fs::rename(old, new)?;
        fault::at(Step::PrivateRenamed);
    }
    if let Err(e) = renameat2(parent, from, parent, to, RenameFlags::RENAME_NOREPLACE) {
        if new.exists() {
            fs::rename(new, old)?;
        }
        return Err(io(e));
    }
    fault::at(Step::InstanceRenamed);
    Ok(())
}

/// Names in a directory that are text.
pub(crate) fn texts(parent: BorrowedFd<'_>, path: &str) -> Result<Vec<String>> {
    Ok(names(parent, Path::new(path))?.into_iter().filter_map(|(name, _)| name.into_string().ok()).collect())
}

pub(crate) fn unused_name() -> String {
    format!("{ASIDE}{}", uuid::Uuid::new_v4())
}

pub(crate) fn exists(parent: impl AsFd, path: &Path) -> bool {
    fstatat(parent, path, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
}

/// What mkdir(2) of an instance can fail with: an existing name, a full disk and the like keep their errno; the rest
/// is the manual's VNFCreateError.
fn create_error(at: tree::Instance<'_>, error: NfioError) -> NfioError {
    match error.errno() {
        libc::EEXIST | libc::ENOSPC | libc::EDQUOT | libc::EROFS | libc::ENAMETOOLONG => error,
        _ => {
            HypervisorError::Create(format!("the skeleton of {}/{} cannot be made: {error}", at.ty, at.name))
                .into()
        }
    }
}

pub(crate) fn make_directory(
    parent: BorrowedFd<'_>,
    path: &str,
    mode: u32,
    owner: Caller,
) -> Result<OwnedFd> {
    mkdirat(parent, path, permissions(mode) | Mode::S_IRWXU).map_err(io)?;
    let directory = openat(
        parent,
        path,
        OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(io)?;
    give(directory.as_fd(), mode, owner)?;
    Ok(directory)
}

pub(crate) fn make_file(
    parent: BorrowedFd<'_>,
    path: &str,
    mode: u32,
    owner: Caller,
    content: &[u8],
) -> Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = fs::File::from(openat(parent, path, flags, permissions(mode)).map_err(io)?);
    file.write_all(content)?;
    give(file.as_fd(), mode, owner)
}

/// Bits that a file can be made with; setuid and the like come last, as a change of owner takes them away.
fn permissions(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode & 0o777)
}

/// Gives what was just made its owner and its mode, where it has not got them by being made.
fn give(fd: BorrowedFd<'_>, mode: u32, owner: Caller) -> Result<()> {
    let made = fstat(fd).map_err(io)?;
    let owned = (made.st_uid, made.st_gid) == (owner.uid, owner.gid);
    if !owned {
        fchown(fd, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid))).map_err(io)?;
    }
    let mode = Mode::from_bits_truncate(mode);
    if made.st_mode & 0o7777 == mode.bits() { Ok(()) } else { fchmod(fd, mode).map_err(io) }
}

/// The first path below `directory` that is not of the skeleton. Without a table (a type that never loaded) anything
/// is foreign.
fn first_foreign(parent: BorrowedFd<'_>, directory: &str, table: Option<&Table>) -> Result<Option<PathBuf>> {
    let mut below = vec![PathBuf::new()];
    while let Some(path) = below.pop() {
        for (name, is_directory) in names(parent, &Path::new(directory).join(&path))? {
            let path = path.join(name);
            let text = path.to_string_lossy();
            let known = match table {
                Some(table) if is_directory => table.is_directory(&text),
                Some(table) => table.file(&text).is_some(),
                None => false,
            };
            if !known {
                return Ok(Some(path));
            }
            if is_directory {
                below.push(path);
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
