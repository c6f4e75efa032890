//! `[hosts]`, `[docker]`, `[libvirt]`, `[oci]`: how engines are reached, and what guests get from them. A section is
//! known in each build, also in one without its driver.

use serde::Deserialize;
use std::path::PathBuf;

use crate::hypervisor::oci;

/// `[hosts."ADDR"]`: how the engine of a host is reached; `[hosts."*"]`: that of every host without an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Host {
    /// TCP with mutual TLS.
    pub tls: Option<Tls>,
    /// SSH, as this user: `user`, or `user@name` where ssh knows the host by another name.
    pub ssh: Option<String>,
    /// Plain TCP, unprotected: in so many words.
    pub insecure: bool,
    /// URI of the host's libvirt, for the driver `Libvirt`: `qemu+ssh://…`, `qemu+tls://…`.
    pub libvirt: Option<String>,
    /// The port, where it is not the usual one.
    pub port: Option<u16>,
}

/// Files of a mutual TLS connection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificate of the authority that signed the host's.
    pub ca: PathBuf,
    /// Our certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// `[docker]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Docker {
    /// Socket of this machine's engine; not set: as `DOCKER_HOST` says, else /var/run/docker.sock.
    pub socket: Option<PathBuf>,
}

/// `[libvirt]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Libvirt {
    /// libvirt of this machine.
    pub uri: String,
    /// Directory below which images are named.
    pub images: PathBuf,
    /// Directory of the guests' own layers; QEMU's user must be able to reach it.
    pub layers: PathBuf,
    /// Network that guests are connected to.
    pub network: String,
    /// `auto`, `kvm`, or `qemu`: without the processor's help, slow but everywhere.
    pub accelerator: Accelerator,
}

/// What runs a virtual machine's instructions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// `kvm` where a domain of that type starts, else `qemu`.
    #[default]
    Auto,
    /// The processor.
    Kvm,
    /// QEMU itself.
    Qemu,
}

impl Default for Libvirt {
    fn default() -> Self {
        Self {
            uri: "qemu:///system".into(),
            images: "/var/lib/nfio/images".into(),
            layers: "/var/lib/nfio/layers".into(),
            network: "default".into(),
            accelerator: Accelerator::Auto,
        }
    }
}

/// `[oci]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Oci {
    /// Directory below which images are named.
    pub images: PathBuf,
    /// IPv4 network that guests get their addresses from.
    pub subnet: String,
    /// Bridge that guests are connected to; made where it is missing.
    pub bridge: String,
}

impl Default for Oci {
    fn default() -> Self {
        Self { images: "/var/lib/nfio/images".into(), subnet: oci::SUBNET.into(), bridge: oci::BRIDGE.into() }
    }
}
