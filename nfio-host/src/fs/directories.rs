//! Listings. A directory is read whole when it is opened and again when it is rewound, so that an offset is a place
//! in a list that stays, whatever is made or removed meanwhile.

use middlebox_sdk::layout::is_instance_name;
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag};
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::attributes::{Attributes, Entry};
use super::handles::{Listed, Listing, Open};
use super::inodes::ROOT_NODE;
use super::modules_dir::is_virtual;
use super::operations::TypeState;
use super::{Answer, Nfio};
use crate::tree::{self, CHNS, MODULES, NF_TYPES, Node};

impl Nfio {
    /// opendir.
    pub(super) fn opendir(&self, node: u64) -> Answer<u64> {
        let _paths = self.paths_stay();
        let fd = match self.path(node) {
            // Whoever stands in a directory that was taken away finds nothing in it.
            Err(Errno::ENOENT) => None,
            Ok(path) if is_virtual(&path) => None,
            path => Some(self.root.open(&path?, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?),
        };
        let listing = Listing { fd, names: Mutex::new(Arc::from([])) };
        Ok(self.handles.insert(node, Open::Directory(listing)))
    }

    /// readdir: gives names from `offset` on to `add` (place of the next, name) until that says no.
    pub(super) fn readdir(
        &self,
        handle: u64,
        offset: u64,
        add: &mut dyn FnMut(u64, &Listed) -> bool,
    ) -> Answer<()> {
        let _paths = self.paths_stay();
        let (names, _) = self.listing(handle, offset)?;
        for (next, listed) in (1..).zip(names.iter()).skip(place(offset)) {
            if !add(next, listed) {
                break;
            }
        }
        Ok(())
    }

    /// readdirplus: names with their attributes, each counted as a lookup. A name that went meanwhile is left out.
    pub(super) fn readdirplus(
        &self,
        handle: u64,
        offset: u64,
        add: &mut dyn FnMut(u64, &OsStr, &Entry) -> bool,
    ) -> Answer<()> {
        let _paths = self.paths_stay();
        let (names, node) = self.listing(handle, offset)?;
        let path = self.path(node)?;
        for (next, listed) in (1..).zip(names.iter()).skip(place(offset)) {
            let dots = matches!(listed.name.as_bytes(), b"." | b"..");
            let entry = if dots {
                // The kernel takes neither node nor attributes of these two.
                Attributes::of_nothing(listed.node, SFlag::S_IFDIR, 0, self.started).fleeting()
            } else {
                match self.lookup_path(node, &listed.name, &path.join(&listed.name)) {
                    Ok(entry) => entry,
                    Err(_) => continue,
                }
            };
            if !add(next, &listed.name, &entry) {
                if !dots {
                    self.inodes.forget(entry.attributes.node, 1);
                }
                break;
            }
        }
        Ok(())
    }

    /// The list behind a handle, read again at its beginning, and the node that it lists.
    fn listing(&self, handle: u64, offset: u64) -> Answer<(Arc<[Listed]>, u64)> {
        let handle = self.handles.get(handle)?;
        let Open::Directory(listing) = &handle.open else { return Err(Errno::ENOTDIR) };
        let mut names = listing.names.lock().unwrap_or_else(PoisonError::into_inner);
        if offset == 0 {
            *names = self.read_names(handle.node, listing.fd.as_ref())?.into();
        }
        Ok((Arc::clone(&names), handle.node))
    }

    fn read_names(&self, node: u64, fd: Option<&OwnedFd>) -> Answer<Vec<Listed>> {
        let path = self.path(node)?;
        let dot = |name: &str, node| Listed { name: name.into(), node, kind: SFlag::S_IFDIR.bits() };
        let mut names = vec![dot(".", node), dot("..", self.inodes.parent(node))];
        match fd {
            Some(fd) => names.extend(self.names_in(&path, fd)?),
            None => names.extend(self.virtual_names(&path)),
        }
        Ok(names)
    }

    /// The names that a directory of ROOT shows in MOUNT.
    pub(super) fn names_in(&self, path: &Path, fd: &OwnedFd) -> Answer<Vec<Listed>> {
        let place = tree::node(path);
        if place == Node::NfTypes {
            // Makes the directory of a type that was loaded since.
            for ty in self.ops.types() {
                self.is_listed(&ty);
            }
        }
        let mut names = self.backing_names(fd)?;
        match place {
            Node::Root => {
                names.retain(|listed| listed.name == NF_TYPES || listed.name == CHNS);
                let name = OsString::from(MODULES);
                names.push(Listed { name, node: ROOT_NODE, kind: SFlag::S_IFDIR.bits() });
            }
            Node::NfTypes => names.retain(|listed| {
                let ty =
                    listed.name.to_str().filter(|ty| matches!(tree::node(&path.join(ty)), Node::Type(_)));
                ty.is_some_and(|ty| self.ops.type_state(ty) == TypeState::Loaded || self.is_listed(ty))
            }),
            // What is being built or taken away has a name that no instance can have.
            Node::Type(_) | Node::Chains => {
                names.retain(|listed| listed.name.to_str().is_some_and(is_instance_name))
            }
            _ => {}
        }
        Ok(names)
    }

    fn backing_names(&self, fd: &OwnedFd) -> Answer<Vec<Listed>> {
        let again = openat(fd, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let mut names = Vec::new();
        for entry in Dir::from_fd(again)?.iter() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                let kind = kind(entry.file_type()).bits();
                names.push(Listed { name: name.into(), node: self.inodes.number(entry.ino()), kind });
            }
        }
        Ok(names)
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

fn kind(listed: Option<Type>) -> SFlag {
    match listed {
        Some(Type::Directory) => SFlag::S_IFDIR,
        Some(Type::Symlink) => SFlag::S_IFLNK,
        Some(Type::Fifo) => SFlag::S_IFIFO,
        Some(Type::Socket) => SFlag::S_IFSOCK,
        Some(Type::CharacterDevice) => SFlag::S_IFCHR,
        Some(Type::BlockDevice) => SFlag::S_IFBLK,
        Some(Type::File) | None => SFlag::S_IFREG,
    }
}
