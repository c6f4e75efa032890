//! Chains on disk: they appear whole or not at all, and so they go, as instances do.

use nix::fcntl::{RenameFlags, renameat2};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::Chains;
use crate::beneath;
use crate::error::{HostError, NfioError, Result};
use crate::fs::operations::Caller;
use crate::tree::{CHNS, Instance};
use crate::vnf::disk::{io, open_dir, remove_directory};
use crate::vnf::instance::make_private;
use crate::vnf::mend;
use crate::vnf::skeleton::{
    ASIDE, exists, make_skeleton, move_both, put_aside, refuse_existing, texts, unused_name,
};

impl Chains {
    fn directory(&self) -> Result<OwnedFd> {
        open_dir(self.vnfs.root().dir(), Path::new(CHNS))
    }

    /// Makes a chain that belongs to `caller`.
    pub(super) fn create(&self, name: &str, mode: u32, caller: Caller) -> Result<()> {
        let parent = self.directory()?;
        if exists(&parent, Path::new(name)) {
            return Err(NfioError::posix(libc::EEXIST, format!("chns/{name} exists")));
        }
        let private = self.private_top().join(name);
        if !private.join("record.toml").exists() {
            // What an earlier chain of this name left behind in a crash.
            remove_directory(&private)?;
        }
        make_private(&private)?;
        self.forget(name);
        let aside = unused_name();
        let made = make_skeleton(parent.as_fd(), &aside, mode, caller, &self.table, |_| String::new())
            .and_then(|_| {
                renameat2(&parent, aside.as_str(), &parent, name, RenameFlags::RENAME_NOREPLACE).map_err(io)
            });
        made.inspect_err(|e| {
            tracing::warn!("chns/{name} cannot be made: {e}");
            self.clear(&aside);
        })
    }

    /// Removes a chain that is not active, with its skeleton.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        let chain = self.chain(name)?;
        let _turn = chain.turns.try_take(&*chain)?;
        self.refuse_if_active(name)?;
        let aside = put_aside(&self.directory()?, name, Some(&self.table), &*chain)?;
        self.forget(name);
        self.clear(&aside);
        remove_directory(&chain.private)
    }

    /// Renames a chain that is not active.
    pub(super) fn rename(&self, from: &str, to: &str, flags: u32) -> Result<()> {
        let chain = self.chain(from)?;
        let _turn = chain.turns.try_take(&*chain)?;
        self.refuse_if_active(from)?;
        let parent = self.directory()?;
        refuse_existing(&parent, to, flags)?;
        // An active chain whose directory was removed in ROOT, past nfio: its record must not be lost.
        self.refuse_if_active(to)?;
        let top = self.private_top();
        move_both(&parent, (from, to), (&top.join(from), &top.join(to)))?;
        self.forget(from);
        self.forget(to);
        Ok(())
    }

    fn refuse_if_active(&self, name: &str) -> Result<()> {
        let chain = self.chain(name)?;
        match chain.record() {
            None => Ok(()),
            Some(_) => {
                Err(HostError::Busy(format!("{chain} is active; write destroy to its action first")).into())
            }
        }
    }

    /// Removes what stands aside. Nobody sees it any more: what resists is logged, and the next mount tries again.
    fn clear(&self, aside: &str) {
        let path = self.vnfs.root().path().join(CHNS).join(aside);
        if let Err(e) = remove_directory(&path) {
            tracing::warn!("{} is left over and cannot be removed: {e}", path.display());
        }
    }

    /// Clears what a crash left half made or half removed.
    pub(super) fn clear_aside(&self) -> Result<()> {
        for name in texts(self.directory()?.as_fd(), ".")? {
            if name.starts_with(ASIDE) {
                self.clear(&name);
            }
        }
        Ok(())
    }

    /// Removes what is kept of chains that are gone, and of those that are there what was half written: a crash came between
    /// the two. A record stays in any case.
    pub(super) fn clear_private(&self) -> Result<()> {
        for name in self.all_private()? {
            let private = self.private_top().join(&name);
            let there = exists(self.vnfs.root().dir(), &Instance::chain(&name).path());
            let cleared = match there || private.join("record.toml").exists() {
                true => beneath::clear_half_written(&private).map_err(NfioError::from),
                false => remove_directory(&private),
            };
            if let Err(e) = cleared {
                tracing::warn!("what is left over in {} cannot be removed: {e}", private.display());
            }
        }
        Ok(())
    }

    /// Gives chains the special files that they lack: those of an older nfio, or that were made by hand.
    pub(super) fn mend(&self) -> Result<()> {
        let parent = self.directory()?;
        for name in texts(parent.as_fd(), ".")? {
            mend::mend(&parent, Instance::chain(&name), &self.table, &self.table);
        }
        Ok(())
    }
}
