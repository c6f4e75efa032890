//! The reference: what must come of each operation, by the contract alone. It calls nothing of nfio.

use nix::errno::Errno;
use std::collections::{BTreeMap, BTreeSet};

use crate::files::{Answer, Files, Id, Kind, Spot};
use crate::life::{Failure, Guest, State};
use crate::operation::{BARE, GUARD, Operation};
use crate::outcome::{Expected, Outcome, Pattern, Shape};
use crate::skeleton::{MODULE_FILES, directories, files, special};
pub(crate) use kept::Kept;

mod kept;
mod names;
mod special_files;
mod verbs;

/// What nfio keeps of an instance.
#[derive(Debug, Clone, Default)]
pub(crate) struct Instance {
    pub(crate) guest: Option<Guest>,
    last_error: Option<(Failure, &'static str)>,
    /// It counts from the mount, or the instance's getting its name.
    last_verb: Option<&'static str>,
    output: String,
    log: String,
}

/// Type and name of an instance.
pub(crate) type At = (String, String);

/// What guests are like, wherever they run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nature {
    /// The image that is there.
    pub(crate) image: &'static str,
    /// What a guest prints at its start; None: nobody knows.
    pub(crate) greeting: Option<&'static str>,
}

/// A mount.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    nature: Nature,
    files: Files,
    loaded: BTreeSet<&'static str>,
    instances: BTreeMap<At, Instance>,
    /// The directories of types that are not shown.
    hidden: BTreeMap<&'static str, Id>,
    /// The file that is kept open.
    kept: Option<Kept>,
}

/// What a path names.
pub(crate) enum Place<'a> {
    /// The mount, `nf-types`, `chns`: nothing is made or removed there.
    Fixed,
    /// `nf-types/<type>`.
    Type(&'a str),
    /// `nf-types/<type>/<instance>`.
    Instance(&'a str, &'a str),
    /// Something below an instance: its type, its name, the path.
    Within(&'a str, &'a str, String),
    /// In `modules/`, or it.
    Modules,
}

pub(crate) fn place(names: &[String]) -> Place<'_> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match names[..] {
        ["nf-types", ty] => Place::Type(ty),
        ["nf-types", ty, name] => Place::Instance(ty, name),
        ["nf-types", ty, name, ref below @ ..] => Place::Within(ty, name, below.join("/")),
        ["modules", ..] => Place::Modules,
        _ => Place::Fixed,
    }
}

impl Model {
    /// A new ROOT, mounted with both plugins.
    pub(crate) fn new(nature: Nature) -> Self {
        let mut files = Files::new();
        for name in ["chns", "nf-types"] {
            files.make_directory(0, name, 0o755);
        }
        files.make_directory(0, "modules", 0o555);
        let mut model = Self {
            nature,
            files,
            loaded: BTreeSet::new(),
            instances: BTreeMap::new(),
            hidden: BTreeMap::new(),
            kept: None,
        };
        for ty in [GUARD, BARE] {
            model.plugin(ty, true);
        }
        model
    }

    /// What must come of an operation, which is done here.
    pub(crate) fn apply(&mut self, operation: &Operation) -> Expected {
        match *operation {
            Operation::Mkdir(path) => Expected::done(self.mkdir(path)),
            Operation::Rmdir(path) => Expected::done(self.rmdir(path)),
            Operation::Unlink(path) => Expected::done(self.unlink(path)),
            Operation::Rename(from, to) => Expected::done(self.rename(from, to)),
            Operation::RenameFree(from, to) => Expected::done(self.rename_free(from, to)),
            Operation::Exchange(from, to) => Expected::done(self.exchange(from, to)),
            Operation::Truncate(path, size) => Expected::done(self.truncate(path, size)),
            Operation::Label(path, text) => Expected::done(self.label(path, text)),
            Operation::Keep(path) => Expected::done(self.keep(path)),
            Operation::KeepReading(path) => Expected::done(self.keep_reading(path)),
            Operation::WriteKept(text) => Expected::Exactly(match self.write_kept(text) {
                Ok(count) => Outcome::Count(count),
                Err(errno) => Outcome::Failed(errno),
            }),
            Operation::Link(from, to) => Expected::done(self.link(from, to)),
            Operation::Symlink(target, path) => Expected::done(self.symlink(target, path)),
            Operation::Chmod(path, mode) => Expected::done(self.chmod(path, mode)),
            Operation::Put(path, text, how) => {
                let count = self.put(path, text, how);
                Expected::Exactly(count.map_or_else(Outcome::Failed, Outcome::Count))
            }
            Operation::Run(instance, script) => self.run(instance, script),
            Operation::Read(_)
            | Operation::ReadLabel(_)
            | Operation::ReadKept
            | Operation::List(_)
            | Operation::Stat(_) => self.look(operation),
            Operation::End(instance) => {
                let at = self.named(instance);
                if let Some(guest) = at.and_then(|at| self.instances.get_mut(&at)?.guest.as_mut()) {
                    guest.state = State::Exited;
                    guest.rules.clear();
                }
                Expected::Exactly(Outcome::Done)
            }
            Operation::StartByHand(instance) => {
                let stands = |at: &At| self.guest(at).is_some_and(|guest| guest.state == State::Exited);
                if let Some(at) = self.named(instance).filter(stands) {
                    self.take_in(&at);
                }
                Expected::Exactly(Outcome::Done)
            }
            Operation::Plugin(ty, there) => {
                self.plugin(ty, there);
                Expected::Exactly(Outcome::Done)
            }
            Operation::Remount | Operation::Kill => {
                self.remount();
                Expected::Exactly(Outcome::Done)
            }
            Operation::KillDuring(ref during, _) => {
                self.apply(during);
                self.apply(&Operation::Kill)
            }
        }
    }

    /// What must come of an operation that changes nothing.
    pub(crate) fn look(&self, operation: &Operation) -> Expected {
        let outcome = match *operation {
            Operation::Read(path) => self.read(path),
            Operation::ReadKept => self.read_kept(),
            Operation::ReadLabel(path) => self.read_label(path),
            Operation::List(path) => self.list(path).map(|names| Expected::Exactly(Outcome::Names(names))),
            Operation::Stat(path) => self.stat(path).map(|shape| Expected::Exactly(Outcome::Stat(shape))),
            _ => panic!("{operation:?} changes something"),
        };
        outcome.unwrap_or_else(|errno| Expected::Exactly(Outcome::Failed(errno)))
    }

    /// The instance at a path; None: there is none.
    pub(crate) fn named(&self, path: &str) -> Option<At> {
        let spot = self.files.walk(path, false).ok()?;
        match place(&spot.names) {
            Place::Instance(ty, name) => {
                Some((ty.to_owned(), name.to_owned())).filter(|at| self.instances.contains_key(at))
            }
            _ => None,
        }
    }

    pub(crate) fn guest(&self, at: &At) -> Option<&Guest> {
        self.instances.get(at)?.guest.as_ref()
    }

    /// The guests that a mount starts: those that are wanted and stand still.
    pub(crate) fn started_at_mount(&self) -> Vec<At> {
        let due = |instance: &Instance| {
            instance
                .guest
                .as_ref()
                .is_some_and(|guest| guest.wanted && guest.again && guest.state == State::Exited)
        };
        self.instances.iter().filter(|(_, instance)| due(instance)).map(|(at, _)| at.clone()).collect()
    }

    fn is_deployed(&self, ty: &str, name: &str) -> bool {
        self.guest(&(ty.to_owned(), name.to_owned())).is_some()
    }

    /// Every path in the tree, directories before what is in them.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        let mut below = vec![(String::new(), 0)];
        while let Some((path, id)) = below.pop() {
            for (name, child) in self.files.children(id).into_iter().flatten() {
                let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                paths.push(path.clone());
                below.push((path, *child));
            }
        }
        paths
    }

    /// A plugin comes or goes.
    fn plugin(&mut self, ty: &'static str, there: bool) {
        if there && self.loaded.insert(ty) {
            let types = self.files.at(&["nf-types"]).expect("nf-types");
            match self.hidden.remove(ty) {
                Some(id) => self.files.put(types, ty, id),
                None if self.files.at(&["nf-types", ty]).is_none() => {
                    self.files.make_directory(types, ty, 0o755);
                }
                None => {}
            }
            self.learn(ty);
        } else if !there {
            self.loaded.remove(ty);
            self.hide_types();
        }
        self.show_module(ty);
    }

    fn show_module(&mut self, ty: &str) {
        let modules = self.files.at(&["modules"]).expect("modules");
        let module = self.files.make_directory(modules, ty, 0o555);
        for file in MODULE_FILES {
            let state = if self.loaded.contains(ty) { "loaded\n" } else { "missing\n" };
            let text = if file == "state" { state } else { "" };
            self.files.make(module, file, Kind::File(text.into()), 0o444);
        }
    }

    /// A type without plugin is there as long as it has instances.
    fn hide_types(&mut self) {
        let types = self.files.at(&["nf-types"]).expect("nf-types");
        for ty in [GUARD, BARE] {
            let empty = self.files.at(&["nf-types", ty]).is_some_and(|id| self.files.is_empty(id));
            if empty && !self.loaded.contains(ty) {
                self.hidden.extend(self.files.take(types, ty).map(|id| (ty, id)));
            }
        }
    }

    /// The special files that users removed come back when a plugin takes its type over.
    fn learn(&mut self, ty: &str) {
        let names: Vec<String> =
            self.instances.keys().filter(|at| at.0 == ty).map(|at| at.1.clone()).collect();
        for name in names {
            let instance = self.files.at(&["nf-types", ty, &name]).expect("an instance's directory");
            for (path, mode) in files(ty).filter(|(path, _)| special(ty, path).is_some()) {
                let (above, file) = match path.split_once('/') {
                    Some((directory, file)) => {
                        if self.files.children(instance).is_some_and(|all| !all.contains_key(directory)) {
                            self.files.make_directory(instance, directory, 0o755);
                        }
                        (self.files.at(&["nf-types", ty, &name, directory]), file)
                    }
                    None => (Some(instance), path),
                };
                let free = |above: &Id| {
                    self.files.children(*above).is_some_and(|children| !children.contains_key(file))
                };
                if let Some(above) = above.filter(free) {
                    self.files.make(above, file, Kind::File(String::new()), mode);
                }
            }
        }
    }

    fn remount(&mut self) {
        self.kept = None;
        for instance in self.instances.values_mut() {
            instance.last_verb = None;
        }
        for ty in [GUARD, BARE] {
            if self.loaded.contains(ty) {
                self.learn(ty);
            }
        }
        for at in self.started_at_mount() {
            self.start_again(&at);
        }
    }

    /// A new instance's skeleton.
    fn make_skeleton(&mut self, parent: Id, ty: &str, name: &str) {
        let instance = self.files.make_directory(parent, name, 0o755);
        for directory in directories(ty) {
            self.files.make_directory(instance, directory, 0o755);
        }
        for (path, mode) in files(ty) {
            let (above, file) = match path.split_once('/') {
                Some((directory, file)) => (self.files.at(&["nf-types", ty, name, directory]), file),
                None => (Some(instance), path),
            };
            let above = above.expect("a directory of the skeleton");
            self.files.make(above, file, Kind::File(String::new()), mode);
        }
        self.instances.insert((ty.to_owned(), name.to_owned()), Instance::default());
    }
}
