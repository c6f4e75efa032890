//! nfio over guests that exist on paper only: the same rooms as in `nfio mount`, with a driver for which a guest is a
//! file. It is a process of its own, so that it can be killed; its guests outlive it, as real ones do.
//!
//!     nfio-on-paper ROOT MOUNTPOINT MODULE_ROOT GUESTS [FAULT]
//!
//! It says `ready` on stdout once the mount answers, logs to stderr, and ends when it is unmounted. With a fault it is
//! broken on purpose: the reference model must find that.

mod fault;
mod guests;
mod planted;

use nfio_host::config::Config;
use nfio_host::error::Result;
use nfio_host::fs::operations::Operations;
use nfio_host::fs::{self, MountConfig, Nfio};
use nfio_host::modules::{self, Loader, Registry};
use nfio_host::root::{Relocation, Root};
use nfio_host::vnf::VnfsOperations;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use fault::Fault;
use guests::Paper;
use planted::Planted;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    // nfio tries plugins in a process of its own binary.
    if args.get(1).is_some_and(|word| word == "module") {
        return modules::helper_main(&args[2..]);
    }
    let [_, root, mountpoint, module_root, guests, fault @ ..] = &args[..] else {
        eprintln!("usage: nfio-on-paper ROOT MOUNTPOINT MODULE_ROOT GUESTS [FAULT]");
        return ExitCode::from(2);
    };
    let named = |word: &OsString| Fault::ALL.into_iter().find(|fault| word == format!("{fault:?}").as_str());
    let fault =
        fault.first().map(|word| named(word).unwrap_or_else(|| panic!("no fault is called {word:?}")));
    let paths = [root, mountpoint, module_root, guests].map(Path::new);
    match serve(paths, fault) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("nfio-on-paper: {e}");
            ExitCode::FAILURE
        }
    }
}

fn serve([root, mountpoint, module_root, guests]: [&Path; 4], fault: Option<Fault>) -> Result<()> {
    let levels = tracing_subscriber::EnvFilter::new("warn,nfio_host=info");
    let log = tracing_subscriber::fmt().with_env_filter(levels).with_ansi(false).with_target(false);
    log.with_writer(std::io::stderr).init();
    let config = Config::default();
    let root = Root::open(root, Relocation::None)?;
    modules::mark_crashes(&root.private())?;
    let loader = Arc::new(Loader::new(&root.private(), &config.modules)?);
    let registry = Registry::load(module_root, &root.private(), &loader, config.deadlines)?;
    let directory = root.dir().try_clone_to_owned()?;
    let backing = root.path().to_owned();
    let driver = Arc::new(Paper::open(guests, fault)?);
    let vnfs = VnfsOperations::new(root, registry, driver, config.deadlines, config.policy)?;
    let mount = MountConfig {
        mountpoint: mountpoint.to_owned(),
        fsname: backing.display().to_string(),
        allow_other: false,
        options: Vec::new(),
        threads: 2,
    };
    let operations: Arc<dyn Operations> = match fault {
        Some(fault) => Arc::new(Planted::new(Arc::clone(&vnfs), fault, backing)),
        None => Arc::clone(&vnfs) as _,
    };
    let mounted = fs::mount(Nfio::new(directory, operations)?, mount)?;
    vnfs.observe()?;
    vnfs.watch_modules(loader)?;
    drop(vnfs);
    println!("ready");
    mounted.wait()
}
