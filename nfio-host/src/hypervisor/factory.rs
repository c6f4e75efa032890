//! Makes the mount's driver.

use crate::error::{NfioError, Result};

/// Whether `--hypervisor` may be `name`.
pub fn check_name(name: &str) -> Result<()> {
    match name {
        "Oci" => Ok(()),
        "Docker" | "DockerDriver" | "Libvirt" => Err(NfioError::posix(
            95,
            format!("the driver {name} is not in this build yet; use --hypervisor Oci"),
        )),
        _ => Err(NfioError::posix(
            22,
            format!("unknown hypervisor {name:?}: use one of Oci, Docker, DockerDriver, Libvirt"),
        )),
    }
}
