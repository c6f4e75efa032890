//! The OCI runtime specification of a guest: what libcontainer makes of it. Seccomp is not in it (see
//! [`super::seccomp`]), nor are limits (see [`super::cgroup`]).

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::cgroup::{Cgroup, Limits};
use super::inside::Inside;
use super::state::{Deployed, GuestDir};
use crate::error::{HypervisorError, NfioError, Result};
use crate::hypervisor::container::caps::Set;
use crate::hypervisor::container::check::{command, environment, user};
use crate::hypervisor::container::sysctl::Sysctls;
use crate::hypervisor::{GuestSpec, Prepared};

/// What a guest's programs begin with, whatever nfio was started with.
pub(super) const UMASK: u32 = 0o022;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where an image may say what it runs: one word of the command line per line.
const COMMAND_FILE: &str = "/etc/nfio/command";

// Docker's lists: parts of /proc and /sys that show or change the host.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A device node of the host that the guest gets.
#[derive(Debug)]
pub(super) struct Device {
    path: String,
    kind: char,
    major: u64,
    minor: u64,
    mode: u32,
}

impl Device {
    pub(super) fn find(path: &str) -> Result<Self> {
        let refuse = |why: String| {
            NfioError::from(HypervisorError::Deploy(format!(
                "the type needs the device {path}, which this machine does not have: {why}"
            )))
        };
        let meta = fs::metadata(path).map_err(|e| refuse(e.to_string()))?;
        let kind = match meta.file_type() {
            kind if kind.is_char_device() => 'c',
            kind if kind.is_block_device() => 'b',
            _ => return Err(refuse("it is no device node".into())),
        };
        let number = meta.rdev();
        Ok(Self {
            path: path.into(),
            kind,
            major: u64::from(libc::major(number)),
            minor: u64::from(libc::minor(number)),
            mode: meta.mode() & 0o777,
        })
    }
}

/// The limits of a guest, for its control groups.
pub(super) fn limits(spec: &GuestSpec, devices: &[Device]) -> Limits {
    Limits {
        vcpu: spec.vcpu,
        memory: spec.memory,
        all_devices: spec.boot.privileged,
        devices: devices.iter().map(|d| format!("{} {}:{} rwm", d.kind, d.major, d.minor)).collect(),
    }
}

/// The bundle's config.json.
pub(super) fn config(
    dir: &GuestDir,
    deployed: &Deployed,
    prepared: &Prepared,
    inside: &Inside,
    caps: &Set,
    devices: &[Device],
) -> Result<Value> {
    let spec = &deployed.spec;
    let (uid, gid) = user(spec.boot.user.as_deref())?;
    let caps: Vec<String> = caps.iter().map(|name| format!("CAP_{name}")).collect();
    let devices: Vec<Value> = devices
        .iter()
        .map(|d| {
            let kind = d.kind.to_string();
            json!({"path": d.path, "type": kind, "major": d.major, "minor": d.minor, "fileMode": d.mode, "uid": 0, "gid": 0})
        })
        .collect();
    let mut linux = json!({
        "cgroupsPath": Cgroup::path(&deployed.short),
        "namespaces": namespaces(),
        "devices": devices,
        "sysctl": Sysctls::of(spec)?.ipc,
    });
    if !spec.boot.privileged {
        linux["maskedPaths"] = json!(MASKED);
        linux["readonlyPaths"] = json!(READ_ONLY);
    }
    Ok(json!({
        "ociVersion": "1.0.2",
        "hostname": hostname(spec),
        "root": {"path": dir.join("rootfs"), "readonly": false},
        "mounts": mounts(spec.boot.privileged),
        "process": {
            "terminal": false,
            "cwd": "/",
            "args": arguments(spec, prepared, inside)?,
            "env": env(spec, prepared, &home(inside, uid))?,
            "user": {"uid": uid, "gid": gid, "umask": UMASK},
            // A service that is kept from the kernel's memory killer must not hand that on to its guests.
            "oomScoreAdj": oom_score()?.max(0),
            "noNewPrivileges": !spec.boot.privileged,
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps, "inheritable": [], "ambient": []},
        },
        "linux": linux,
    }))
}

/// The guest's host name.
pub(in crate::hypervisor) fn hostname(spec: &GuestSpec) -> &str {
    spec.boot.hostname.as_deref().unwrap_or(&spec.labels.instance)
}

fn namespaces() -> Vec<Value> {
    let mut kinds = vec!["pid", "network", "ipc", "uts", "mount"];
    if Path::new("/proc/self/ns/cgroup").exists() {
        kinds.push("cgroup");
    }
    kinds.into_iter().map(|kind| json!({"type": kind})).collect()
}

/// Docker's mounts, but for the control groups: a guest has no business there.
fn mounts(privileged: bool) -> Value {
    let sys = if privileged { "rw" } else { "ro" };
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
         "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", sys]},
    ])
}

/// This process's weight for the kernel's memory killer.
pub(super) fn oom_score() -> io::Result<i32> {
    fs::read_to_string("/proc/self/oom_score_adj")?.trim().parse().map_err(io::Error::other)
}

/// The user's home, as the image's /etc/passwd tells it. Asked here and not left to libcontainer: it would ask
/// the C library, inside the guest, and that loads what the guest's nsswitch.conf names into a process of ours.
pub(in crate::hypervisor) fn home(inside: &Inside, uid: u32) -> String {
    let passwd = inside.read(Path::new("/etc/passwd"), 1 << 20).ok().flatten().unwrap_or_default();
    let uid = uid.to_string();
    let home = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2) == Some(&uid.as_str())).then(|| fields.get(5).copied().unwrap_or_default())
    });
    let fallback = if uid == "0" { "/root" } else { "/" };
    home.filter(|home| home.starts_with('/') && !home.contains('\0')).unwrap_or(fallback).into()
}

/// The environment of the guest's first process.
pub(in crate::hypervisor) fn env(spec: &GuestSpec, prepared: &Prepared, home: &str) -> Result<Vec<String>> {
    let mut env = BTreeMap::from([("PATH", PATH), ("HOSTNAME", hostname(spec)), ("HOME", home)]);
    env.extend(spec.boot.env.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    for (key, value) in &prepared.env {
        environment(key, value)?;
        env.insert(key, value);
    }
    // Empty it would be looked up after all.
    if env.get("HOME").is_some_and(|set| set.is_empty()) {
        env.insert("HOME", home);
    }
    Ok(env.into_iter().map(|(key, value)| format!("{key}={value}")).collect())
}

/// What the guest runs: boot.conf, else the type, else the image's own word, else its init.
pub(in crate::hypervisor) fn arguments(
    spec: &GuestSpec,
    prepared: &Prepared,
    inside: &Inside,
) -> Result<Vec<String>> {
    let mut words = spec.boot.entrypoint.clone().unwrap_or_default();
    if let Some(own) = spec.boot.command.as_ref().or(prepared.command.as_ref()) {
        command(own, "the type's command")?;
        words.extend(own.iter().cloned());
    }
    if !words.is_empty() {
        return Ok(words);
    }
    if let Some(text) = inside.read(Path::new(COMMAND_FILE), 1 << 16).map_err(unreadable)? {
        let words: Vec<String> = text.lines().filter(|line| !line.is_empty()).map(String::from).collect();
        command(&words, &format!("the image's {COMMAND_FILE}"))?;
        return Ok(words);
    }
    if inside.exists(Path::new("/sbin/init")) {
        return Ok(vec!["/sbin/init".into()]);
    }
    Err(HypervisorError::Start(format!(
        "the image {} does not say what it runs: set command in config/boot.conf (or put {COMMAND_FILE}, one \
         word a line, into the image)",
        spec.image
    ))
    .into())
}

fn unreadable(e: io::Error) -> NfioError {
    HypervisorError::Start(format!("{COMMAND_FILE} of the image cannot be read: {e}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_boot_confs_then_the_types_then_the_images() {
        let root = tempfile::tempdir().unwrap();
        let inside = Inside::open(root.path()).unwrap();
        let (mut spec, mut prepared) = (GuestSpec::example(), Prepared::default());
        let error = arguments(&spec, &prepared, &inside).unwrap_err();
        assert!(error.code() == 707 && error.to_string().contains("command in config/boot.conf"), "{error}");
        inside.write(Path::new("/sbin/init"), 0o755, b"").unwrap();
        assert_eq!(arguments(&spec, &prepared, &inside).unwrap(), ["/sbin/init"]);
        inside.write(Path::new(COMMAND_FILE), 0o644, b"/bin/sleep\n1\n").unwrap();
        assert_eq!(arguments(&spec, &prepared, &inside).unwrap(), ["/bin/sleep", "1"]);
        prepared.command = Some(vec!["type".into()]);
        assert_eq!(arguments(&spec, &prepared, &inside).unwrap(), ["type"]);
        spec.boot.command = Some(vec!["conf".into()]);
        spec.boot.entrypoint = Some(vec!["entry".into()]);
        assert_eq!(arguments(&spec, &prepared, &inside).unwrap(), ["entry", "conf"]);
    }

    #[test]
    fn the_types_environment_wins_over_boot_confs() {
        let mut spec = GuestSpec::example();
        spec.boot.env.insert("A".into(), "boot".into());
        let prepared = Prepared { env: vec![("A".into(), "type".into())], ..Prepared::default() };
        let env = env(&spec, &prepared, "/root").unwrap();
        assert!(env.contains(&"A=type".to_owned()) && env.iter().any(|e| e.starts_with("PATH=")));
        assert!(env.contains(&"HOSTNAME=fw-a".to_owned()));
        spec.boot.env.insert("HOME".into(), String::new());
        assert!(super::env(&spec, &prepared, "/h").unwrap().contains(&"HOME=/h".to_owned()));
    }

    #[test]
    fn home_is_what_the_images_passwd_says_and_never_empty() {
        let root = tempfile::tempdir().unwrap();
        let inside = Inside::open(root.path()).unwrap();
        assert_eq!((home(&inside, 0), home(&inside, 7)), ("/root".into(), "/".into()));
        let passwd = b"root:x:0:0::/:/bin/sh\nbroken\na:x:7:7::/home/a:\nb:x:8:8:::\nc:x:9:9::relative:\n";
        inside.write(Path::new("/etc/passwd"), 0o644, passwd).unwrap();
        assert_eq!((home(&inside, 0), home(&inside, 7)), ("/".into(), "/home/a".into()));
        assert_eq!((home(&inside, 8), home(&inside, 9)), ("/".into(), "/".into()));
    }
}
