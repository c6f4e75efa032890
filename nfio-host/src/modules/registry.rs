//! Which type is served by which plugin. Every `.so` of `module_root` has an entry, a bad one too, with the reason.

use middlebox_sdk::Type;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::abi::Module;
use super::load::Loader;
use super::table::Table;
use crate::beneath;
use crate::error::{HostError, NfioError, Result};

/// Longest table that is read, in bytes.
const TABLE_LIMIT: usize = 1 << 20;

/// The files of `modules/<type>/`.
pub const FILES: [&str; 7] = ["path", "version", "sdk_version", "state", "error", "calls", "reloads"];

/// All plugins of a mount.
pub struct Registry {
    entries: BTreeMap<String, Entry>,
}

/// What is known of a type.
struct Entry {
    /// The plugin's file; empty for a type whose plugin is gone.
    path: PathBuf,
    state: State,
    /// None for a file that never told its type.
    table: Option<Arc<Table>>,
    version: String,
    sdk_version: String,
}

enum State {
    Loaded(Arc<Module>),
    Failed(String),
    Missing,
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
    /// `loaded`, `failed` or `missing`.
    pub state: &'static str,
    /// Its file.
    pub path: PathBuf,
    /// Why it failed; empty otherwise.
    pub error: String,
}

impl Registry {
    /// Loads every `.so` of `module_root`, in the order of their names. `private` (0700) keeps each type's table, so
    /// that instances of a type whose plugin is gone are still understood.
    ///
    /// # Errors
    /// Only where `module_root` or `private` cannot be used; a bad plugin is an entry.
    pub fn load(module_root: &Path, private: &Path, loader: &Loader) -> Result<Self> {
        let mut registry = Self { entries: BTreeMap::new() };
        let kept = private.join("types");
        fs::create_dir_all(&kept)?;
        for file in shared_objects(module_root)? {
            registry.take(&file, loader.load(&file), &kept)?;
        }
        registry.remember(&kept)?;
        Ok(registry)
    }

    fn take(&mut self, file: &Path, loaded: std::result::Result<Module, String>, kept: &Path) -> Result<()> {
        let module = match loaded {
            Ok(module) => module,
            Err(why) => {
                self.fail(file, why);
                return Ok(());
            }
        };
        let ty = module.describe().clone();
        if let Some(first) =
            self.entries.get(&ty.name).filter(|entry| matches!(entry.state, State::Loaded(_)))
        {
            let why = format!(
                "type {} is served by {} already; remove one of the two files",
                ty.name,
                first.path.display()
            );
            self.fail(file, why);
            return Ok(());
        }
        beneath::write_atomic(&kept.join(format!("{}.toml", ty.name)), ty.to_text()?.as_bytes())?;
        tracing::info!("type {} {} loaded from {}", ty.name, ty.version, file.display());
        // A bad file that was listed under this name before moves to its full name.
        let displaced = self.entries.remove(&ty.name);
        self.entries.insert(
            ty.name.clone(),
            Entry {
                path: file.to_owned(),
                table: Some(Arc::new(Table::of(&ty))),
                version: ty.version,
                sdk_version: module.sdk_version().to_owned(),
                state: State::Loaded(Arc::new(module)),
            },
        );
        if let Some(Entry { path, state: State::Failed(why), .. }) = displaced {
            self.fail(&path, why);
        }
        Ok(())
    }

    /// Lists a bad file: under its stem without `lib`, or under its whole name where that is a type already.
    fn fail(&mut self, file: &Path, why: String) {
        tracing::warn!("{} is no usable plugin: {why}", file.display());
        let whole = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem = whole.strip_suffix(".so").unwrap_or(&whole);
        let stem = stem.strip_prefix("lib").unwrap_or(stem).to_owned();
        let name = if stem.is_empty() || self.entries.contains_key(&stem) { whole } else { stem };
        let entry = Entry {
            path: file.to_owned(),
            state: State::Failed(why),
            table: None,
            version: String::new(),
            sdk_version: String::new(),
        };
        self.entries.insert(name, entry);
    }

    /// Takes up the tables of types that were loaded once and are not now.
    fn remember(&mut self, kept: &Path) -> Result<()> {
        for file in fs::read_dir(kept)? {
            let file = file?.path();
            if file.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let ty = match read_table(&file) {
                Ok(ty) => ty,
                Err(e) => {
                    tracing::warn!("{} is not used: {e}", file.display());
                    continue;
                }
            };
            let table = Arc::new(Table::of(&ty));
            let entry = self.entries.entry(ty.name).or_insert_with(|| Entry {
                path: PathBuf::new(),
                state: State::Missing,
                table: None,
                version: ty.version,
                sdk_version: String::new(),
            });
            entry.table.get_or_insert(table);
        }
        Ok(())
    }

    /// Names of all types that are served.
    pub fn types(&self) -> Vec<String> {
        let loaded = self.entries.iter().filter(|(_, entry)| matches!(entry.state, State::Loaded(_)));
        loaded.map(|(name, _)| name.clone()).collect()
    }

    /// Whether the type is served.
    pub fn is_loaded(&self, ty: &str) -> bool {
        self.entries.get(ty).is_some_and(|entry| matches!(entry.state, State::Loaded(_)))
    }

    /// The type's table, also where its plugin is gone.
    pub fn table(&self, ty: &str) -> Option<&Arc<Table>> {
        self.entries.get(ty).and_then(|entry| entry.table.as_ref())
    }

    /// The type's plugin.
    ///
    /// # Errors
    /// ModuleMissing (ENOPKG) that says why and what to do.
    pub fn module(&self, ty: &str) -> Result<Arc<Module>> {
        let why = match self.entries.get(ty).map(|entry| &entry.state) {
            Some(State::Loaded(module)) => return Ok(module.clone()),
            Some(State::Failed(why)) => format!("the module of type {ty} failed: {why}"),
            Some(State::Missing) | None => {
                format!("no module serves type {ty}; put its .so into module_root")
            }
        };
        Err(HostError::ModuleMissing(why).into())
    }

    /// Names of all entries: types, and files that never told theirs.
    pub fn names(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    /// Text of `modules/<name>/<file>`.
    pub fn file(&self, name: &str, file: &str) -> Option<Vec<u8>> {
        let entry = self.entries.get(name)?;
        let row = row(name, entry);
        let text = match file {
            "path" => row.path.display().to_string(),
            "version" => row.version,
            "sdk_version" => row.sdk_version,
            "state" => row.state.to_owned(),
            "error" => row.error,
            "calls" => match &entry.state {
                State::Loaded(module) => module.calls().to_string(),
                _ => "0".to_owned(),
            },
            "reloads" => "0".to_owned(),
            _ => return None,
        };
        Some(if text.is_empty() { Vec::new() } else { format!("{text}\n").into_bytes() })
    }

    /// All entries, as `nfio plugin list` shows them.
    pub fn rows(&self) -> Vec<Row> {
        self.entries.iter().map(|(name, entry)| row(name, entry)).collect()
    }
}

/// A type's kept table.
fn read_table(file: &Path) -> Result<Type> {
    let text = beneath::read_own(file, TABLE_LIMIT)?.unwrap_or_default();
    Type::from_text(&String::from_utf8_lossy(&text))
}

#[cfg(test)]
impl Registry {
    /// One type whose plugin is no file: for the tests of whoever calls modules.
    pub(crate) fn of(middlebox: impl middlebox_sdk::Middlebox) -> Self {
        let boxed = middlebox_sdk::export::construct(|| middlebox).into_result().expect("a middlebox");
        let module = Module::new(boxed, "1.0.0".into()).expect("a type");
        let ty = module.describe().clone();
        let entry = Entry {
            path: PathBuf::new(),
            table: Some(Arc::new(Table::of(&ty))),
            version: ty.version,
            sdk_version: module.sdk_version().to_owned(),
            state: State::Loaded(Arc::new(module)),
        };
        Self { entries: BTreeMap::from([(ty.name, entry)]) }
    }

    /// The same without its plugin.
    pub(crate) fn lose(&mut self, ty: &str) {
        self.entries.get_mut(ty).expect("a known type").state = State::Missing;
    }
}

fn row(name: &str, entry: &Entry) -> Row {
    let (state, error) = match &entry.state {
        State::Loaded(_) => ("loaded", String::new()),
        State::Failed(why) => ("failed", why.clone()),
        State::Missing => ("missing", String::new()),
    };
    Row {
        name: name.to_owned(),
        version: entry.version.clone(),
        sdk_version: entry.sdk_version.clone(),
        state,
        path: entry.path.clone(),
        error,
    }
}

pub(super) fn shared_objects(module_root: &Path) -> Result<Vec<PathBuf>> {
    let fail = |e: std::io::Error| {
        NfioError::posix(
            e.raw_os_error().unwrap_or(libc::EIO),
            format!("module_root {} cannot be read: {e}", module_root.display()),
        )
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(module_root).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_some_and(|extension| extension == "so") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests;
