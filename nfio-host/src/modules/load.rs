//! Opens a plugin's shared object: read once, judged, copied aside under a name never used before (dlopen(3) caches by
//! path and inode, and a file that is overwritten in place under a mapping is SIGBUS), opened, checked against the
//! ABI, constructed.

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::{CheckingGlobals, check_layout_compatibility_with_globals};
use abi_stable::library::{AbiHeaderRef, LibHeader, ROOT_MODULE_LOADER_NAME_WITH_NUL, RootModule};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use middlebox_sdk::abi::PluginRef;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::abi::Module;
use super::elf;

/// Loads plugins.
pub struct Loader {
    /// Takes the copies that are opened (0700, on a file system without noexec).
    aside: PathBuf,
}

impl Loader {
    /// Makes room for copies in `private` (0700).
    ///
    /// # Errors
    /// Where `private` cannot be written.
    pub fn new(private: &Path) -> crate::error::Result<Self> {
        let aside = private.join("modules");
        // Copies that a crash left: their names come round again.
        match fs::remove_dir_all(&aside) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
            _ => fs::create_dir(&aside)?,
        }
        Ok(Self { aside })
    }

    /// Loads the plugin in `file`, by way of a copy.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the file and how to mend it.
    pub(super) fn load(&self, file: &Path) -> Result<Module, String> {
        load(file, &self.aside)
    }
}

fn load(file: &Path, aside: &Path) -> Result<Module, String> {
    let data = read(file).map_err(|e| format!("it cannot be read: {e}"))?;
    elf::judge(&data)?;
    let copy = aside.join(unused_name());
    let written = write_copy(&copy, &data);
    let opened = written.and_then(|()| open(&copy));
    // The mapping keeps the copy alive; its name is of no more use.
    let removed = fs::remove_file(&copy);
    let header = opened?;
    removed.map_err(|e| format!("its copy {} cannot be removed: {e}", copy.display()))?;
    construct(header)
}

/// The whole of a regular file. Opening anything else, a fifo for one, might wait for ever.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut file = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(file)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut data = Vec::new();
    file.read_to_end(&mut data)?;
    Ok(data)
}

fn unused_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}.so", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn write_copy(copy: &Path, data: &[u8]) -> Result<(), String> {
    let fail = |e: std::io::Error| format!("it cannot be copied to {}: {e}", copy.display());
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(copy).map_err(fail)?;
    out.write_all(data).map_err(fail)?;
    out.set_permissions(fs::Permissions::from_mode(0o500)).map_err(fail)
}

fn open(copy: &Path) -> Result<&'static LibHeader, String> {
    // SAFETY: opening runs the constructors of a file that the operator put into module_root; plugins are trusted
    // code. The file is whole (`elf::judge`) and nobody else writes the copy.
    let library = unsafe { Library::open(Some(copy), RTLD_NOW | RTLD_LOCAL) }
        .map_err(|e| format!("the dynamic linker refuses it: {e}"))?;
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
    let sdk_version = header.version_strings().version.as_str().to_owned();
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
    let boxed = (root.construct())().into_result().map_err(|fault| fault.message.to_string())?;
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
