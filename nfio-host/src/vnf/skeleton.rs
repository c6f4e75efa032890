//! Instances on disk: they appear whole or not at all (built aside, renamed into place), and so they go.

use middlebox_sdk::Kind;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, fchown};
use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::VnfsOperations;
use super::disk::{io, names, open_dir, remove_private, remove_tree};
use super::handle::call_mkdir;
use super::instance::{self, Instance};
use crate::error::{HostError, HypervisorError, NfioError, Result};
use crate::fs::operations::Caller;
use crate::modules::{Module, Table};
use crate::tree::{self, NF_TYPES};

/// What stands before the name of an instance that is being made or removed; no name of an instance begins so, and
/// the file system shows none that does.
const ASIDE: &str = ".aside-";

impl VnfsOperations {
    /// Makes an instance that belongs to `caller`.
    pub(super) fn create(&self, at: tree::Instance<'_>, mode: u32, caller: Caller) -> Result<()> {
        let module = self.registry.module(at.ty)?;
        let table = self.registry.table(at.ty).cloned().ok_or_else(|| {
            NfioError::from(HostError::ModuleMissing(format!("type {} has no table of files", at.ty)))
        })?;
        let parent = self.type_directory(at.ty)?;
        let aside = format!("{ASIDE}{}", uuid::Uuid::new_v4());
        let made = self.create_aside(&parent, &aside, at, mode, caller, &table, &module).and_then(|()| {
            renameat2(&parent, aside.as_str(), &parent, at.name, RenameFlags::RENAME_NOREPLACE)
                .map_err(|e| create_error(at, io(e)))
        });
        if made.is_err() {
            remove_tree(parent.as_fd(), &aside)?;
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
        let directory = make_directory(parent.as_fd(), aside, mode, caller).map_err(fail)?;
        for path in table.directories() {
            make_directory(directory.as_fd(), path, 0o755, caller).map_err(fail)?;
        }
        let image = module.describe().needs.image.as_deref();
        for file in table.files() {
            let content = match (file.path.as_str(), image) {
                ("machine/vm.image", Some(image)) => format!("{image}\n"),
                _ => String::new(),
            };
            make_file(directory.as_fd(), &file.path, file.mode, caller, content.as_bytes()).map_err(fail)?;
        }
        let private = instance::private_directory(&self.root, at);
        if !private.join("record.toml").exists() {
            // What an earlier instance of this name left behind in a crash.
            remove_private(&private)?;
        }
        instance::make_private(&private)?;
        self.forget_instance(at);
        call_mkdir(module.clone(), at, directory, self.deadlines.read)
    }

    /// Removes an undeployed instance with its skeleton.
    pub(super) fn remove(&self, at: tree::Instance<'_>) -> Result<()> {
        let instance = self.instance(at)?;
        let _busy = instance.try_busy()?;
        self.refuse_if_deployed(&instance)?;
        let parent = self.type_directory(at.ty)?;
        let table = self.registry.table(at.ty).cloned();
        let foreign = |directory: &str| -> Result<()> {
            match first_foreign(parent.as_fd(), directory, table.as_deref())? {
                None => Ok(()),
                Some(path) => Err(NfioError::posix(
                    libc::ENOTEMPTY,
                    format!("{instance} holds {}, which is not part of its skeleton", path.display()),
                )),
            }
        };
        foreign(at.name)?;
        let aside = format!("{ASIDE}{}", uuid::Uuid::new_v4());
        renameat2(&parent, at.name, &parent, aside.as_str(), RenameFlags::RENAME_NOREPLACE).map_err(io)?;
        // Somebody may have added a file between the look and the rename: then it comes back.
        if let Err(e) = foreign(&aside) {
            renameat2(&parent, aside.as_str(), &parent, at.name, RenameFlags::RENAME_NOREPLACE)
                .map_err(io)?;
            return Err(e);
        }
        self.forget_instance(at);
        remove_tree(parent.as_fd(), &aside)?;
        remove_private(&instance::private_directory(&self.root, at))
    }

    /// Renames an undeployed instance within its type.
    pub(super) fn rename(&self, from: tree::Instance<'_>, to: tree::Instance<'_>, flags: u32) -> Result<()> {
        let flags =
            RenameFlags::from_bits(flags).filter(|flags| !flags.contains(RenameFlags::RENAME_WHITEOUT));
        let flags = flags.ok_or_else(|| NfioError::posix(libc::EINVAL, "unknown flags of rename"))?;
        if from.ty != to.ty {
            return Err(NfioError::posix(libc::EPERM, "an instance stays within its type"));
        }
        let instance = self.instance(from)?;
        let _busy = instance.try_busy()?;
        self.refuse_if_deployed(&instance)?;
        let parent = self.type_directory(from.ty)?;
        let there = fstatat(&parent, to.name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok();
        if there {
            // An instance is never an empty directory, so nothing can be renamed over it; exchanging two would
            // exchange their private sides in two steps.
            let errno =
                if flags.contains(RenameFlags::RENAME_NOREPLACE) { libc::EEXIST } else { libc::ENOTEMPTY };
            let errno = if flags.contains(RenameFlags::RENAME_EXCHANGE) { libc::EINVAL } else { errno };
            return Err(NfioError::posix(errno, format!("{}/{} exists", to.ty, to.name)));
        }
        renameat2(&parent, from.name, &parent, to.name, RenameFlags::RENAME_NOREPLACE).map_err(io)?;
        let (old, new) =
            (instance::private_directory(&self.root, from), instance::private_directory(&self.root, to));
        remove_private(&new)?;
        if old.exists() {
            fs::rename(&old, &new)?;
        }
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

    /// Makes the directory of every served type, clears what a crash left aside, and gives existing instances the
    /// special files that their type has learnt since.
    pub(super) fn mend_types(&self) -> Result<()> {
        let types = open_dir(self.root.dir(), Path::new(NF_TYPES))?;
        for ty in self.registry.types() {
            match mkdirat(&types, ty.as_str(), Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(e) => return Err(io(e)),
            }
        }
        for ty in names(types.as_fd(), ".")? {
            let Ok(parent) = open_dir(types.as_fd(), Path::new(&ty)) else { continue };
            for name in names(parent.as_fd(), ".")? {
                if name.starts_with(ASIDE) {
                    remove_tree(parent.as_fd(), &name)?;
                } else if let Some(table) = self.registry.table(&ty) {
                    add_missing(parent.as_fd(), &name, table)?;
                }
            }
        }
        Ok(())
    }
}

/// What mkdir(2) of an instance can fail with: an existing name, a full disk and the like keep their errno; the rest
/// is the manual's VNFCreateError.
fn create_error(at: tree::Instance<'_>, error: NfioError) -> NfioError {
    match error.errno() {
        libc::EEXIST | libc::ENOSPC | libc::EDQUOT | libc::EROFS | libc::ENAMETOOLONG => error,
        _ => HypervisorError::Create(format!("{}/{} cannot be made: {error}", at.ty, at.name)).into(),
    }
}

fn make_directory(parent: BorrowedFd<'_>, path: &str, mode: u32, owner: Caller) -> Result<OwnedFd> {
    mkdirat(parent, path, Mode::S_IRWXU).map_err(io)?;
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

fn make_file(parent: BorrowedFd<'_>, path: &str, mode: u32, owner: Caller, content: &[u8]) -> Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = fs::File::from(openat(parent, path, flags, Mode::S_IRUSR).map_err(io)?);
    file.write_all(content)?;
    give(file.as_fd(), mode, owner)
}

fn give(fd: BorrowedFd<'_>, mode: u32, owner: Caller) -> Result<()> {
    fchown(fd, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid))).map_err(io)?;
    fchmod(fd, Mode::from_bits_truncate(mode)).map_err(io)
}

/// Makes the placeholders of special files that a newer plugin has; they belong to the instance's owner. A file that
/// the user removed comes back too, which is what a new mount is for.
fn add_missing(parent: BorrowedFd<'_>, name: &str, table: &Table) -> Result<()> {
    let Ok(directory) = open_dir(parent, Path::new(name)) else { return Ok(()) };
    let stat = fstat(&directory).map_err(io)?;
    let owner = Caller { uid: stat.st_uid, gid: stat.st_gid };
    for file in table.files().filter(|file| file.kind != Kind::Ordinary) {
        let path = Path::new(&file.path);
        let exists = fstatat(&directory, path, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok();
        let above = path.parent().filter(|above| !above.as_os_str().is_empty());
        let has_parent = above.is_none_or(|above| open_dir(directory.as_fd(), above).is_ok());
        if !exists && has_parent {
            make_file(directory.as_fd(), &file.path, file.mode, owner, b"")?;
        }
    }
    Ok(())
}

/// The first path below `directory` that is not of the skeleton. Without a table (a type that never loaded) anything
/// is foreign.
fn first_foreign(parent: BorrowedFd<'_>, directory: &str, table: Option<&Table>) -> Result<Option<PathBuf>> {
    let mut below = vec![PathBuf::new()];
    while let Some(path) = below.pop() {
        for name in names(parent, &Path::new(directory).join(&path).to_string_lossy())? {
            let path = path.join(name);
            let text = path.to_string_lossy();
            let stat = fstatat(parent, &Path::new(directory).join(&path), AtFlags::AT_SYMLINK_NOFOLLOW)
                .map_err(io)?;
            let is_directory =
                SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR;
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
