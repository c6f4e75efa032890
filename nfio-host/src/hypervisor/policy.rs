//! What a guest may have. Judged by the least privileged of those who can change the files that say so, never by who
//! wrote the verb: a tenant who may write `action` of an instance must not become root through it. Root may everything;
//! others what `[policy]` in nfio.toml grants.

use nix::sys::stat::FileStat;

use super::GuestSpec;
use crate::config::Policy;
use crate::error::{HostError, Result};

/// Somebody other than root who can change what a guest is, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant(String);

impl Tenant {
    /// Who besides root can change the file `path` with these attributes; None: root alone.
    pub fn of(path: &str, stat: &FileStat) -> Option<Self> {
        let who = match (stat.st_uid, stat.st_gid, stat.st_mode) {
            (uid @ 1.., ..) => format!("user id {uid}, who owns {path}"),
            (0, gid @ 1.., mode) if mode & libc::S_IWGRP != 0 => {
                format!("group id {gid}, which may write {path}")
            }
            (0, _, mode) if mode & libc::S_IWOTH != 0 => format!("everybody, who may write {path}"),
            _ => return None,
        };
        Some(Self(who))
    }
}

/// Judges `spec`, which `tenant` can change (None: root alone), and notes in it what the driver may believe of it.
///
/// # Errors
/// PolicyError (EPERM) that names the key of boot.conf or machine/ and the one in nfio.toml that would grant it.
pub fn judge(spec: &mut GuestSpec, tenant: Option<&Tenant>, policy: &Policy) -> Result<()> {
    spec.absolute_image = tenant.is_none() || policy.image_paths;
    let Some(Tenant(tenant)) = tenant else { return Ok(()) };
    let boot = &spec.boot;
    let beyond = |names: &[String]| {
        names.iter().any(|name| {
            !["NET_ADMIN", "NET_RAW"].contains(&name.as_str()) && !policy.capabilities.contains(name)
        })
    };
    let bridged = boot.interfaces.iter().any(|interface| interface.bridge.is_some());
    let refused = [
        (boot.privileged && !policy.privileged, "boot.conf: privileged", "privileged = true"),
        (beyond(&boot.capabilities.add), "boot.conf: capabilities.add", "capabilities"),
        (beyond(&spec.needs.capabilities), "what the type needs (capabilities)", "capabilities"),
        (
            !spec.needs.devices.is_empty() && !policy.devices,
            "what the type needs (devices)",
            "devices = true",
        ),
        (boot.pull && !policy.pull, "boot.conf: pull", "pull = true"),
        (!boot.ports.is_empty() && !policy.ports, "boot.conf: port", "ports = true"),
        (bridged && !policy.bridges, "boot.conf: interface.bridge", "bridges = true"),
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
            "{what} is not granted to {tenant}; the administrator can grant it with {key} under [policy] in nfio.toml"
        ))
        .into()),
    }
}
