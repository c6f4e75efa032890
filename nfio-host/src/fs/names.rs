//! Operations on names: mkdir, rmdir, mknod, symlink, link, unlink, rename.

use nix::errno::Errno;
use nix::fcntl::{RenameFlags, renameat2};
use nix::sys::stat::{FileStat, SFlag};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::attributes::{Entry, is};
use super::modules_dir::is_virtual;
use super::operations::Caller;
use super::rules::{self, Mkdir, Rename};
use super::{Answer, Nfio, errno, ordinary};
use crate::tree::{self, Instance, Node};

impl Nfio {
    /// mkdir: an instance below a type, a chain in `chns/`, a plain directory below either.
    pub(super) fn mkdir(&self, parent: u64, name: &OsStr, mode: u32, caller: Caller) -> Answer<Entry> {
        let above = self.path(parent)?;
        let path = above.join(name);
        match rules::mkdir(&*self.ops, &above, name)? {
            Mkdir::Instance(instance) => {
                // Not under the lock on paths: the module's own mkdir is in it.
                if self.root.locate(&path).is_ok() {
                    return Err(Errno::EEXIST);
                }
                self.ops.create_instance(instance, mode, caller).map_err(|e| errno(&e))?;
                let _paths = self.paths_stay();
                self.lookup_path(parent, name, &path)
            }
            Mkdir::Plain => self.make(parent, name, false, |dir| ordinary::mkdir(dir, name, mode, caller)),
        }
    }

    /// mknod.
    pub(super) fn mknod(
        &self,
        parent: u64,
        name: &OsStr,
        mode: u32,
        rdev: u64,
        caller: Caller,
    ) -> Answer<Entry> {
        let regular = mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
        self.make(parent, name, regular, |dir| ordinary::mknod(dir, name, mode, rdev, caller))
    }

    /// symlink.
    pub(super) fn symlink(&self, parent: u64, name: &OsStr, target: &Path, caller: Caller) -> Answer<Entry> {
        self.make(parent, name, false, |dir| ordinary::symlink(dir, name, target, caller))
    }

    /// Makes something by a system call. At a special file's path only a regular file can be made (`placeholder`):
    /// that is how an unpacked archive puts one back.
    fn make(
        &self,
        parent: u64,
        name: &OsStr,
        placeholder: bool,
        work: impl FnOnce(&OwnedFd) -> Answer<FileStat>,
    ) -> Answer<Entry> {
        let _paths = self.paths_stay();
        let above = self.path(parent)?;
        rules::may_make_in(&above)?;
        let path = above.join(name);
        if !placeholder && self.special(&path).is_some() {
            return Err(Errno::EPERM);
        }
        let stat = work(&self.root.directory(&above)?)?;
        Ok(self.entry(parent, name, &path, &stat))
    }

    /// link.
    pub(super) fn link(&self, node: u64, parent: u64, name: &OsStr) -> Answer<Entry> {
        let _paths = self.paths_change();
        let above = self.path(parent)?;
        rules::may_make_in(&above)?;
        let path = above.join(name);
        let origin = self.inodes.path(node).unwrap_or_default();
        if is_virtual(&origin) {
            return Err(Errno::EPERM);
        }
        let (source, stat) = self.reach(node, None)?;
        if self.special_at(&origin, &stat).is_some() || self.special(&path).is_some() {
            return Err(Errno::EPERM);
        }
        let dir = self.root.directory(&above)?;
        ordinary::link(source.fd()?, &dir, name)?;
        let stat = ordinary::stat_in(&dir, name)?;
        Ok(self.entry(parent, name, &path, &stat))
    }

    /// unlink.
    pub(super) fn unlink(&self, parent: u64, name: &OsStr) -> Answer<()> {
        let _paths = self.paths_change();
        let above = self.path(parent)?;
        rules::may_make_in(&above)?;
        rules::not_of_a_guest(&*self.ops, &above.join(name))?;
        let dir = self.root.directory(&above)?;
        let last = self.is_last(parent, &dir, name);
        unlinkat(&dir, name, UnlinkatFlags::NoRemoveDir)?;
        self.inodes.unlinked(parent, name, last);
        Ok(())
    }

    /// rmdir.
    pub(super) fn rmdir(&self, parent: u64, name: &OsStr) -> Answer<()> {
        let above = self.path(parent)?;
        let path = above.join(name);
        match tree::node(&path) {
            Node::Instance(instance) => {
                let top = self.inodes.child(parent, name);
                let known = top.map_or_else(Vec::new, |top| self.inodes.below(top));
                for &node in &known {
                    // What nobody can look at now has gone by other ways than ours.
                    if let Ok((_, stat)) = self.reach(node, None) {
                        self.inodes.note_last(node, stat);
                    }
                }
                self.ops.remove_instance(instance).map_err(|e| errno(&e))?;
                {
                    let _paths = self.paths_change();
                    self.inodes.removed_tree(parent, name);
                }
                self.kept.lost_their_names(&known);
                self.forget_type(&above);
                Ok(())
            }
            Node::Type(_) if self.has_instances(&path) => Err(Errno::EBUSY),
            _ => {
                let _paths = self.paths_change();
                let above = self.path(parent)?;
                rules::may_make_in(&above)?;
                rules::not_of_a_guest(&*self.ops, &above.join(name))?;
                let dir = self.root.directory(&above)?;
                self.is_last(parent, &dir, name);
                unlinkat(&dir, name, UnlinkatFlags::RemoveDir)?;
                self.inodes.removed_tree(parent, name);
                Ok(())
            }
        }
    }

    /// rename, with the flags of renameat2(2).
    pub(super) fn rename(&self, from: (u64, &OsStr), to: (u64, &OsStr), flags: u32) -> Answer<()> {
        if flags & !(libc::RENAME_NOREPLACE | libc::RENAME_EXCHANGE) != 0 {
            return Err(Errno::EINVAL);
        }
        let exchange = flags & libc::RENAME_EXCHANGE != 0;
        let _paths = self.paths_change();
        let (above_from, above_to) = (self.path(from.0)?, self.path(to.0)?);
        let (path_from, path_to) = (above_from.join(from.1), above_to.join(to.1));
        let kind = rules::rename(&path_from, &above_to, to.1)?;
        if exchange {
            rules::rename(&path_to, &above_from, from.1)?;
        }
        let last = match kind {
            Rename::Instance(old, new) => self.rename_instance(old, new, flags)?,
            Rename::Plain => {
                let (dir_from, dir_to) = (self.root.directory(&above_from)?, self.root.directory(&above_to)?);
                self.may_move(&path_from, &path_to, &dir_from, from.1)?;
                if exchange {
                    self.may_move(&path_to, &path_from, &dir_to, to.1)?;
                }
                let last = self.is_last(to.0, &dir_to, to.1);
                let flags = RenameFlags::from_bits_truncate(flags);
                renameat2(&dir_from, from.1, &dir_to, to.1, flags)?;
                last
            }
        };
        if exchange {
            self.inodes.exchanged(from, to);
        } else {
            self.inodes.renamed(from, to, last);
        }
        Ok(())
    }

    fn rename_instance(&self, from: Instance<'_>, to: Instance<'_>, flags: u32) -> Answer<bool> {
        self.ops.rename_instance(from, to, flags).map_err(|e| errno(&e))?;
        Ok(true)
    }

    /// Whether something other than an instance may move: no special file, no directory with special files in it,
    /// nothing to where a special file belongs.
    fn may_move(&self, from: &Path, to: &Path, dir: &OwnedFd, name: &OsStr) -> Answer<()> {
        rules::not_of_a_guest(&*self.ops, from)?;
        rules::not_of_a_guest(&*self.ops, to)?;
        let stat = ordinary::stat_in(dir, name)?;
        if self.special_at(from, &stat).is_some() || self.special(to).is_some() {
            return Err(Errno::EPERM);
        }
        let moves_special =
            is(&stat, SFlag::S_IFDIR) && (self.holds_special(from, from) || self.holds_special(from, to));
        if moves_special { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// Whether a directory holds files that are special as files of `place`: what is so now (`place` is where it
    /// is), or what would become so (`place` is where it goes). Only skeleton directories can.
    fn holds_special(&self, directory: &Path, place: &Path) -> bool {
        if !rules::is_skeleton(&*self.ops, place) {
            return false;
        }
        let names = self.names_in(directory).unwrap_or_default();
        names.iter().any(|listed| {
            let (below, place) = (directory.join(&listed.name), place.join(&listed.name));
            match SFlag::from_bits_truncate(listed.kind) {
                SFlag::S_IFDIR => self.holds_special(&below, &place),
                SFlag::S_IFREG => self.special(&place).is_some(),
                _ => false,
            }
        })
    }

    /// Whether taking this name away takes its file away. What it looks like then is noted.
    fn is_last(&self, parent: u64, dir: &OwnedFd, name: &OsStr) -> bool {
        let Ok(stat) = ordinary::stat_in(dir, name) else { return false };
        let last = is(&stat, SFlag::S_IFDIR) || stat.st_nlink <= 1;
        if last && let Some(node) = self.inodes.child(parent, name) {
            self.inodes.note_last(node, stat);
        }
        last
    }
}
