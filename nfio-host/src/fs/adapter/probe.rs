//! Whether this kernel passes files through: tried, not guessed from its version.

use fuser::{BackingId, Config, Filesystem, InitFlags, KernelConfig, Request, Session};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A file system without anything in it.
struct Nothing {
    offered: Arc<AtomicBool>,
}

impl Filesystem for Nothing {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let offered = config.set_max_stack_depth(1).is_ok()
            && config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok();
        self.offered.store(offered, Ordering::Relaxed);
        Ok(())
    }
}

/// Mounts a file system where nobody sees it and registers a file for passthrough.
///
/// # Errors
/// EOPNOTSUPP where the kernel does not offer it; what mounting or registering meets.
pub fn try_passthrough() -> io::Result<()> {
    // A mount namespace is a thread's own, and ends with it.
    let tried = thread::Builder::new().name("nfio-probe".into()).spawn(|| -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
        let offered = Arc::new(AtomicBool::new(false));
        let nothing = Nothing { offered: Arc::clone(&offered) };
        let session = Session::new(nothing, std::env::temp_dir(), &Config::default())?;
        if !offered.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        // It ends with the session.
        BackingId::create_raw(&session, memfd_create("nfio-probe", MFdFlags::MFD_CLOEXEC)?).map(drop)
    })?;
    tried.join().unwrap_or_else(|_| Err(io::Error::other("the probe panicked")))
}
