//! SIGTERM, SIGINT and SIGHUP unmount cleanly. They are caught and not blocked: a blocked signal stays blocked in
//! every process that we start, down to the guests, which could then not be stopped politely.

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use std::path::Path;
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::mountpoint::{FSTYPE, Mountpoint};
use crate::error::Result;

/// How long a mount that is just coming up may take until it can be taken down.
const COMING_UP: Duration = Duration::from_secs(10);
/// How long those who still use the mount keep us, once it is detached.
const GRACE: Duration = Duration::from_secs(3);
const STEP: Duration = Duration::from_millis(20);

/// The signals, caught but not yet acted on.
pub(super) struct Signals {
    runtime: Runtime,
    caught: [Signal; 3],
}

impl Signals {
    /// Catches them from now on.
    pub(super) fn catch() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let caught = {
            let _within = runtime.enter();
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()]
                .map(signal)
                .into_iter()
                .collect::<std::io::Result<Vec<_>>>()?
        };
        let caught = caught.try_into().map_err(|_| std::io::Error::other("signals cannot be caught"))?;
        Ok(Self { runtime, caught })
    }

    /// From now on the first of them unmounts `mountpoint`, upon which serving it ends; where it does not, because
    /// the mount is still in use, the process ends all the same. Guests go on.
    pub(super) fn unmount(self, mountpoint: &Path) {
        let path = mountpoint.to_owned();
        let Self { runtime, mut caught } = self;
        let wait = move || {
            runtime.block_on(std::future::poll_fn(|context| {
                match caught.iter_mut().any(|signal| signal.poll_recv(context).is_ready()) {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            }));
            info!("asked to end: unmounting {}", path.display());
            take_down(&path);
            std::thread::sleep(GRACE);
            warn!("{} was still in use: its users get ENOTCONN", path.display());
            std::process::exit(0);
        };
        if let Err(e) = std::thread::Builder::new().name("signals".into()).spawn(wait) {
            error!("signals will not be heard: {e}");
        }
    }
}

fn take_down(path: &Path) {
    let mut waited = Duration::ZERO;
    while waited < COMING_UP {
        // Only ever our own: another mount may come to lie there.
        let ours = Mountpoint::locate(path)
            .and_then(|mountpoint| mountpoint.mounted())
            .is_ok_and(|mount| mount.is_some_and(|mount| mount.fstype == FSTYPE));
        if ours {
            match umount2(path, MntFlags::UMOUNT_NOFOLLOW) {
                Ok(()) => return,
                Err(Errno::EBUSY) => {
                    warn!("{} is still in use: detached", path.display());
                    let _ = umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
                    return;
                }
                Err(e) => warn!("{} cannot be unmounted: {}", path.display(), e.desc()),
            }
        }
        std::thread::sleep(STEP);
        waited += STEP;
    }
}
