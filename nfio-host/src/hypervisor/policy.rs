//! What a guest may have. Judged by the least privileged owner of the files that say so, never by who wrote the verb:
//! a tenant who may write `action` of an instance must not become root through it. Root may everything; others what
//! `[policy]` in nfio.toml grants.

use super::GuestSpec;
use crate::config::Policy;
use crate::error::{HostError, Result};

/// Judges `spec` for `owner` (a user id), and notes in it what the driver may believe of it.
///
/// # Errors
/// PolicyError (EPERM) that names the key of boot.conf or machine/ and the one in nfio.toml that would grant it.
pub fn judge(spec: &mut GuestSpec, owner: u32, policy: &Policy) -> Result<()> {
    spec.absolute_image = owner == 0 || policy.image_paths;
    if owner == 0 {
        return Ok(());
    }
    let boot = &spec.boot;
    let capabilities: Vec<_> = boot.capabilities.add.iter().chain(&spec.needs.capabilities).collect();
    let beyond = capabilities.iter().find(|name| {
        !["NET_ADMIN", "NET_RAW"].contains(&name.as_str()) && !policy.capabilities.contains(name)
    });
    let refused = [
        (boot.privileged && !policy.privileged, "boot.conf: privileged", "privileged = true"),
        (beyond.is_some(), "boot.conf: capabilities.add", "capabilities"),
        (!spec.needs.devices.is_empty() && !policy.devices, "the type's devices", "devices = true"),
        (boot.pull && !policy.pull, "boot.conf: pull", "pull = true"),
        (!boot.ports.is_empty() && !policy.ports, "boot.conf: port", "ports = true"),
        (
            boot.interfaces.iter().any(|i| i.bridge.is_some()) && !policy.bridges,
            "boot.conf: bridge",
            "bridges = true",
        ),
        (
            spec.image.starts_with('/') && !policy.image_paths,
            "machine/vm.image: a path",
            "image_paths = true",
        ),
        (!policy.hosts.contains(&spec.host), "machine/ip: this host", "hosts"),
    ];
    match refused.iter().find(|(refused, ..)| *refused) {
        None => Ok(()),
        Some((_, what, key)) => Err(HostError::Policy(format!(
            "{what} is not granted to user id {owner}; the administrator can grant it with {key} under [policy] in nfio.toml"
        ))
        .into()),
    }
}
