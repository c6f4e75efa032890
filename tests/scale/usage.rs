//! What a process holds.

use std::fs;

/// Descriptors, threads and memory of a process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
    /// Resident memory in KiB, code included.
    pub(crate) resident: u64,
    /// Of that what no file backs: heap, stacks, data.
    pub(crate) anonymous: u64,
}

impl Usage {
    /// That of a process of ours.
    pub(crate) fn of(pid: i32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the status of a process");
        let value = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of status");
            line.trim().trim_end_matches(" kB").parse().expect("a number")
        };
        Self {
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors").count() as u64,
            threads: value("Threads:"),
            resident: value("VmRSS:"),
            anonymous: value("RssAnon:"),
        }
    }
}
