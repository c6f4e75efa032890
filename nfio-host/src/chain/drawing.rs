//! Reads a chain's links from ROOT. Links are never followed: their text is what counts.

use nix::fcntl::{AtFlags, readlinkat};
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::graph::{Drawing, Link, target};
use crate::beneath;
use crate::error::{NfioError, Result};
use crate::tree::Instance;
use crate::vnf::disk::{io, names, open_dir};

/// The links to the first nodes, or the directory of these.
pub(super) const START: &str = "start";
/// The link to the next node, or the directory of such links.
const NEXT: &str = "next";
/// Directories of the skeleton: no nodes.
const TOTALS: &str = "totals";
/// Longest text of `ingress` or `egress`, in bytes.
const END_LIMIT: usize = 4096;

/// Whether a link is one to a next node: `next`, `next2`, `next-b`; `nextcloud` may be an instance.
fn is_next(name: &str) -> bool {
    name.strip_prefix(NEXT).is_some_and(|rest| !rest.starts_with(char::is_alphabetic))
}

/// A chain as it stands in ROOT.
pub(super) struct Read {
    pub(super) drawing: Drawing,
    /// The text of `ingress` and of `egress`.
    pub(super) ends: [String; 2],
    /// Attributes of everything by which somebody can change the chain, with its path for messages.
    pub(super) judged: Vec<(String, FileStat)>,
}

struct Reader<'a> {
    chain: &'a str,
    mount: &'a Path,
    directory: OwnedFd,
    judged: Vec<(String, FileStat)>,
}

/// Reads the chain `chain` of the ROOT that is open as `root` and mounted at `mount`.
pub(super) fn read(root: BorrowedFd<'_>, mount: &Path, chain: &str) -> Result<Read> {
    let directory = open_dir(root, &Instance::chain(chain).path())?;
    let mut reader = Reader { chain, mount, directory, judged: Vec::new() };
    reader.judge("", "the chain")?;
    let mut drawing = Drawing::default();
    for name in reader.names("")? {
        match (name.as_str(), reader.kind(&name)?) {
            (START, SFlag::S_IFLNK) => drawing.start.push(reader.link(&name)?),
            (START, SFlag::S_IFDIR) => drawing.start = reader.links_in(&name)?,
            (TOTALS, SFlag::S_IFDIR) => {}
            (_, SFlag::S_IFDIR) => {
                let node = reader.node(&name)?;
                drawing.nodes.insert(name, node);
            }
            // Notes of the user.
            _ => {}
        }
    }
    let ends = [reader.end("ingress")?, reader.end("egress")?];
    Ok(Read { drawing, ends, judged: reader.judged })
}

impl Reader<'_> {
    /// The names in a directory, sorted.
    fn names(&self, directory: &str) -> Result<Vec<String>> {
        let path = if directory.is_empty() { "." } else { directory };
        let mut texts = Vec::new();
        for (name, _) in names(self.directory.as_fd(), Path::new(path))? {
            texts.push(name.into_string().map_err(|name| {
                NfioError::configuration(format!("{name:?} in {path} is not UTF-8 text: rename it"))
            })?);
        }
        texts.sort();
        Ok(texts)
    }

    fn kind(&self, path: &str) -> Result<SFlag> {
        let stat = fstatat(&self.directory, path, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(io)?;
        Ok(SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()))
    }

    /// Notes who can change what is in a directory.
    fn judge(&mut self, path: &str, what: &str) -> Result<()> {
        let stat = match path {
            "" => fstat(&self.directory),
            path => fstatat(&self.directory, path, AtFlags::AT_SYMLINK_NOFOLLOW),
        };
        self.judged.push((what.to_owned(), stat.map_err(io)?));
        Ok(())
    }

    /// The links of a node: to instances, and to what comes next.
    fn node(&mut self, node: &str) -> Result<(Vec<Link>, Vec<Link>)> {
        self.judge(node, node)?;
        let (mut members, mut next) = (Vec::new(), Vec::new());
        for name in self.names(node)? {
            let path = format!("{node}/{name}");
            match self.kind(&path)? {
                SFlag::S_IFLNK if is_next(&name) => next.push(self.link(&path)?),
                SFlag::S_IFLNK => members.push(self.link(&path)?),
                SFlag::S_IFDIR if name == NEXT => next.extend(self.links_in(&path)?),
                _ => {}
            }
        }
        Ok((members, next))
    }

    fn links_in(&mut self, directory: &str) -> Result<Vec<Link>> {
        self.judge(directory, directory)?;
        let mut links = Vec::new();
        for name in self.names(directory)? {
            let path = format!("{directory}/{name}");
            if self.kind(&path)? == SFlag::S_IFLNK {
                links.push(self.link(&path)?);
            }
        }
        Ok(links)
    }

    fn link(&self, path: &str) -> Result<Link> {
        let text = PathBuf::from(readlinkat(&self.directory, path).map_err(io)?);
        let place = Instance::chain(self.chain).path().join(path);
        let target = target(self.chain, place.parent().unwrap_or(Path::new("")), &text, self.mount);
        Ok(Link { path: path.to_owned(), text: text.to_string_lossy().into_owned(), target })
    }

    /// The one line that names an end.
    fn end(&mut self, file: &str) -> Result<String> {
        let read = beneath::read_with_stat(self.directory.as_fd(), Path::new(file), END_LIMIT);
        let Some((data, stat)) = read.map_err(|e| NfioError::configuration(e.to_string()))? else {
            return Ok(String::new());
        };
        self.judged.push((file.to_owned(), stat));
        let text = String::from_utf8(data)
            .map_err(|_| NfioError::configuration(format!("{file} is not UTF-8 text: write one name")))?;
        Ok(text.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_next_nodes_are_told_from_instances_by_their_names() {
        for name in ["next", "next2", "next-b", "next.b", "next_b"] {
            assert!(is_next(name), "{name}");
        }
        for name in ["nextcloud", "nexté", "nex", "b-next"] {
            assert!(!is_next(name), "{name}");
        }
    }
}
