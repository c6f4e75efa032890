//! `nfio mount`: everything that can be known to be wrong is refused before anything is mounted, in an order that
//! names the cause and not its consequence.

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tracing::{error, info};

use super::mountpoint::Mountpoint;
use super::signals::Signals;
use super::{MountArgs, daemon, log_to_stderr, serve};
use crate::config::Config;
use crate::descriptors;
use crate::error::{NfioError, Result};
use crate::hypervisor::{factory, oci};
use crate::root::{self, Root};

/// The device number of /dev/fuse: misc, minor 229.
const FUSE_DEVICE: u64 = libc::makedev(10, 229);

/// The command as a person types it.
pub(super) fn run(args: &MountArgs) -> Result<()> {
    check_machine()?;
    let config = args.config()?;
    if !config.foreground {
        return daemon::start(&args.root);
    }
    let level = config.log_level;
    serve_until_unmounted(
        args,
        config,
        |_| {
            log_to_stderr(level);
            Ok(())
        },
        || {},
    )
}

/// The background process that [`daemon::start`] has started.
pub(super) fn background(args: &MountArgs) -> ExitCode {
    let Ok(waiting) = daemon::settle() else { return ExitCode::FAILURE };
    let mut waiting = Some(waiting);
    let done = args.config().and_then(|config| {
        let level = config.log_level;
        serve_until_unmounted(
            args,
            config,
            |root| {
                daemon::log_to_file(root)?;
                log_to_stderr(level);
                Ok(())
            },
            || {
                if let Some(waiting) = waiting.take() {
                    waiting.ready();
                }
            },
        )
    });
    let Err(e) = done else { return ExitCode::SUCCESS };
    // Into the log, once there is one; the command that waits says it to the user.
    error!("{}", super::sentence(&e));
    if let Some(waiting) = waiting {
        waiting.failed(&e);
    }
    ExitCode::FAILURE
}

/// `log` is called once ROOT is ours, before anything is logged.
fn serve_until_unmounted(
    args: &MountArgs,
    mut config: Config,
    log: impl FnOnce(&Root) -> Result<()>,
    ready: impl FnOnce(),
) -> Result<()> {
    descriptors::raise()?;
    let signals = Signals::catch()?;
    let hypervisor = factory::find(&config.hypervisor)?;
    if hypervisor == "Oci" {
        config.check_subnets()?;
    }
    let root = root::locate(&args.root)?;
    let mountpoint = Mountpoint::locate(&args.mountpoint)?;
    apart(&root, mountpoint.path())?;
    beside_runtime(mountpoint.path())?;
    config.module_root = module_root(&config.module_root, mountpoint.path())?;
    let root = Root::open(&root, args.relocation())?;
    log(&root)?;
    mountpoint.make_free()?;
    config.make_absolute()?;
    // Where we were started must stay free to be unmounted or removed, and the shell's habits are not ours.
    std::env::set_current_dir("/")?;
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    signals.unmount(mountpoint.path());
    info!("mounting {} at {}", root.path().display(), mountpoint.path().display());
    serve::serve(&config, root, mountpoint.path(), ready)?;
    info!("unmounted {}", mountpoint.path().display());
    Ok(())
}

/// Root, and a FUSE device that opens.
fn check_machine() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        let message = "only root can mount, and you are not: run it with sudo or as root";
        return Err(NfioError::posix(Errno::EPERM as i32, message));
    }
    open_fuse()
}

/// Whether /dev/fuse is what it should be and opens.
pub(super) fn open_fuse() -> Result<()> {
    let refuse = |errno: i32, what: &str| Err(NfioError::posix(errno, format!("/dev/fuse {what}")));
    match File::options().read(true).write(true).open("/dev/fuse") {
        Ok(device) => match device.metadata() {
            Ok(stat) if stat.rdev() == FUSE_DEVICE => Ok(()),
            _ => refuse(
                Errno::ENODEV as i32,
                "is not the FUSE device: make it anew with rm /dev/fuse; mknod /dev/fuse c 10 229",
            ),
        },
        Err(e) if e.kind() == ErrorKind::NotFound => refuse(
            Errno::ENOENT as i32,
            "does not exist: load the kernel's module with modprobe fuse, or give the container --device /dev/fuse",
        ),
        Err(e) => {
            let why = match e.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENODEV | Errno::ENXIO) => {
                    "leads nowhere: load the kernel's module with modprobe fuse, or use a kernel that has FUSE".into()
                }
                Some(Errno::EPERM | Errno::EACCES) => {
                    "may not be opened here: give the container --device /dev/fuse and CAP_SYS_ADMIN".into()
                }
                _ => format!("cannot be opened ({e}): see what nfio doctor says"),
            };
            refuse(e.raw_os_error().unwrap_or(Errno::EIO as i32), &why)
        }
    }
}

/// Neither may lie within the other: nfio would wait for itself.
fn apart(root: &Path, mountpoint: &Path) -> Result<()> {
    let (inner, outer) = if mountpoint.starts_with(root) {
        (("MOUNTPOINT", mountpoint), ("ROOT", root))
    } else if root.starts_with(mountpoint) {
        (("ROOT", root), ("MOUNTPOINT", mountpoint))
    } else {
        return Ok(());
    };
    let message = format!(
        "{} {} lies within {} {}: choose two directories apart",
        inner.0,
        inner.1.display(),
        outer.0,
        outer.1.display()
    );
    Err(NfioError::posix(Errno::EINVAL as i32, message))
}

/// What all nfio of this machine share must not vanish below a mount.
fn beside_runtime(mountpoint: &Path) -> Result<()> {
    if !Path::new(oci::RUN).starts_with(mountpoint) {
        return Ok(());
    }
    let message = format!(
        "MOUNTPOINT {} would hide {}, where nfio keeps leases: choose another",
        mountpoint.display(),
        oci::RUN
    );
    Err(NfioError::posix(Errno::EINVAL as i32, message))
}

/// module_root, absolute and without symbolic links.
fn module_root(given: &Path, mountpoint: &Path) -> Result<PathBuf> {
    let dir = find_module_root(given)?;
    if dir.starts_with(mountpoint) {
        let message = format!(
            "module_root {} lies within MOUNTPOINT {}: keep plugins elsewhere",
            dir.display(),
            mountpoint.display()
        );
        return Err(NfioError::posix(Errno::EINVAL as i32, message));
    }
    Ok(dir)
}

/// module_root where it is a directory.
pub(super) fn find_module_root(given: &Path) -> Result<PathBuf> {
    let refuse = |errno: i32, what: &str| {
        let shown = std::path::absolute(given).unwrap_or_else(|_| given.into());
        let message = format!("module_root {} {what}", shown.display());
        Err(NfioError::posix(errno, message))
    };
    match std::fs::canonicalize(given) {
        Ok(dir) if dir.is_dir() => Ok(dir),
        Ok(_) => refuse(Errno::ENOTDIR as i32, "is not a directory: name the plugins' with --module-root"),
        Err(e) => {
            let why = match e.kind() {
                ErrorKind::NotFound => "does not exist".to_string(),
                _ => format!("cannot be read ({e})"),
            };
            refuse(
                e.raw_os_error().unwrap_or(Errno::EIO as i32),
                &format!("{why}: name the plugins' directory with --module-root"),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_mountpoint_lie_apart_by_whole_names() {
        assert!(apart(Path::new("/srv/nfio"), Path::new("/srv/nfio-mnt")).is_ok());
        for (root, mountpoint, words) in [
            ("/srv", "/srv/mnt", "MOUNTPOINT /srv/mnt lies within ROOT /srv"),
            ("/mnt/root", "/mnt", "ROOT /mnt/root lies within MOUNTPOINT /mnt"),
            ("/a", "/a", "lies within"),
        ] {
            let error = apart(Path::new(root), Path::new(mountpoint)).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn the_runtime_directory_is_not_mounted_over() {
        assert!(
            beside_runtime(Path::new("/run/nfio-mnt")).is_ok() && beside_runtime(Path::new("/srv")).is_ok()
        );
        for mountpoint in ["/run/nfio", "/run", "/"] {
            assert!(beside_runtime(Path::new(mountpoint)).unwrap_err().to_string().contains("/run/nfio"));
        }
    }

    #[test]
    fn module_root_becomes_absolute_and_must_not_lie_within_the_mount() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::fs::create_dir(dir.path().join("plugins")).unwrap();
        let found = module_root(&dir.path().join("./plugins/../plugins"), Path::new("/mnt")).unwrap();
        assert_eq!(found, real.join("plugins"));
        let error = module_root(&dir.path().join("plugins"), &real).unwrap_err().to_string();
        assert!(error.contains("lies within MOUNTPOINT"), "{error}");
        let error = module_root(&dir.path().join("none"), Path::new("/mnt")).unwrap_err().to_string();
        assert!(error.contains("none does not exist") && error.contains("--module-root"), "{error}");
    }
}
