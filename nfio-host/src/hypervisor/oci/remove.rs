//! Removes trees that a guest or an image has filled. However deep they are: `remove_dir_all` holds a descriptor
//! and a stack frame per level, and a guest that nests directories would use up nfio's.

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// How deep to go down; what lies deeper is moved up first.
const DEPTH: usize = 32;

/// Removes a tree; one that is not there is no error. No link is followed.
pub(in crate::hypervisor) fn remove_tree(path: &Path) -> io::Result<()> {
    match unlinkat(AT_FDCWD, path, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        Err(Errno::EISDIR) => {}
        Err(e) => return Err(e.into()),
    }
    let mut top = Top { dir: Dir::open(path, FLAGS, Mode::empty())?, moved: 0 };
    loop {
        let moved = top.moved;
        let mut again = Dir::openat(&top.dir, ".", FLAGS, Mode::empty())?;
        top.empty(&mut again, 0)?;
        if moved == top.moved {
            return Ok(unlinkat(AT_FDCWD, path, UnlinkatFlags::RemoveDir)?);
        }
    }
}

const FLAGS: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

struct Top {
    dir: Dir,
    /// Directories that were moved up.
    moved: u64,
}

impl Top {
    fn empty(&mut self, dir: &mut Dir, depth: usize) -> io::Result<()> {
        // All names first: what is renamed into a directory while it is read may or may not be seen.
        let names = dir.iter().map(|entry| Ok(entry?.file_name().to_owned()));
        let names: Vec<_> = names.collect::<nix::Result<_>>()?;
        for name in names.iter().filter(|name| ![c".", c".."].contains(&name.as_c_str())) {
            match unlinkat(dir.as_fd(), name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => continue,
                Err(Errno::EISDIR) => {}
                Err(e) => return Err(e.into()),
            }
            if depth == DEPTH {
                self.move_up(dir, name)?;
                continue;
            }
            let child = openat(dir.as_fd(), name.as_c_str(), FLAGS, Mode::empty())?;
            self.empty(&mut Dir::from_fd(child)?, depth + 1)?;
            unlinkat(dir.as_fd(), name.as_c_str(), UnlinkatFlags::RemoveDir)?;
        }
        Ok(())
    }

    fn move_up(&mut self, dir: &Dir, name: &CStr) -> io::Result<()> {
        loop {
            self.moved += 1;
            let to = format!(".deep-{}", self.moved);
            match renameat(dir.as_fd(), name, self.dir.as_fd(), to.as_str()) {
                // The tree has an entry of that name itself.
                Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {}
                other => return Ok(other?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::mkdirat;
    use std::fs;

    #[test]
    fn a_tree_of_any_depth_goes_and_links_stay_links() {
        let outer = tempfile::tempdir().unwrap();
        let (kept, tree) = (outer.path().join("kept"), outer.path().join("tree"));
        fs::create_dir_all(&tree).unwrap();
        fs::write(&kept, "x").unwrap();
        std::os::unix::fs::symlink(outer.path(), tree.join("link")).unwrap();
        fs::write(tree.join(".deep-1"), "in the way").unwrap();
        // Deeper than descriptors and path names reach.
        let mut dir = openat(AT_FDCWD, &tree, FLAGS, Mode::empty()).unwrap();
        for _ in 0..5000 {
            mkdirat(&dir, "d", Mode::from_bits_truncate(0o700)).unwrap();
            dir = openat(&dir, "d", FLAGS, Mode::empty()).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && kept.exists());
        remove_tree(&tree).unwrap();
        remove_tree(&kept).unwrap();
        assert!(!kept.exists());
    }
}
