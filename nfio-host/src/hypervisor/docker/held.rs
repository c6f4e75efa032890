//! The first process of a container of this machine, held so that a reused pid is never mistaken for it.

use std::fs;

use crate::hypervisor::container::process::Held;

/// Holds the process, if it is the container's: the engine may live in another PID namespace, and the process may have
/// ended meanwhile. Its control group is named after the container.
pub(super) fn hold(pid: i32, container: &str) -> Option<Held> {
    let held = Held::open(pid).ok()?;
    // Read after the pidfd was opened: as long as it lives, the pid is nobody else's.
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    (groups.contains(container) && held.alive()).then_some(held)
}
