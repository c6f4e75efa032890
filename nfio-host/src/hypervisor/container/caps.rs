//! Which capabilities a guest gets: Docker's default set, NET_ADMIN (a middlebox's work), what the type needs,
//! what boot.conf adds and drops; never more than nfio itself holds.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use crate::error::{NfioError, Result};
use crate::hypervisor::GuestSpec;

/// Every capability, by number (capabilities(7)).
const ALL: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

const DEFAULT: [&str; 15] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// A set of names without `CAP_`.
pub(in crate::hypervisor) type Set = BTreeSet<&'static str>;

/// The capabilities of a guest. `devices_guarded`: a devices cgroup decides which device nodes open; without
/// one, MKNOD would be a way to the host's disks and is not in the default set.
pub(in crate::hypervisor) fn of(spec: &GuestSpec, held: &Set, devices_guarded: bool) -> Result<Set> {
    if spec.boot.privileged {
        return Ok(held.clone());
    }
    let (add, drop) = (&spec.boot.capabilities.add, &spec.boot.capabilities.drop);
    let mut set: Set = DEFAULT.into_iter().filter(|name| devices_guarded || *name != "MKNOD").collect();
    set.extend(names(&spec.needs.capabilities, "the type's needs")?);
    for name in names(drop, "boot.conf: [capabilities] drop")? {
        set.remove(name);
    }
    // As in Docker, what is added stands also beside `drop = ["ALL"]`.
    set.extend(names(add, "boot.conf: [capabilities] add")?);
    Ok(set.intersection(held).copied().collect())
}

/// Judges names; `ALL` is every one.
pub(in crate::hypervisor) fn names(list: &[String], place: &str) -> Result<Set> {
    let mut set = Set::new();
    for name in list {
        let plain = plain(name);
        if plain == "ALL" {
            set.extend(ALL);
        } else if let Some(known) = ALL.iter().find(|known| **known == plain.as_str()) {
            set.insert(known);
        } else {
            return Err(NfioError::configuration(format!(
                "{place}: {name:?} is no capability; see capabilities(7), names without CAP_"
            )));
        }
    }
    Ok(set)
}

/// Whether the list holds `ALL`.
pub(in crate::hypervisor) fn is_all(list: &[String]) -> bool {
    list.iter().any(|name| plain(name) == "ALL")
}

fn plain(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    name.strip_prefix("CAP_").map(str::to_owned).unwrap_or(name)
}

/// What this process can give away: its permitted and bounding sets.
pub(in crate::hypervisor) fn held() -> io::Result<Set> {
    let status = fs::read_to_string("/proc/self/status")?;
    let mask = |key: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
            .ok_or_else(|| io::Error::other(format!("/proc/self/status has no {key}")))
    };
    let mask = mask("CapPrm:")? & mask("CapBnd:")?;
    Ok(ALL.into_iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, name)| name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_drop_and_add_apply_in_this_order_and_never_exceed_what_is_held() {
        let held: Set = ALL.into_iter().filter(|name| *name != "SYS_RESOURCE").collect();
        let mut spec = GuestSpec::example();
        let set = of(&spec, &held, true).unwrap();
        assert!(set.contains("NET_ADMIN") && set.contains("MKNOD") && !set.contains("SYS_ADMIN"));
        assert!(!of(&spec, &held, false).unwrap().contains("MKNOD"));
        spec.needs.capabilities = vec!["SYS_NICE".into(), "SYS_RESOURCE".into()];
        spec.boot.capabilities.drop = vec!["net_raw".into()];
        let set = of(&spec, &held, true).unwrap();
        assert!(set.contains("SYS_NICE") && !set.contains("NET_RAW") && !set.contains("SYS_RESOURCE"));
        spec.boot.capabilities.drop = vec!["ALL".into()];
        spec.boot.capabilities.add = vec!["CAP_CHOWN".into()];
        assert_eq!(of(&spec, &held, true).unwrap(), Set::from(["CHOWN"]));
        spec.boot.capabilities.add = vec!["FLY".into()];
        assert!(of(&spec, &held, true).unwrap_err().to_string().contains("FLY"));
        spec.boot.privileged = true;
        assert_eq!(of(&spec, &held, true).unwrap(), held);
    }
}
