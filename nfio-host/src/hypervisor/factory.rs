//! Makes the mount's driver, with the manual's rules: a mount has exactly one driver of exactly one type.
//! The manual's factory was a process-wide singleton; here it is a value that the mount owns.

use std::sync::Arc;

use super::Hypervisor;
use super::docker::{Docker, DockerConfig};
#[cfg(feature = "libvirt")]
use super::libvirt::{Libvirt, LibvirtConfig};
use super::oci::{Oci, OciConfig};
use crate::error::NfioError;

/// Names that `--hypervisor` takes. `DockerDriver` is the manual's name of `Docker`.
pub const KNOWN: [&str; 4] = ["Oci", "Docker", "DockerDriver", "Libvirt"];

/// Why there is no driver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactoryError {
    /// No driver has that name (the manual's `TypeError`).
    #[error("unknown hypervisor {0:?}: use one of {list}", list = KNOWN.join(", "))]
    UnknownType(String),
    /// The name is known, but nfio was built without its driver (`cargo build --no-default-features`).
    #[error("the driver {0} is not in this build; use --hypervisor Docker or Oci")]
    NotInThisBuild(&'static str),
    /// The mount has a driver of another type already (the manual's `ValueError`).
    #[error(
        "this mount runs its guests on {present} and cannot use {wanted} too: mount a second ROOT for {wanted}"
    )]
    SecondType {
        /// The type that the mount has.
        present: &'static str,
        /// The type that was asked for.
        wanted: &'static str,
    },
    /// A driver was asked for before one was made (the manual's `RuntimeError`).
    #[error("no hypervisor has been chosen yet: initialise the factory with one of {list} first", list = KNOWN.join(", "))]
    NotInitialised,
    /// The driver itself could not be made.
    #[error(transparent)]
    Driver(#[from] NfioError),
}

impl From<FactoryError> for NfioError {
    fn from(e: FactoryError) -> Self {
        match e {
            FactoryError::Driver(e) => e,
            other => Self::posix(libc::EINVAL, other.to_string()),
        }
    }
}

/// The driver that a name means, whether or not it is in this build.
fn canonical(hypervisor_type: &str) -> Result<&'static str, FactoryError> {
    match hypervisor_type {
        "Oci" => Ok("Oci"),
        "Docker" | "DockerDriver" => Ok("Docker"),
        "Libvirt" => Ok("Libvirt"),
        other => Err(FactoryError::UnknownType(other.into())),
    }
}

/// The driver that a name means.
///
/// # Errors
/// A name that is unknown, or whose driver is not in this build.
pub fn find(hypervisor_type: &str) -> Result<&'static str, FactoryError> {
    match canonical(hypervisor_type)? {
        known @ ("Oci" | "Docker") => Ok(known),
        #[cfg(feature = "libvirt")]
        "Libvirt" => Ok("Libvirt"),
        later => Err(FactoryError::NotInThisBuild(later)),
    }
}

/// What the drivers are told; the one that is made takes its part.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For `Docker`.
    pub docker: DockerConfig,
    /// For `Oci`.
    pub oci: OciConfig,
    /// For `Libvirt`.
    #[cfg(feature = "libvirt")]
    pub libvirt: LibvirtConfig,
}

/// The one place that makes drivers.
#[derive(Default)]
pub struct HypervisorFactory {
    driver: Option<Arc<dyn Hypervisor>>,
}

impl HypervisorFactory {
    /// A factory without a driver.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the driver of this type; a second call for the same type answers the first one's driver.
    ///
    /// # Errors
    /// An unknown type, a second type, or a driver that cannot be made.
    pub fn initialise(
        &mut self,
        hypervisor_type: &str,
        settings: Settings,
    ) -> Result<Arc<dyn Hypervisor>, FactoryError> {
        let wanted = canonical(hypervisor_type)?;
        if let Some(driver) = &self.driver {
            let present = driver.name();
            if present != wanted {
                return Err(FactoryError::SecondType { present, wanted });
            }
            return Ok(driver.clone());
        }
        let driver: Arc<dyn Hypervisor> = match find(wanted)? {
            "Docker" => Arc::new(Docker::new(settings.docker)?),
            #[cfg(feature = "libvirt")]
            "Libvirt" => Arc::new(Libvirt::new(settings.libvirt)?),
            _ => Arc::new(Oci::new(settings.oci)?),
        };
        self.driver = Some(driver.clone());
        Ok(driver)
    }

    /// The driver.
    ///
    /// # Errors
    /// [`FactoryError::NotInitialised`] before [`initialise`](Self::initialise).
    pub fn get_hypervisor_instance(&self) -> Result<Arc<dyn Hypervisor>, FactoryError> {
        self.driver.clone().ok_or(FactoryError::NotInitialised)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &std::path::Path) -> Settings {
        Settings {
            docker: DockerConfig {
                root: String::new(),
                state: dir.join("docker"),
                socket: None,
                hosts: Default::default(),
            },
            oci: OciConfig::new(dir.join("state"), dir.join("images")),
            #[cfg(feature = "libvirt")]
            libvirt: LibvirtConfig {
                state: dir.join("libvirt"),
                settings: Default::default(),
                hosts: Default::default(),
            },
        }
    }

    #[test]
    fn unknown_type_second_type_and_use_before_initialisation_are_three_errors() {
        let dir = tempfile::tempdir().unwrap();
        let mut factory = HypervisorFactory::new();
        assert_eq!(factory.get_hypervisor_instance().err(), Some(FactoryError::NotInitialised));
        let unknown = factory.initialise("Xen", config(dir.path())).err().unwrap();
        assert_eq!(unknown, FactoryError::UnknownType("Xen".into()));
        assert!(KNOWN.iter().all(|name| unknown.to_string().contains(name)), "{unknown}");
        factory.initialise("Oci", config(dir.path())).unwrap();
        let second = factory.initialise("Libvirt", config(dir.path())).err().unwrap();
        assert_eq!(second, FactoryError::SecondType { present: "Oci", wanted: "Libvirt" });
        let same = factory.initialise("Oci", config(dir.path())).unwrap();
        assert!(Arc::ptr_eq(&same, &factory.get_hypervisor_instance().unwrap()));
    }

    #[cfg(not(feature = "libvirt"))]
    #[test]
    fn drivers_of_later_releases_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let error = HypervisorFactory::new().initialise("Libvirt", config(dir.path())).err().unwrap();
        assert!(error.to_string().contains("Libvirt is not in this build"), "{error}");
    }
}
