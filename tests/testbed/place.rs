//! Where the guests of a mount live: the driver, the host, and the way there.

use std::path::PathBuf;

/// A driver and a host. The default: the driver Oci, on this machine.
#[derive(Debug, Clone)]
pub struct Place {
    /// `--hypervisor`.
    pub hypervisor: &'static str,
    /// For `machine/ip`.
    pub host: String,
    /// Network namespace from which guests are reached; None: the test bed's own.
    pub network: Option<PathBuf>,
    /// Whether nfio runs in that network too, as on a machine that has but one.
    pub beside: bool,
    /// What nfio.toml says of it.
    pub config: String,
    /// Variables of nfio's environment.
    pub environment: Vec<(&'static str, String)>,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            hypervisor: "Oci",
            host: "127.0.0.1".into(),
            network: None,
            beside: false,
            config: String::new(),
            environment: Vec::new(),
        }
    }
}

impl Place {
    /// What stands in `machine/vm.image` for a guest image of this name; an engine must have it already.
    pub fn image(&self, name: &str) -> String {
        match (self.hypervisor, name) {
            ("Oci", "firewall") => crate::image().display().to_string(),
            ("Oci", other) => crate::debian(other).display().to_string(),
            ("Libvirt", "firewall") if self.config.contains("uri = \"lxc") => {
                crate::image().display().to_string()
            }
            ("Libvirt", "firewall") => crate::vm().display().to_string(),
            _ => name.to_owned(),
        }
    }
}
