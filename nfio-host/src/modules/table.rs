//! The special-file table of a type (the original's `special_files`): the host's skeleton and the type's own files,
//! looked up by path.

use middlebox_sdk::{File, Kind, Layout, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Every file of an instance of a type, by its path below the instance.
#[derive(Debug)]
pub struct Table {
    files: BTreeMap<String, Arc<File>>,
    directories: BTreeSet<String>,
}

/// The host's skeleton: path, permission bits, kind. A special file is answered under its path.
const SKELETON: [(&str, u32, Kind); 16] = [
    ("action", 0o644, Kind::Verb),
    ("command", 0o600, Kind::Verb),
    ("output", 0o400, Kind::Value),
    ("status", 0o444, Kind::Value),
    ("last_error", 0o440, Kind::Value),
    ("log", 0o440, Kind::Log),
    ("config/boot.conf", 0o640, Kind::Ordinary),
    ("config/nf_conf", 0o640, Kind::Ordinary),
    ("machine/ip", 0o644, Kind::Ordinary),
    ("machine/vm.image", 0o644, Kind::Ordinary),
    ("machine/vm.vcpu", 0o644, Kind::Ordinary),
    ("machine/vm.memory", 0o644, Kind::Ordinary),
    ("machine/vm.ip", 0o444, Kind::Value),
    ("stats/rx_bytes", 0o444, Kind::Value),
    ("stats/tx_bytes", 0o444, Kind::Value),
    ("stats/pkt_drops", 0o444, Kind::Value),
];

impl Table {
    /// The table of a type. A type's own file takes the place of the skeleton's at the same path, and of those that it
    /// stands in the way of: a host that learns new files keeps serving the types that were there before.
    pub fn of(ty: &Type) -> Self {
        let mut files = BTreeMap::new();
        if ty.layout == Layout::Standard {
            for (path, mode, kind) in SKELETON {
                let file = match kind {
                    Kind::Ordinary => File::ordinary(path).mode(mode),
                    special => File::standard(path, special, mode, path),
                };
                if !ty.files.iter().any(|own| is_above(&own.path, path) || is_above(path, &own.path)) {
                    files.insert(path.to_owned(), Arc::new(file));
                }
            }
        }
        for file in &ty.files {
            files.insert(file.path.clone(), Arc::new(file.clone()));
        }
        let directories = files.keys().flat_map(|path| parents(path)).map(str::to_owned).collect();
        Self { files, directories }
    }

    /// All files, in the order of their paths.
    pub fn files(&self) -> impl Iterator<Item = &Arc<File>> {
        self.files.values()
    }

    /// All directories, parents before what is in them.
    pub fn directories(&self) -> impl Iterator<Item = &str> {
        self.directories.iter().map(String::as_str)
    }

    /// The file at a path, ordinary ones included.
    pub fn file(&self, path: &str) -> Option<&Arc<File>> {
        self.files.get(path)
    }

    /// The special file at a path.
    pub fn special(&self, path: &str) -> Option<&Arc<File>> {
        self.file(path).filter(|file| file.kind != Kind::Ordinary)
    }

    /// Whether the path is a directory of the skeleton.
    pub fn is_directory(&self, path: &str) -> bool {
        self.directories.contains(path)
    }
}

/// Whether `path` is, or leads through, `above`.
fn is_above(above: &str, path: &str) -> bool {
    Path::new(path).starts_with(above)
}

fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use middlebox_sdk::Handler;

    #[test]
    fn the_skeleton_is_that_of_the_contract() {
        let table = Table::of(&Type::new("firewall", "1").file(File::value("stats/rules")));
        assert_eq!(table.directories().collect::<Vec<_>>(), ["config", "machine", "stats"]);
        assert_eq!(table.special("status").unwrap().mode, 0o444);
        assert!(table.special("config/nf_conf").is_none() && table.file("config/nf_conf").is_some());
        assert_eq!(table.special("stats/rules").unwrap().handler, Handler::Own);
    }

    #[test]
    fn an_own_file_takes_the_place_of_the_skeletons() {
        let table = Table::of(&Type::new("firewall", "1").file(File::value("stats/pkt_drops")));
        assert_eq!(table.special("stats/pkt_drops").unwrap().handler, Handler::Own);
    }

    #[test]
    fn a_bare_type_has_its_own_files_alone() {
        let table = Table::of(&Type::new("random", "1").bare().file(File::ordinary("alpha")));
        assert_eq!(table.files().count(), 1);
        assert_eq!(table.directories().count(), 0);
    }

    #[test]
    fn an_own_file_or_directory_drives_out_what_it_stands_in_the_way_of() {
        let ty = Type::new("x", "1").file(File::value("stats")).file(File::value("action/more"));
        let table = Table::of(&ty);
        assert_eq!(table.directories().collect::<Vec<_>>(), ["action", "config", "machine"]);
        assert!(table.file("stats/rx_bytes").is_none() && table.file("action").is_none());
        assert!(table.special("stats").is_some() && table.special("status").is_some());
    }
}
