//! What has been found out about the files of module_root, and what follows from it: which file serves which type.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::{Entries, Entry, State};
use crate::config::Deadlines;
use crate::modules::abi::Module;
use crate::modules::files::Identity;
use crate::modules::table::Table;

/// A plugin, or why a file is none.
pub(super) type Verdict = Result<Arc<Module>, String>;

/// All files, as they were last judged, and all types that any of them, or a kept table, ever told of.
pub(super) struct Book {
    deadlines: Deadlines,
    files: BTreeMap<PathBuf, (Option<Identity>, Verdict)>,
    types: BTreeMap<String, Type>,
}

struct Type {
    serving: Option<(PathBuf, Arc<Module>)>,
    /// That of the plugin that serves, or of the last one that did.
    table: Arc<Table>,
    version: String,
    /// Since the mount, whoever served.
    calls: Arc<AtomicU64>,
    /// How often a plugin took over.
    loads: u64,
}

/// A plugin has taken over a type.
pub struct Served {
    /// The plugin.
    pub module: Arc<Module>,
    /// Its files.
    pub table: Arc<Table>,
    /// The files before: of the plugin that it took over from, however long ago.
    pub before: Arc<Table>,
}

impl Book {
    /// No file, and types that are known by their kept tables.
    pub(super) fn new(known: Vec<middlebox_sdk::Type>, deadlines: Deadlines) -> Self {
        let types = known.into_iter().map(|ty| (ty.name.clone(), Type::unserved(&ty))).collect();
        Self { deadlines, files: BTreeMap::new(), types }
    }

    /// Every file with the identity under which it was judged.
    pub(super) fn files(&self) -> impl Iterator<Item = (&Path, Option<Identity>)> {
        self.files.iter().map(|(file, (identity, _))| (file.as_path(), *identity))
    }

    /// Whether a file was found to be no plugin.
    pub(super) fn is_bad(&self, file: &Path) -> bool {
        matches!(self.files.get(file), Some((_, Err(_))))
    }

    /// Takes down what a file was found to be. [`settle`](Self::settle) draws the conclusions.
    pub(super) fn judged(
        &mut self,
        file: PathBuf,
        identity: Option<Identity>,
        found: Result<Module, String>,
    ) -> Option<Verdict> {
        let verdict = found.map(|module| {
            let ty = module.describe();
            let known = self.types.entry(ty.name.clone()).or_insert_with(|| Type::unserved(ty));
            Arc::new(module.in_service(Arc::clone(&known.calls), self.deadlines))
        });
        self.files.insert(file, (identity, verdict)).map(|(_, before)| before)
    }

    /// A file is gone.
    pub(super) fn removed(&mut self, file: &Path) -> Option<Verdict> {
        self.files.remove(file).map(|(_, before)| before)
    }

    /// Decides anew who serves. Whoever serves a type goes on while its file is there: as what the file is now, or as
    /// what it last was when it could be used. When it ends, the next file that claims the type takes over.
    pub(super) fn settle(&mut self) -> Vec<Served> {
        let mut changes = Vec::new();
        for (name, ty) in &mut self.types {
            let stays = ty.serving.take().and_then(|(file, module)| {
                let now = match &self.files.get(&file)?.1 {
                    Ok(now) => Arc::clone(now),
                    Err(_) => Arc::clone(&module),
                };
                (now.describe().name == *name).then_some((file, now, Some(module)))
            });
            let next = stays.or_else(|| {
                self.files.iter().find_map(|(file, (_, verdict))| {
                    let module = verdict.as_ref().ok().filter(|module| module.describe().name == *name)?;
                    Some((file.clone(), Arc::clone(module), None))
                })
            });
            let Some((file, module, before)) = next else { continue };
            if !before.is_some_and(|before| Arc::ptr_eq(&before, &module)) {
                let table = Arc::new(Table::of(module.describe()));
                let before = std::mem::replace(&mut ty.table, Arc::clone(&table));
                ty.version.clone_from(&module.describe().version);
                ty.loads += 1;
                changes.push(Served { module: Arc::clone(&module), table, before });
            }
            ty.serving = Some((file, module));
        }
        changes
    }

    /// What is wrong with a file; None: it serves, or there is no such file.
    pub(super) fn complaint(&self, file: &Path) -> Option<String> {
        match &self.files.get(file)?.1 {
            Err(why) => Some(why.clone()),
            Ok(module) => {
                let ty = &module.describe().name;
                let (first, _) = self.types.get(ty)?.serving.as_ref()?;
                (first != file).then(|| {
                    format!("type {ty} is served by {} already; remove one of the two files", first.display())
                })
            }
        }
    }

    /// What follows, by the names in `modules/`: types, and files that serve none under their stem without `lib`, or
    /// under their whole name where that is taken.
    pub(super) fn entries(&self) -> Entries {
        let mut entries: Entries =
            self.types.iter().map(|(name, ty)| (name.clone(), self.entry_of(ty))).collect();
        for file in self.files.keys() {
            let Some(why) = self.complaint(file) else { continue };
            if entries.values().any(|entry| entry.path == *file) {
                // The last good version serves, and its entry tells.
                continue;
            }
            let whole = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let stem = whole.strip_suffix(".so").unwrap_or(&whole);
            let stem = stem.strip_prefix("lib").unwrap_or(stem);
            match entries.get_mut(stem) {
                // The type's own file has come to harm: it keeps its table.
                Some(entry) if matches!(entry.state, State::Missing) => {
                    entry.path.clone_from(file);
                    entry.state = State::Failed;
                    entry.error = why;
                }
                None if !stem.is_empty() => {
                    entries.insert(stem.to_owned(), Entry::failed(file, why));
                }
                _ => {
                    entries.insert(whole, Entry::failed(file, why));
                }
            }
        }
        entries
    }

    fn entry_of(&self, ty: &Type) -> Entry {
        let mut entry = Entry {
            path: PathBuf::new(),
            state: State::Missing,
            table: Some(Arc::clone(&ty.table)),
            version: ty.version.clone(),
            sdk_version: String::new(),
            error: String::new(),
            loads: ty.loads,
            calls: Arc::clone(&ty.calls),
        };
        if let Some((file, module)) = &ty.serving {
            entry.path.clone_from(file);
            entry.state = State::Loaded(Arc::clone(module));
            entry.sdk_version = module.sdk_version().to_owned();
            entry.error = self.complaint(file).map_or_else(String::new, |why| {
                format!(
                    "the file that is there now cannot be used: {why}; version {} goes on serving",
                    ty.version
                )
            });
        }
        entry
    }
}

impl Type {
    fn unserved(ty: &middlebox_sdk::Type) -> Self {
        Self {
            serving: None,
            table: Arc::new(Table::of(ty)),
            version: ty.version.clone(),
            calls: Arc::default(),
            loads: 0,
        }
    }
}
