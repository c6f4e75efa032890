//! Everything between a file in module_root and a loaded [`Module`]: the file is opened once, its owner and mode are
//! judged, it is read and copied aside under a name never used before (dlopen(3) caches by path and inode, and a file
//! that is overwritten in place under a mapping is SIGBUS), compared to the allow-list and the crash marks, its ELF
//! judged, the copy tried in a process of its own, and only then opened here, checked against the ABI, constructed.

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::{CheckingGlobals, check_layout_compatibility_with_globals};
use abi_stable::library::{AbiHeaderRef, LibHeader, ROOT_MODULE_LOADER_NAME_WITH_NUL, RootModule};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use middlebox_sdk::abi::PluginRef;
use object::ReadCache;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::abi::Module;
use super::crash::{self, Marks, Origin};
use super::probe::{self, Described};
use super::reply::taken;
use super::source::{Content, Source};
use super::{elf, trust};
use crate::config::Modules;
use crate::error::Result as HostResult;

/// Loads plugins. One is enough for all threads.
pub struct Loader {
    /// Takes the copies that are opened (0700, on a file system without noexec).
    aside: PathBuf,
    /// SHA-256 of the plugins that may be loaded; None: all that are trusted.
    allowed: Option<Vec<String>>,
    marks: Marks,
}

impl Loader {
    /// Makes room for copies in `private` (0700, absolute), and reads the crash marks there.
    ///
    /// # Errors
    /// Where `private` cannot be written.
    pub fn new(private: &Path, modules: &Modules) -> HostResult<Self> {
        let aside = private.join("modules");
        // Copies that a crash left: their names come round again.
        match fs::remove_dir_all(&aside) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
            _ => fs::create_dir(&aside)?,
        }
        Ok(Self { aside, allowed: modules.sha256.clone(), marks: Marks::open(private)? })
    }

    /// Loads the plugin in `file`, by way of a copy.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the file and how to mend it.
    pub(super) fn load(&self, file: &Path) -> Result<Module, String> {
        let (copy, content, _) = self.try_out(file)?;
        let module = open(&copy.0, Origin::new(file, &content))?;
        self.marks.forget(file);
        Ok(module)
    }

    /// Judges the plugin in `file` as [`load`](Self::load) does, without loading it into this process.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub(super) fn describe(&self, file: &Path) -> Result<Described, String> {
        self.try_out(file).map(|(_, _, described)| described)
    }

    fn try_out(&self, file: &Path) -> Result<(Copy, Content, Described), String> {
        let source = Source::open(file)?;
        trust::judge(&source)?;
        let (copy, content) = self.copy(source)?;
        if let Some(allowed) = &self.allowed
            && !allowed.contains(&content.sha256)
        {
            return Err(format!(
                "its SHA-256 is {}, which nfio.toml does not allow; add it to sha256 in [modules]",
                content.sha256
            ));
        }
        self.marks.judge(&content)?;
        copy.cut()?;
        let described = probe::probe(&copy.0)?;
        Ok((copy, content, described))
    }

    /// A private copy of a plugin.
    pub(super) fn copy(&self, source: Source) -> Result<(Copy, Content), String> {
        let copy = Copy(self.aside.join(unused_name()));
        let content = source.copy(&copy.0)?;
        Ok((copy, content))
    }
}

/// The name of a copy. A mapping keeps the copy itself alive; its name is of no more use then.
pub(super) struct Copy(pub(super) PathBuf);

impl Copy {
    /// Judges whether it is a plugin and whole, and keeps of it what the dynamic linker needs.
    pub(super) fn cut(&self) -> Result<(), String> {
        let fail = |e: io::Error| format!("its copy {} cannot be written: {e}", self.0.display());
        let file = fs::OpenOptions::new().read(true).write(true).open(&self.0).map_err(fail)?;
        let needed = elf::judge(&ReadCache::new(file.try_clone().map_err(fail)?))?;
        file.set_len(needed).map_err(fail)?;
        file.set_permissions(fs::Permissions::from_mode(0o500)).map_err(fail)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // One that stays is cleared away by the next mount.
        let _ = fs::remove_file(&self.0);
    }
}

fn unused_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}.so", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Opens a copy in this process.
pub(super) fn open(copy: &Path, origin: Origin) -> Result<Module, String> {
    let module = crash::during(&origin, "its construction", "", || dlopen(copy).and_then(construct))?;
    Ok(module.with_origin(origin))
}

fn dlopen(copy: &Path) -> Result<&'static LibHeader, String> {
    // SAFETY: opening runs the constructors of a file that the operator put into module_root; plugins are trusted
    // code. The file is whole (`elf::judge`) and nobody else writes the copy.
    let library = unsafe { Library::open(Some(copy), RTLD_NOW | RTLD_LOCAL) }.map_err(|e| {
        format!("the dynamic linker refuses its copy {} (no noexec there?): {e}", copy.display())
    })?;
    // SAFETY: the symbol is a static `LibHeader`, whose first field is an `AbiHeader`; both are checked by
    // `upgrade` before anything else of it is read.
    let header = unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes()) }
        .map(|symbol| *symbol)
        .map_err(|e| format!("its header is missing: {e}"))?;
    // Values of the library live on wherever a call of it still runs: it is never closed.
    std::mem::forget(library);
    header.upgrade().map_err(|e| format!("it is built with another ABI library: {}", short(&e.to_string())))
}

fn construct(header: &'static LibHeader) -> Result<Module, String> {
    let sdk_version = std::str::from_utf8(header.version_strings().version.as_rslice().as_slice())
        .map_err(|_| "its header tells no version of middlebox-sdk; build it with middlebox-sdk")?
        .to_owned();
    let ours = major(PluginRef::VERSION_STRINGS.version.as_str());
    if major(&sdk_version) != ours {
        return Err(format!(
            "it is built with middlebox-sdk {sdk_version}, this host serves {ours}.x; build it with that"
        ));
    }
    let layout =
        header.layout().ok_or("its header carries no description of its ABI; build it with middlebox-sdk")?;
    // A newer plugin has all that we know, an older one lacks what we added: one of the two directions must fit.
    // abi_stable's own memory of earlier checks is left out: it mixes up versions that are loaded side by side.
    let fits = |ours, theirs| check_layout_compatibility_with_globals(ours, theirs, &CheckingGlobals::new());
    fits(PluginRef::LAYOUT, layout)
        .or_else(|_| fits(layout, PluginRef::LAYOUT))
        .map_err(|e| format!("its ABI is not that of middlebox-sdk {ours}: {}", short(&e.to_string())))?;
    // SAFETY: the layouts have just been found compatible, and methods that the older side lacks have default
    // bodies.
    let root = unsafe { header.init_root_module_with_unchecked_layout::<PluginRef>() }
        .map_err(|e| format!("it does not start: {}", short(&e.to_string())))?;
    let boxed = taken("its construction", (root.construct())()).map_err(|e| e.to_string())?;
    Module::new(boxed, sdk_version).map_err(|e| e.to_string())
}

fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or(version)
}

/// A layout error is a report of 30 KB; its first `Error:` part is what a person can read.
fn short(report: &str) -> String {
    let line = report
        .lines()
        .map(str::trim)
        .skip_while(|line| !line.starts_with("Error:"))
        .find(|line| !line.is_empty())
        .or_else(|| report.lines().map(str::trim).find(|line| !line.is_empty()))
        .unwrap_or("without a reason");
    line.chars().take(300).collect()
}
