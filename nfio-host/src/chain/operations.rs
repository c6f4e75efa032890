//! What the file system asks, sorted: chains answer for themselves, the room `vnf` for everything else.

use middlebox_sdk::{File, Kind};
use std::sync::Arc;
use std::time::SystemTime;

use super::Chains;
use super::drawing::START;
use super::files::is_quick;
use super::verbs::Verb;
use crate::error::{NfioError, Result};
use crate::fs::operations::{Access, Caller, Lane, OnChange, OnDiskChange, Operations, TypeState, Written};
use crate::tree::{CHAIN, Instance};
use crate::vnf::{VnfsOperations, last_error, verb};

/// The whole tree: instances and chains.
pub struct Tree {
    vnfs: Arc<VnfsOperations>,
    chains: Arc<Chains>,
}

impl Tree {
    /// A tree of these instances and these chains.
    pub fn new(vnfs: Arc<VnfsOperations>, chains: Arc<Chains>) -> Self {
        Self { vnfs, chains }
    }
}

impl Operations for Tree {
    fn types(&self) -> Vec<String> {
        self.vnfs.types()
    }

    fn type_state(&self, ty: &str) -> TypeState {
        self.vnfs.type_state(ty)
    }

    fn special(&self, ty: &str, path: &str) -> Option<Arc<File>> {
        if ty == CHAIN { self.chains.table.special(path).cloned() } else { self.vnfs.special(ty, path) }
    }

    fn is_skeleton(&self, ty: &str, path: &str) -> bool {
        if ty != CHAIN {
            return self.vnfs.is_skeleton(ty, path);
        }
        let table = &self.chains.table;
        // While a chain is active its links stay as they are, too: they say what it is made of.
        table.special(path).is_some() || table.is_directory(path) || path == START || path.contains('/')
    }

    fn is_deployed(&self, at: Instance<'_>) -> bool {
        if !at.is_chain() {
            return self.vnfs.is_deployed(at);
        }
        // A chain whose record cannot be read may be active: it is treated as if it were.
        self.chains
            .chain(at.name)
            .map_or(true, |chain| chain.record().is_some() || chain.turns.try_take(&*chain).is_err())
    }

    fn create_instance(&self, at: Instance<'_>, mode: u32, caller: Caller) -> Result<()> {
        if at.is_chain() {
            self.chains.create(at.name, mode, caller)
        } else {
            self.vnfs.create_instance(at, mode, caller)
        }
    }

    fn remove_instance(&self, at: Instance<'_>) -> Result<()> {
        if at.is_chain() { self.chains.remove(at.name) } else { self.vnfs.remove_instance(at) }
    }

    fn rename_instance(&self, from: Instance<'_>, to: Instance<'_>, flags: u32) -> Result<()> {
        match from.is_chain() {
            true => self.chains.rename(from.name, to.name, flags),
            false => self.vnfs.rename_instance(from, to, flags),
        }
    }

    fn lane(&self, at: Instance<'_>, file: &File, access: Access) -> Lane {
        if !at.is_chain() {
            return self.vnfs.lane(at, file, access);
        }
        let deadlines = self.chains.config.deadlines;
        let bounded = |what: &str, width, queue, deadline, overdue| {
            let key = format!("{what} chns/{}", at.name);
            Lane::Bounded { key, width, queue, deadline, overdue }
        };
        match (file.kind, access) {
            // Verbs on one chain run one after the other.
            (Kind::Verb, Access::Write) => bounded("verbs", 1, 16, deadlines.activate, libc::EBUSY),
            _ if is_quick(&file.path) => Lane::Inline,
            _ => bounded("values", 4, 64, deadlines.read, libc::EAGAIN),
        }
    }

    fn attributes(&self, at: Instance<'_>, file: &File) -> Result<Option<(u64, SystemTime)>> {
        if !at.is_chain() {
            return self.vnfs.attributes(at, file);
        }
        let length = self.read(at, file)?.len() as u64;
        Ok(Some((length, SystemTime::now())))
    }

    fn read(&self, at: Instance<'_>, file: &File) -> Result<Vec<u8>> {
        if !at.is_chain() {
            return self.vnfs.read(at, file);
        }
        self.chains.show(&*self.chains.chain(at.name)?, &file.path)
    }

    fn read_log(&self, at: Instance<'_>, file: &File, offset: u64, length: usize) -> Result<Vec<u8>> {
        // A chain has no logs.
        self.vnfs.read_log(at, file, offset, length)
    }

    fn write(&self, at: Instance<'_>, file: &File, data: &[u8], caller: Caller) -> Written {
        if !at.is_chain() {
            return self.vnfs.write(at, file, data, caller);
        }
        Written { count: self.chains.act(at.name, file, data), answer: None }
    }

    fn on_change(&self, changed: OnChange) {
        let changed = Arc::new(changed);
        // Set once, before anything can change.
        let _ = self.chains.changed.set(Arc::clone(&changed));
        self.vnfs.on_change(Box::new(move |at| changed(at)));
    }

    fn on_disk_change(&self, changed: OnDiskChange) {
        // Once mounted, what is in `chns/` changes through the kernel alone: chains write into no file of theirs.
        self.vnfs.on_disk_change(changed);
    }

    fn modules_changed(&self) -> SystemTime {
        self.vnfs.modules_changed()
    }

    fn modules(&self) -> Vec<String> {
        self.vnfs.modules()
    }

    fn module_files(&self) -> &'static [&'static str] {
        self.vnfs.module_files()
    }

    fn module_file(&self, module: &str, file: &str) -> Option<Vec<u8>> {
        self.vnfs.module_file(module, file)
    }
}

impl Chains {
    /// A write to `action`: a verb a line.
    fn act(&self, name: &str, file: &File, data: &[u8]) -> Result<usize> {
        if file.kind != Kind::Verb {
            return Err(NfioError::posix(libc::EACCES, format!("{} cannot be written", file.path)));
        }
        let chain = self.chain(name)?;
        let turn = chain.turns.wait(&*chain)?;
        verb::run_lines(data, |word| {
            let verb = Verb::parse(word).or_else(|e| last_error::note(&*chain, "action", Err(e)))?;
            self.run(&chain, verb, &turn)
        })
    }
}
