//! Ten thousand instances: time to mount, to list, memory.

use nfio_tests::Mounted;
use std::fs;
use std::process::Command;

use crate::names::make_instances;
use crate::run;
use crate::table::{Table, Work, millis};

const INSTANCES: usize = 10_000;
/// The contract's limit, in MiB.
const MEMORY: f64 = 64.0;

/// Makes them, and measures a daemon that has just been mounted over them.
pub(crate) fn thousands(table: &mut Table) {
    let mounted = Mounted::new();
    let empty = mount_ms(&mounted);
    let made = millis(1, || make_instances(&mounted, INSTANCES)) / INSTANCES as f64;
    table.alone(Work::new("mkdir, 10 000 in a row", "ms", 1), vec![made]);
    let full = mount_ms(&mounted);
    table.pair(Work::new("mount", "ms", 1), ("10 000 instances", full), ("no instance", empty));
    let ty = mounted.path().join("nf-types/firewall");
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(millis(1, || run(Command::new("find").arg(&ty).args(["-size", "+9"]))));
    }
    table.alone(Work::new("find -size, 10 000 instances", "ms", 3), all);
    table.pair(
        Work::new("memory, 10 000 instances listed", "MiB", 1).at_most(1.0),
        ("mount", vec![resident(mounted.pid())]),
        ("limit", vec![MEMORY]),
    );
}

/// Milliseconds of `nfio mount`, some times.
fn mount_ms(mounted: &Mounted) -> Vec<f64> {
    (0..5)
        .map(|_| {
            mounted.umount();
            millis(1, || mounted.mount())
        })
        .collect()
}

/// Resident memory of a process in MiB.
fn resident(pid: i32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
}
