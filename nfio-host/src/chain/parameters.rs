//! Kernel parameters that a chain needs in its namespaces. All of this concerns the calling thread's network namespace.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Flows are told by both addresses, protocol and both ports, the same for both directions: what a stateful function has
/// seen of a connection comes back to it. The policies that the kernel has by name would take a socket's random number
/// for the flow, which is another one for each direction.
const FLOWS: [(&str, &str); 2] =
    [("net/ipv4/fib_multipath_hash_fields", "55"), ("net/ipv4/fib_multipath_hash_policy", "3")];
/// Where the kernel knows nothing better (before 5.14): by flow, perhaps by another way back.
const FLOWS_OF_OLD: (&str, &str) = ("net/ipv4/fib_multipath_hash_policy", "1");
/// Interfaces' own parameters.
const INTERFACES: &str = "net/ipv4/conf";

/// A parameter that is to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// Path below /proc/sys.
    pub(super) key: String,
    pub(super) before: String,
    pub(super) value: String,
}

fn path(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key)
}

fn get(key: &str) -> io::Result<Option<String>> {
    match fs::read_to_string(path(key)) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Sets a parameter; one of an interface that is gone is none any more.
pub(super) fn set(key: &str, value: &str) -> io::Result<()> {
    match fs::write(path(key), value) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io::Error::new(
            e.kind(),
            format!("the sysctl {} cannot be set to {value}: {e}", key.replace('/', ".")),
        )),
        _ => Ok(()),
    }
}

/// Whether this namespace forwards packets.
pub(super) fn forwards() -> io::Result<bool> {
    Ok(get("net/ipv4/ip_forward")?.is_some_and(|value| value != "0"))
}

/// What is to be changed. `shares`: several ways lead on; `guest`: the namespace is a guest's.
pub(super) fn changes(shares: bool, guest: bool) -> io::Result<Vec<Change>> {
    let mut wanted: Vec<(String, String)> = Vec::new();
    if shares {
        let known = get(FLOWS[0].0)?.is_some();
        let flows: &[_] = if known { &FLOWS } else { &[FLOWS_OF_OLD] };
        wanted.extend(flows.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    }
    if guest {
        wanted.extend(reverse_paths()?);
    }
    let mut changes = Vec::new();
    for (key, value) in wanted {
        if let Some(before) = get(&key)?.filter(|before| *before != value) {
            changes.push(Change { key, before, value });
        }
    }
    Ok(changes)
}

/// A chain's links take packets from addresses that the guest's main table leads elsewhere. What holds for all interfaces
/// would hold for them too: it becomes the own setting of those that were there before.
fn reverse_paths() -> io::Result<Vec<(String, String)>> {
    let key = |interface: &str| format!("{INTERFACES}/{interface}/rp_filter");
    let all: u8 = get(&key("all"))?.and_then(|value| value.parse().ok()).unwrap_or(0);
    let mut wanted = Vec::new();
    if all == 0 {
        return Ok(wanted);
    }
    for interface in fs::read_dir(path(INTERFACES))? {
        let interface = interface?.file_name().to_string_lossy().into_owned();
        let own: u8 = get(&key(&interface))?.and_then(|value| value.parse().ok()).unwrap_or(0);
        if interface != "all" {
            wanted.push((key(&interface), own.max(all).to_string()));
        }
    }
    wanted.push((key("all"), "0".into()));
    Ok(wanted)
}

/// Readies an interface of ours: it takes what comes, of IPv4 alone. No rule of a function speaks of what it would
/// otherwise do by itself.
pub(super) fn ready(interface: &str) -> io::Result<()> {
    set(&format!("{INTERFACES}/{interface}/rp_filter"), "0")?;
    set(&format!("net/ipv6/conf/{interface}/disable_ipv6"), "1")
}
