//! What a guest may use: CPU, memory, processes, devices. Its groups are made with their limits, before anybody is in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Cgroup, PARENT, make_dir, write};

/// Processes and threads that a guest may have.
const PIDS_LIMIT: u32 = 1024;

/// Device nodes that every guest may open; any may be made (they do not open). The console (5:1) is the
/// machine's, not the guest's.
const DEVICES: [&str; 10] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
];

/// Microseconds in which a guest may use the CPU as long as its quota says; the kernel's default.
const PERIOD: u64 = 100_000;

/// What a guest may use.
#[derive(Debug, Clone, Default)]
pub(in crate::hypervisor::oci) struct Limits {
    pub(in crate::hypervisor::oci) vcpu: Option<f64>,
    pub(in crate::hypervisor::oci) memory: Option<u64>,
    /// Every device, for a privileged guest.
    pub(in crate::hypervisor::oci) all_devices: bool,
    /// Entries for devices.allow beside the default ones.
    pub(in crate::hypervisor::oci) devices: Vec<String>,
}

impl Cgroup {
    /// Whether something decides which device nodes open.
    pub(in crate::hypervisor::oci) fn guards_devices(&self) -> bool {
        self.hierarchies.iter().any(|h| h.controllers.iter().any(|c| c == "devices"))
    }

    /// Makes the guest's groups with their limits. A controller that is missing is an error where a limit was
    /// asked for; the limits that every guest gets are left out.
    pub(in crate::hypervisor::oci) fn make(&self, limits: &Limits) -> io::Result<()> {
        if let Some(vcpu) = limits.vcpu {
            let quota = (vcpu * PERIOD as f64).round() as u64;
            let (dir, v2) = self.group("cpu")?.ok_or_else(|| missing("cpu", "machine/vm.vcpu"))?;
            if v2 {
                write(&dir.join("cpu.max"), &format!("{quota} {PERIOD}"))?;
            } else {
                write(&dir.join("cpu.cfs_period_us"), &PERIOD.to_string())?;
                write(&dir.join("cpu.cfs_quota_us"), &quota.to_string())?;
            }
        }
        if let Some(memory) = limits.memory {
            let (dir, v2) = self.group("memory")?.ok_or_else(|| missing("memory", "machine/vm.memory"))?;
            let memory = memory.to_string();
            // Memory and swap together are the limit: a guest that exceeds it ends, it does not swap.
            let (limit, swap, none) = match v2 {
                true => ("memory.max", "memory.swap.max", "0"),
                false => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", memory.as_str()),
            };
            write(&dir.join(limit), &memory)?;
            if dir.join(swap).exists() {
                write(&dir.join(swap), none)?;
            }
        }
        if let Some((dir, _)) = self.group("pids")? {
            write(&dir.join("pids.max"), &PIDS_LIMIT.to_string())?;
        }
        if let Some((dir, _)) = self.group("devices")?
            && !limits.all_devices
        {
            write(&dir.join("devices.deny"), "a")?;
            for device in DEVICES.iter().copied().chain(limits.devices.iter().map(String::as_str)) {
                write(&dir.join("devices.allow"), device)?;
            }
        }
        self.group("freezer").map(drop)
    }

    /// The guest's directory in the hierarchy of that controller, made; None where there is no such controller.
    fn group(&self, controller: &str) -> io::Result<Option<(PathBuf, bool)>> {
        for hierarchy in self.hierarchies {
            let offered = hierarchy.controllers.iter().any(|c| c == controller);
            if !hierarchy.v2 && offered {
                return Ok(Some((make_dir(&hierarchy.mount, &self.short)?, false)));
            }
            if hierarchy.v2 && (offered || controller == "freezer") {
                if offered && !delegate(&hierarchy.mount, controller)? {
                    return Ok(None);
                }
                return Ok(Some((make_dir(&hierarchy.mount, &self.short)?, true)));
            }
        }
        Ok(None)
    }
}

/// Hands a controller of version 2 down to the guests' groups; false where the machine keeps it for itself.
fn delegate(mount: &Path, controller: &str) -> io::Result<bool> {
    make_dir(mount, "")?;
    for dir in [mount.to_path_buf(), mount.join(PARENT)] {
        let enabled = fs::read_to_string(dir.join("cgroup.subtree_control"))?;
        if !enabled.split_whitespace().any(|name| name == controller)
            && write(&dir.join("cgroup.subtree_control"), &format!("+{controller}")).is_err()
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn missing(controller: &str, key: &str) -> io::Error {
    io::Error::other(format!(
        "{key} cannot be kept: this machine has no {controller} control group; empty {key}, or mount one"
    ))
}
