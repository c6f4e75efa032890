//! What every driver of containers judges alike, before anything is touched.

use std::ffi::OsStr;
use std::io;
use std::net::IpAddr;
use std::path::{Component, Path};

use super::caps;
use crate::error::{NfioError, Result, is_plain};
use crate::hypervisor::GuestSpec;
use crate::hypervisor::boot_conf::Interface;

/// The smallest memory that a container starts in (Docker's).
const LEAST_MEMORY: u64 = 6 << 20;

/// All but host, image, sysctls and what one driver serves and another does not.
pub(in crate::hypervisor) fn check(spec: &GuestSpec) -> Result<()> {
    uuid::Uuid::parse_str(&spec.labels.id)
        .map_err(|_| invalid(format!("the guest's id {:?} is no UUID", spec.labels.id)))?;
    let boot = &spec.boot;
    user(boot.user.as_deref())?;
    hostname(boot.hostname.as_deref())?;
    for server in &boot.dns {
        server
            .parse::<IpAddr>()
            .map_err(|_| invalid(format!("boot.conf: dns: {server:?} is no address of a name server")))?;
    }
    for (key, value) in &boot.env {
        environment(key, value)?;
    }
    for (key, words) in [("command", &boot.command), ("entrypoint", &boot.entrypoint)] {
        if let Some(words) = words {
            command(words, &format!("boot.conf: {key}"))?;
        }
    }
    for file in &spec.files {
        target(&file.path)?;
    }
    for interface in &boot.interfaces {
        connections(interface)?;
    }
    caps::names(&boot.capabilities.add, "boot.conf: [capabilities] add")?;
    caps::names(&boot.capabilities.drop, "boot.conf: [capabilities] drop")?;
    caps::names(&spec.needs.capabilities, "the type's needs")?;
    for device in &spec.needs.devices {
        if !device.starts_with("/dev/") || parts(Path::new(device)).is_err() {
            return Err(invalid(format!(
                "the type needs the device {device:?}, which is no path below /dev"
            )));
        }
    }
    limits(spec)
}

/// Refuses the first key of boot.conf that is used and that `driver` does not serve.
pub(in crate::hypervisor) fn unsupported(driver: &str, keys: &[(&str, bool)]) -> Result<()> {
    match keys.iter().find(|(_, used)| *used) {
        Some((key, _)) => {
            Err(invalid(format!("boot.conf: {key}: the driver {driver} does not serve it; take it out")))
        }
        None => Ok(()),
    }
}

/// `uid` or `uid:gid`, as numbers: names would be looked up in a file that the guest writes.
pub(in crate::hypervisor) fn user(text: Option<&str>) -> Result<(u32, u32)> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok((0, 0)) };
    let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
    match (uid.parse::<u32>(), gid.parse::<u32>()) {
        // The highest number means "leave it as it is" to the kernel.
        (Ok(uid), Ok(gid)) if uid != u32::MAX && gid != u32::MAX => Ok((uid, gid)),
        _ => Err(invalid(format!("boot.conf: user: {text:?} is neither uid nor uid:gid (numbers)"))),
    }
}

fn hostname(name: Option<&str>) -> Result<()> {
    let sound = |name: &str| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    match name {
        Some(name) if !sound(name) => Err(invalid(format!(
            "boot.conf: hostname: {name:?} is no host name (up to 64 letters, digits, dots and hyphens)"
        ))),
        _ => Ok(()),
    }
}

/// What an interface is connected to: names that an engine can look up, whether or not it has such a thing.
fn connections(interface: &Interface) -> Result<()> {
    let plain = |name: &str| !name.is_empty() && name.len() <= 255 && name.chars().all(is_plain);
    let of_kernel = |name: &str| {
        plain(name) && name.len() <= 15 && !name.contains(|c: char| c == '/' || c.is_whitespace())
    };
    match (&interface.network, &interface.bridge) {
        (Some(name), _) if !plain(name) => {
            Err(invalid(format!("boot.conf: [[interface]] network = {name:?} is no name of a network")))
        }
        (_, Some(name)) if !of_kernel(name) => {
            Err(invalid(format!("boot.conf: [[interface]] bridge = {name:?} is no name of a bridge")))
        }
        _ => Ok(()),
    }
}

/// A variable that exec can carry.
pub(in crate::hypervisor) fn environment(key: &str, value: &str) -> Result<()> {
    if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
        return Err(invalid(format!("env: {key:?} cannot be set: no =, no NUL byte, not empty")));
    }
    Ok(())
}

/// A command that exec can carry.
pub(in crate::hypervisor) fn command(words: &[String], place: &str) -> Result<()> {
    if words.first().is_none_or(String::is_empty) {
        return Err(invalid(format!("{place} is empty: name a program, or leave the key out")));
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err(invalid(format!("{place} holds a NUL byte")));
    }
    Ok(())
}

/// A place for a file in the guest.
pub(in crate::hypervisor) fn target(path: &str) -> Result<()> {
    let sound = path.starts_with('/')
        && !path.contains('\0')
        && parts(Path::new(path)).is_ok_and(|names| !names.is_empty());
    match sound {
        true => Ok(()),
        false => Err(invalid(format!("{path:?} is no absolute path of a file in the guest"))),
    }
}

fn limits(spec: &GuestSpec) -> Result<()> {
    if let Some(vcpu) = spec.vcpu
        && !(0.01..=4096.0).contains(&vcpu)
    {
        return Err(invalid(format!("machine/vm.vcpu: {vcpu} is not between 0.01 and 4096")));
    }
    if let Some(memory) = spec.memory
        && memory < LEAST_MEMORY
    {
        return Err(invalid(format!("machine/vm.memory: {memory} bytes are too few; a container needs 6M")));
    }
    Ok(())
}

/// The names in a path; `..` is refused, as what it means would depend on links in between.
pub(in crate::hypervisor) fn parts(path: &Path) -> io::Result<Vec<&OsStr>> {
    path.components()
        .filter(|part| !matches!(part, Component::RootDir | Component::CurDir))
        .map(|part| match part {
            Component::Normal(name) => Ok(name),
            _ => Err(io::Error::other(format!("the path {} has a .. in it", path.display()))),
        })
        .collect()
}

fn invalid(message: String) -> NfioError {
    NfioError::configuration(message)
}
