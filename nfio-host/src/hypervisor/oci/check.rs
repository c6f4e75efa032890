//! What this driver can serve, judged before anything is touched.

use std::net::IpAddr;
use std::path::Path;

use super::caps;
use super::inside::parts;
use super::sysctl::Sysctls;
use crate::error::{HypervisorError, NfioError, Result, VnfConfigurationError};
use crate::hypervisor::GuestSpec;

/// The smallest memory that a container starts in (Docker's).
const LEAST_MEMORY: u64 = 6 << 20;

/// Everything but the image, which is judged where images are known.
pub(super) fn check(spec: &GuestSpec) -> Result<()> {
    host(&spec.host)?;
    uuid::Uuid::parse_str(&spec.labels.id)
        .map_err(|_| invalid(format!("the guest's id {:?} is no UUID", spec.labels.id)))?;
    unsupported(spec)?;
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
    caps::names(&boot.capabilities.add, "boot.conf: [capabilities] add")?;
    caps::names(&boot.capabilities.drop, "boot.conf: [capabilities] drop")?;
    caps::names(&spec.needs.capabilities, "the type's needs")?;
    Sysctls::of(spec)?;
    for device in &spec.needs.devices {
        if !device.starts_with("/dev/") || parts(Path::new(device)).is_err() {
            return Err(invalid(format!(
                "the type needs the device {device:?}, which is no path below /dev"
            )));
        }
    }
    limits(spec)
}

fn host(host: &str) -> Result<()> {
    match host {
        "127.0.0.1" | "::1" | "localhost" => Ok(()),
        "" => Err(VnfConfigurationError::HostNameIsEmpty(
            "machine/ip is empty: write 127.0.0.1 into it".into(),
        )
        .into()),
        other => Err(HypervisorError::Connection(format!(
            "machine/ip: the driver Oci runs guests on this machine alone and cannot reach {other}; write 127.0.0.1"
        ))
        .into()),
    }
}

/// Keys of boot.conf that other drivers serve.
fn unsupported(spec: &GuestSpec) -> Result<()> {
    let boot = &spec.boot;
    let keys = [
        ("pull", boot.pull),
        ("[[interface]]", !boot.interfaces.is_empty()),
        ("[[port]]", !boot.ports.is_empty()),
        ("[vm]", boot.vm.is_some()),
    ];
    match keys.iter().find(|(_, used)| *used) {
        Some((key, _)) => {
            Err(invalid(format!("boot.conf: {key}: the driver Oci does not serve it yet; take it out")))
        }
        None => Ok(()),
    }
}

/// `uid` or `uid:gid`, as numbers: names would be looked up in a file that the guest writes.
pub(super) fn user(text: Option<&str>) -> Result<(u32, u32)> {
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

/// A variable that exec can carry.
pub(super) fn environment(key: &str, value: &str) -> Result<()> {
    if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
        return Err(invalid(format!("env: {key:?} cannot be set: no =, no NUL byte, not empty")));
    }
    Ok(())
}

/// A command that exec can carry.
pub(super) fn command(words: &[String], place: &str) -> Result<()> {
    if words.first().is_none_or(String::is_empty) {
        return Err(invalid(format!("{place} is empty: name a program, or leave the key out")));
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err(invalid(format!("{place} holds a NUL byte")));
    }
    Ok(())
}

/// A place for a file in the guest.
pub(super) fn target(path: &str) -> Result<()> {
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

fn invalid(message: String) -> NfioError {
    NfioError::configuration(message)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::hypervisor::boot_conf::BootConf;
    use crate::hypervisor::guest::Labels;

    pub(in crate::hypervisor::oci) fn spec() -> GuestSpec {
        GuestSpec {
            labels: Labels {
                root: uuid::Uuid::new_v4().to_string(),
                ty: "firewall".into(),
                instance: "fw-a".into(),
                id: uuid::Uuid::new_v4().to_string(),
            },
            name: "root-firewall-fw-a".into(),
            host: "127.0.0.1".into(),
            user: "root".into(),
            image: "box".into(),
            absolute_image: false,
            vcpu: None,
            memory: None,
            boot: BootConf::default(),
            needs: Default::default(),
            files: Vec::new(),
            log: "/dev/null".into(),
        }
    }

    #[test]
    fn hosts_other_than_this_one_are_a_connection_error() {
        for (name, code) in [("127.0.0.1", 0), ("::1", 0), ("localhost", 0), ("", 714), ("10.0.0.1", 701)] {
            let spec = GuestSpec { host: name.into(), ..spec() };
            assert_eq!(check(&spec).err().map_or(0, |e| e.code()), code, "{name:?}");
        }
    }

    #[test]
    fn what_oci_does_not_serve_is_refused_by_its_key() {
        for (conf, key) in [
            ("pull = true", "pull"),
            ("[[interface]]\nname = \"eth1\"", "[[interface]]"),
            ("[[port]]\nhost = 1\nguest = 2", "[[port]]"),
            ("[vm]\nkernel = \"k\"", "[vm]"),
            ("user = \"root\"", "user"),
            ("user = \"4294967295\"", "user"),
            ("hostname = \"a b\"", "hostname"),
            ("dns = [\"ns.example\"]", "dns"),
            ("command = []", "command"),
            ("[env]\n\"A=B\" = \"1\"", "A=B"),
            ("[capabilities]\nadd = [\"FLY\"]", "FLY"),
            ("[sysctls]\n\"kernel.panic\" = \"1\"", "kernel.panic"),
        ] {
            let error = check(&GuestSpec { boot: BootConf::parse(conf).unwrap(), ..spec() }).unwrap_err();
            assert!(error.code() == 720 && error.to_string().contains(key), "{conf}: {error}");
        }
    }

    #[test]
    fn nonsense_limits_are_refused() {
        for spec in [
            GuestSpec { memory: Some(1), ..spec() },
            GuestSpec { vcpu: Some(f64::NAN), ..spec() },
            GuestSpec { vcpu: Some(0.0), ..spec() },
        ] {
            assert_eq!(check(&spec).unwrap_err().code(), 720);
        }
    }
}
