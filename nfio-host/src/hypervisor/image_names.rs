//! Names of images, for the drivers whose images are files: below one directory, or, for root's instances, anywhere.

use nix::errno::Errno;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::oci::inside::beneath;
use crate::error::{HypervisorError, NfioError, Result, VnfConfigurationError};

/// Judges an image's name without looking at the disk. `dir`: where images are.
pub(super) fn judge(dir: &Path, name: &str, absolute_allowed: bool) -> Result<()> {
    if name.is_empty() {
        return Err(VnfConfigurationError::ImageNameIsEmpty(
            "machine/vm.image is empty: write the name of an image into it".into(),
        )
        .into());
    }
    let path = Path::new(name);
    if path.is_absolute() && !absolute_allowed {
        return Err(NfioError::configuration(format!(
            "machine/vm.image: the absolute path {name} is for root's instances alone; name an image below {}",
            dir.display()
        )));
    }
    // `.` and `/` would be all images, or the whole machine.
    let nothing = !path.components().any(|c| matches!(c, std::path::Component::Normal(_)));
    if nothing || name.contains('\0') || path.components().any(|c| c.as_os_str() == "..") {
        return Err(NfioError::configuration(format!("machine/vm.image: {name:?} is no name of an image")));
    }
    Ok(())
}

/// Opens the first of these names (O_PATH where it is below `dir`) and tells its path; `what`: what may be there, for the
/// message.
pub(super) fn find(dir: &Path, names: &[&str], what: &str) -> Result<PathBuf> {
    for candidate in names {
        let opened = if Path::new(candidate).is_absolute() {
            // A fifo must not hold the verb up.
            let mut options = File::options();
            let opened = options.read(true).custom_flags(libc::O_NONBLOCK).open(candidate);
            opened.map(OwnedFd::from).map_err(|e| errno(&e))
        } else {
            beneath(dir, Path::new(candidate))
        };
        match opened {
            Ok(fd) => return Ok(fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(Errno::EXDEV) => {
                let dir = dir.display();
                return Err(deploy(format!(
                    "the image {candidate} leads out of {dir}: put the image itself (not a link) below it"
                )));
            }
            Err(e) => return Err(deploy(format!("the image {candidate} cannot be opened: {e}"))),
        }
    }
    let name = names.first().copied().unwrap_or_default();
    let place = if Path::new(name).is_absolute() { String::new() } else { format!(" in {}", dir.display()) };
    Err(deploy(format!(
        "there is no image {name} ({what}){place}: put one there, or correct machine/vm.image"
    )))
}

/// That a guest cannot be deployed.
pub(super) fn deploy(message: String) -> NfioError {
    HypervisorError::Deploy(message).into()
}

fn errno(e: &std::io::Error) -> Errno {
    Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO))
}
