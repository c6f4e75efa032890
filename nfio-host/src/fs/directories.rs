//! What directories show. The kernel keeps their listings: opendir is declined, and a directory is read again when its
//! modification time or what the kernel itself has done to it says so.

use middlebox_sdk::layout::is_instance_name;
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::SFlag;
use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::attributes::{Attributes, Entry};
use super::inodes::ROOT_NODE;
use super::listings::Listed;
use super::modules_dir::is_virtual;
use super::operations::TypeState;
use super::{Answer, Nfio, ordinary};
use crate::tree::{self, CHNS, MODULES, NF_TYPES, Node};

impl Nfio {
    /// readdir: gives names from `offset` on to `add` (place of the next, name) until that says no.
    pub(super) fn readdir(
        &self,
        node: u64,
        offset: u64,
        add: &mut dyn FnMut(u64, &Listed) -> bool,
    ) -> Answer<()> {
        let _paths = self.paths_stay();
        let Some(path) = self.path_to_list(node)? else { return Ok(()) };
        self.listings.read(node, offset, || self.read_names(node, &path).map(|(names, _)| names), add)
    }

    /// readdirplus: names with their attributes, each counted as a lookup. A name that went meanwhile is left out.
    pub(super) fn readdirplus(
        &self,
        node: u64,
        offset: u64,
        add: &mut dyn FnMut(u64, &OsStr, &Entry) -> bool,
    ) -> Answer<()> {
        let _paths = self.paths_stay();
        let Some(path) = self.path_to_list(node)? else { return Ok(()) };
        let directory = OnceCell::new();
        self.listings.read(
            node,
            offset,
            || {
                let (names, opened) = self.read_names(node, &path)?;
                if let Some(opened) = opened {
                    let _ = directory.set(opened);
                }
                Ok(names)
            },
            |next, listed| {
                let dots = matches!(listed.name.as_bytes(), b"." | b"..");
                let entry = if dots {
                    // The kernel takes neither node nor attributes of these two.
                    Attributes::of_nothing(listed.node, SFlag::S_IFDIR, 0, self.started).fleeting()
                } else {
                    match self.lookup_listed(node, &path, &directory, &listed.name) {
                        Ok(entry) => entry,
                        Err(_) => return true,
                    }
                };
                let added = add(next, &listed.name, &entry);
                if !added && !dots {
                    self.inodes.forget(entry.attributes.node, 1);
                }
                added
            },
        )
    }

    /// The path of a directory; None: it was taken away, and whoever stands in it finds nothing there.
    fn path_to_list(&self, node: u64) -> Answer<Option<PathBuf>> {
        match self.path(node) {
            Err(Errno::ENOENT) => Ok(None),
            path => path.map(Some),
        }
    }

    /// Looks a name up that a listing has just shown: by the directory, which is opened once for all of them.
    fn lookup_listed(
        &self,
        node: u64,
        above: &Path,
        directory: &OnceCell<Dir>,
        name: &OsStr,
    ) -> Answer<Entry> {
        let path = above.join(name);
        match tree::node(&path) {
            Node::Instance(_) | Node::Within(..) => {}
            _ => return self.lookup_path(node, name, &path),
        }
        if directory.get().is_none() {
            let _ = directory.set(self.open_directory(above)?);
        }
        let opened = directory.get().ok_or(Errno::EBADF)?;
        let stat = ordinary::stat_in(opened, name)?;
        Ok(self.entry(node, name, &path, &stat))
    }

    fn open_directory(&self, path: &Path) -> Answer<Dir> {
        Dir::from_fd(self.root.open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?)
    }

    /// The names in a directory, `.` and `..` first, and the directory where one of ROOT backs it.
    fn read_names(&self, node: u64, path: &Path) -> Answer<(Vec<Listed>, Option<Dir>)> {
        let dot = |name: &str, node| Listed { name: name.into(), node, kind: SFlag::S_IFDIR.bits() };
        let mut names = vec![dot(".", node), dot("..", self.inodes.parent(node))];
        if is_virtual(path) {
            names.extend(self.virtual_names(path));
            return Ok((names, None));
        }
        let mut directory = self.open_directory(path)?;
        names.extend(self.names_of(path, &mut directory)?);
        Ok((names, Some(directory)))
    }

    /// The names that a directory of ROOT shows in MOUNT.
    pub(super) fn names_in(&self, path: &Path) -> Answer<Vec<Listed>> {
        self.names_of(path, &mut self.open_directory(path)?)
    }

    fn names_of(&self, path: &Path, directory: &mut Dir) -> Answer<Vec<Listed>> {
        let place = tree::node(path);
        if place == Node::NfTypes {
            // Makes the directory of a type that was loaded since.
            for ty in self.ops.types() {
                self.is_listed(&ty);
            }
        }
        let mut names = self.backing_names(directory)?;
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

    fn backing_names(&self, directory: &mut Dir) -> Answer<Vec<Listed>> {
        let mut names = Vec::new();
        for entry in directory.iter() {
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
