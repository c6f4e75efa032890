//! Kernel parameters that a chain needs in its network stacks. What is read or set here is the calling thread's network
//! namespace's.

use std::collections::BTreeMap;
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

/// Whether packets are forwarded.
const FORWARDS: &str = "net/ipv4/ip_forward";

/// A parameter that is to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// Path below /proc/sys.
    pub(super) key: String,
    pub(super) before: String,
    pub(super) value: String,
}

/// The parameters of a network stack that matter here, as they are: path below /proc/sys and value.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Values(BTreeMap<String, String>);

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

impl Values {
    /// Those of this namespace.
    pub(super) fn here() -> io::Result<Self> {
        let mut keys: Vec<String> = FLOWS.iter().map(|(key, _)| (*key).to_owned()).collect();
        keys.push(FORWARDS.into());
        for interface in fs::read_dir(path(INTERFACES))? {
            keys.push(reverse_path(&interface?.file_name().to_string_lossy()));
        }
        let mut values = BTreeMap::new();
        for key in keys {
            if let Some(value) = get(&key)? {
                values.insert(key, value);
            }
        }
        Ok(Self(values))
    }

    /// Reads lines of key, colon and value.
    pub(super) fn parse(text: &str) -> Self {
        let pair = |line: &str| line.split_once(':').map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self(text.lines().filter_map(pair).collect())
    }

    /// Whether packets are forwarded.
    pub(super) fn forwards(&self) -> bool {
        self.0.get(FORWARDS).is_some_and(|value| value != "0")
    }

    /// What is to be changed. `shares`: several ways lead on; `guest`: the network stack is a guest's.
    pub(super) fn changes(&self, shares: bool, guest: bool) -> Vec<Change> {
        let mut wanted: Vec<(String, String)> = Vec::new();
        if shares {
            let flows: &[_] = if self.0.contains_key(FLOWS[0].0) { &FLOWS } else { &[FLOWS_OF_OLD] };
            wanted.extend(flows.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        }
        if guest {
            wanted.extend(self.reverse_paths());
        }
        let change = |(key, value)| {
            let before = self.0.get(&key).filter(|before| **before != value)?.clone();
            Some(Change { key, before, value })
        };
        wanted.into_iter().filter_map(change).collect()
    }

    /// A chain's links take packets from addresses that the guest's main table leads elsewhere. What holds for all
    /// interfaces would hold for them too: it becomes the own setting of those that were there before.
    fn reverse_paths(&self) -> Vec<(String, String)> {
        let number = |value: &String| value.parse::<u8>().unwrap_or(0);
        let for_all = reverse_path("all");
        let all = self.0.get(&for_all).map_or(0, number);
        if all == 0 {
            return Vec::new();
        }
        let own = self.0.iter().filter(|(key, _)| key.ends_with("/rp_filter") && **key != for_all);
        let mut wanted: Vec<_> =
            own.map(|(key, value)| (key.clone(), number(value).max(all).to_string())).collect();
        wanted.push((for_all, "0".into()));
        wanted
    }
}

/// The key of an interface's filter of reverse paths.
pub(super) fn reverse_path(interface: &str) -> String {
    format!("{INTERFACES}/{interface}/rp_filter")
}

/// The key that switches IPv6 of an interface off.
pub(super) fn no_ipv6(interface: &str) -> String {
    format!("net/ipv6/conf/{interface}/disable_ipv6")
}

/// Readies an interface of ours: it takes what comes, of IPv4 alone. No rule of a function speaks of what it would
/// otherwise do by itself.
pub(super) fn ready(interface: &str) -> io::Result<()> {
    set(&reverse_path(interface), "0")?;
    set(&no_ipv6(interface), "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_held_for_all_interfaces_becomes_the_setting_of_each() {
        let values = Values::parse(
            "net/ipv4/ip_forward:0\nnet/ipv4/fib_multipath_hash_policy:0\nnet/ipv4/conf/all/rp_filter:1\n\
             net/ipv4/conf/default/rp_filter:0\nnet/ipv4/conf/eth0/rp_filter:2\n",
        );
        assert!(!values.forwards());
        let told = |shares, guest| -> Vec<String> {
            let changes = values.changes(shares, guest).into_iter();
            changes.map(|Change { key, before, value }| format!("{key} {before} {value}")).collect()
        };
        assert_eq!(told(false, false), [""; 0]);
        let filters = ["net/ipv4/conf/default/rp_filter 0 1", "net/ipv4/conf/all/rp_filter 1 0"];
        assert_eq!(told(false, true), filters);
        // A kernel that cannot be told what makes a flow.
        assert_eq!(told(true, false), ["net/ipv4/fib_multipath_hash_policy 0 1"]);
    }
}
