//! Which type is served by which plugin. Every `.so` of `module_root` has an entry, a bad one too, with the reason.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::SystemTime;

use super::abi::Module;
use super::files::{self, Identity};
use super::load::Loader;
use super::table::Table;
use crate::config::Deadlines;
use crate::error::{HostError, NfioError, Result};
use book::Book;
use kept::Kept;

mod book;
mod kept;

pub use book::Served;

/// The files of `modules/<type>/`.
pub const FILES: [&str; 7] = ["path", "version", "sdk_version", "state", "error", "calls", "reloads"];

/// All plugins of a mount.
pub struct Registry {
    module_root: PathBuf,
    kept: Kept,
    book: Mutex<Book>,
    /// What follows from the book. Readers hold the lock for one look, and a writer only to put another map in this
    /// one's place: each look sees one state of things, and nobody waits for a plugin to be loaded.
    entries: RwLock<Entries>,
    /// Takeovers that nobody has seen to yet.
    changes: Mutex<Vec<Served>>,
    /// When an entry was made, changed or removed last.
    changed: Mutex<SystemTime>,
}

/// By type, or by the name of a file that never told its type.
type Entries = BTreeMap<String, Entry>;

/// What is known of a type.
struct Entry {
    /// The plugin's file; empty for a type whose plugin is gone.
    path: PathBuf,
    state: State,
    /// None for a file that never told its type.
    table: Option<Arc<Table>>,
    version: String,
    sdk_version: String,
    error: String,
    loads: u64,
    calls: Arc<AtomicU64>,
}

enum State {
    Loaded(Arc<Module>),
    Failed,
    Missing,
}

impl Entry {
    fn failed(file: &Path, why: String) -> Self {
        Self {
            path: file.to_owned(),
            state: State::Failed,
            table: None,
            version: String::new(),
            sdk_version: String::new(),
            error: why,
            loads: 0,
            calls: Arc::default(),
        }
    }

    fn module(&self, ty: &str) -> Result<Arc<Module>> {
        match &self.state {
            State::Loaded(module) => match module.wedged() {
                None => Ok(Arc::clone(module)),
                Some(why) => Err(HostError::ModuleFault(format!("the module of type {ty}: {why}")).into()),
            },
            State::Failed => missing(format!("the module of type {ty} failed: {}", self.error)),
            State::Missing => missing(format!("no module serves type {ty}; put its .so into module_root")),
        }
    }

    /// State and error, as `modules/` shows them.
    fn told(&self) -> (&'static str, String) {
        match &self.state {
            State::Loaded(module) => match module.wedged() {
                None => ("loaded", self.error.clone()),
                Some(why) if self.error.is_empty() => ("wedged", why),
                Some(why) => ("wedged", format!("{why}; {}", self.error)),
            },
            State::Failed => ("failed", self.error.clone()),
            State::Missing => ("missing", self.error.clone()),
        }
    }
}

fn missing<T>(why: String) -> Result<T> {
    Err(HostError::ModuleMissing(why).into())
}

/// A line of `nfio plugin list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The type, or the file's stem where it never told.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// Version of the SDK that it was built with.
    pub sdk_version: String,
    /// `loaded`, `failed`, `wedged` or `missing`.
    pub state: &'static str,
    /// Its file.
    pub path: PathBuf,
    /// What is wrong with it; empty otherwise.
    pub error: String,
}

/// What a file was found to be, under the identity that it had before.
pub(super) type Judged = (Option<Identity>, std::result::Result<Module, String>);

/// Looks at a file, which may take its time.
pub(super) fn judge(loader: &Loader, file: &Path) -> Judged {
    let identity = Identity::of(file).ok();
    let found = catch_unwind(AssertUnwindSafe(|| loader.load(file)));
    (identity, found.unwrap_or_else(|_| Err("nfio panicked over it; its log tells where".into())))
}

impl Registry {
    /// Loads every `.so` of `module_root`; of several that claim one type the first by name serves it. `private` (0700)
    /// keeps each type's table, so that instances of a type whose plugin is gone are still understood.
    ///
    /// # Errors
    /// Only where `module_root` or `private` cannot be used; a bad plugin is an entry.
    pub fn load(module_root: &Path, private: &Path, loader: &Loader, deadlines: Deadlines) -> Result<Self> {
        let kept = Kept::new(private)?;
        let files = files::shared_objects(module_root).map_err(|e| unreadable(module_root, &e))?;
        let mut book = Book::new(kept.types()?, deadlines);
        // Side by side: one that takes its time to fail holds the others up no longer than that.
        let judged: Vec<Judged> = thread::scope(|scope| {
            let judging: Vec<_> = files.iter().map(|file| scope.spawn(|| judge(loader, file))).collect();
            judging
                .into_iter()
                .map(|judging| judging.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        });
        for (file, (identity, found)) in files.iter().zip(judged) {
            book.judged(file.clone(), identity, found);
        }
        let registry = Self {
            module_root: module_root.to_owned(),
            kept,
            book: Mutex::new(book),
            entries: RwLock::default(),
            changes: Mutex::default(),
            changed: Mutex::new(SystemTime::now()),
        };
        registry.settle(|_| None);
        files.iter().for_each(|file| registry.complain(file));
        Ok(registry)
    }

    /// The directory of the plugins.
    pub(super) fn module_root(&self) -> &Path {
        &self.module_root
    }

    /// Every file with the identity under which it was last judged, and whether it was found to be no plugin.
    pub(super) fn judged_files(&self) -> BTreeMap<PathBuf, (Option<Identity>, bool)> {
        let book = self.book();
        book.files().map(|(file, identity)| (file.to_owned(), (identity, book.is_bad(file)))).collect()
    }

    /// Takes in what a new or changed file was found to be.
    pub(super) fn judged(&self, file: &Path, (identity, found): Judged) {
        self.settle(|book| book.judged(file.to_owned(), identity, found));
        self.complain(file);
    }

    /// Takes in that a file is gone.
    pub(super) fn removed(&self, file: &Path) {
        tracing::info!("{} is gone", file.display());
        self.settle(|book| book.removed(file));
    }

    /// Takeovers since this was last asked, oldest first.
    pub fn take_changes(&self) -> Vec<Served> {
        std::mem::take(&mut self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn settle(&self, change: impl FnOnce(&mut Book) -> Option<book::Verdict>) {
        let mut book = self.book();
        let gone = change(&mut book);
        let changes = book.settle();
        let entries = book.entries();
        let last =
            std::mem::replace(&mut *self.entries.write().unwrap_or_else(PoisonError::into_inner), entries);
        *self.changed.lock().unwrap_or_else(PoisonError::into_inner) = SystemTime::now();
        drop(book);
        discard((gone, last));
        for Served { module, .. } in &changes {
            let ty = module.describe();
            tracing::info!("type {} is served by version {} from now on", ty.name, ty.version);
            if let Err(e) = self.kept.keep(ty) {
                tracing::warn!(
                    "the table of type {} is not kept for a time without its plugin: {e}",
                    ty.name
                );
            }
        }
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).extend(changes);
    }

    /// When a plugin came, went or took over last.
    pub fn changed(&self) -> SystemTime {
        *self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complain(&self, file: &Path) {
        if let Some(why) = self.book().complaint(file) {
            tracing::warn!("{} is not used: {why}", file.display());
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names of all types that are served.
    pub fn types(&self) -> Vec<String> {
        let entries = self.entries();
        let loaded = entries.iter().filter(|(_, entry)| matches!(entry.state, State::Loaded(_)));
        loaded.map(|(name, _)| name.clone()).collect()
    }

    /// Whether the type is served.
    pub fn is_loaded(&self, ty: &str) -> bool {
        self.entries().get(ty).is_some_and(|entry| matches!(entry.state, State::Loaded(_)))
    }

    /// The type's table, also where its plugin is gone.
    pub fn table(&self, ty: &str) -> Option<Arc<Table>> {
        self.entries().get(ty).and_then(|entry| entry.table.clone())
    }

    /// How many plugins have served the type one after the other.
    pub fn loads(&self, ty: &str) -> u64 {
        self.entries().get(ty).map_or(0, |entry| entry.loads)
    }

    /// The type's plugin.
    ///
    /// # Errors
    /// ModuleMissing (ENOPKG) that says why and what to do, ModuleFault (EIO) where it has ceased to answer.
    pub fn module(&self, ty: &str) -> Result<Arc<Module>> {
        self.served(ty).map(|(module, _)| module)
    }

    /// The type's plugin and its table, of one moment.
    ///
    /// # Errors
    /// As [`module`](Self::module).
    pub fn served(&self, ty: &str) -> Result<(Arc<Module>, Arc<Table>)> {
        match self.entries().get(ty) {
            Some(Entry { table: None, error, .. }) => {
                missing(format!("the module of type {ty} failed: {error}"))
            }
            Some(entry @ Entry { table: Some(table), .. }) => Ok((entry.module(ty)?, Arc::clone(table))),
            None => missing(format!("no module serves type {ty}; put its .so into module_root")),
        }
    }

    /// Names of all entries: types, and files that never told theirs.
    pub fn names(&self) -> Vec<String> {
        self.entries().keys().cloned().collect()
    }

    /// Text of `modules/<name>/<file>`.
    pub fn file(&self, name: &str, file: &str) -> Option<Vec<u8>> {
        let entries = self.entries();
        let entry = entries.get(name)?;
        let text = match file {
            "path" => entry.path.display().to_string(),
            "version" => entry.version.clone(),
            "sdk_version" => entry.sdk_version.clone(),
            "state" => entry.told().0.to_owned(),
            "error" => entry.told().1,
            "calls" => entry.calls.load(Ordering::Relaxed).to_string(),
            "reloads" => entry.loads.saturating_sub(1).to_string(),
            _ => return None,
        };
        Some(if text.is_empty() { Vec::new() } else { format!("{text}\n").into_bytes() })
    }

    /// All entries, as `nfio plugin list` shows them.
    pub fn rows(&self) -> Vec<Row> {
        self.entries().iter().map(|(name, entry)| row(name, entry)).collect()
    }
}

/// What is wrong with module_root.
pub(super) fn unreadable(module_root: &Path, why: &std::io::Error) -> NfioError {
    let message = format!("module_root {} cannot be read: {why}", module_root.display());
    NfioError::posix(why.raw_os_error().unwrap_or(libc::EIO), message)
}

/// Lets go of plugins in a thread of its own: the last reference runs code of theirs, which may never come back.
pub(super) fn discard(what: impl Send + 'static) {
    let dropping = thread::Builder::new().name("nfio-discard".into()).spawn(move || drop(what));
    if let Err(e) = dropping {
        tracing::warn!("no thread to let go of a plugin in: {e}");
    }
}

fn row(name: &str, entry: &Entry) -> Row {
    let (state, error) = entry.told();
    Row {
        name: name.to_owned(),
        version: entry.version.clone(),
        sdk_version: entry.sdk_version.clone(),
        state,
        path: entry.path.clone(),
        error,
    }
}

#[cfg(test)]
impl Registry {
    /// One type whose plugin is no file: for the tests of whoever calls modules.
    pub(crate) fn of(middlebox: impl middlebox_sdk::Middlebox, private: &Path) -> Self {
        let registry = Self {
            module_root: PathBuf::from("/nowhere"),
            kept: Kept::new(private).expect("a place for tables"),
            book: Mutex::new(Book::new(Vec::new(), Deadlines::default())),
            entries: RwLock::default(),
            changes: Mutex::default(),
            changed: Mutex::new(SystemTime::now()),
        };
        registry.exchange(middlebox);
        registry
    }

    /// Has another plugin take over, or the first come back.
    pub(crate) fn exchange(&self, middlebox: impl middlebox_sdk::Middlebox) {
        let boxed = middlebox_sdk::export::construct(|| middlebox).into_result().expect("a middlebox");
        let module = Module::new(boxed, "1.0.0".into()).expect("a type");
        self.judged(Path::new("/nowhere/plugin.so"), (None, Ok(module)));
    }

    /// Loses the plugin.
    pub(crate) fn lose(&self) {
        self.removed(Path::new("/nowhere/plugin.so"));
    }
}

#[cfg(test)]
mod tests;
