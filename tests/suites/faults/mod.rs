//! Faults, injected on purpose: nfio killed and engines stopped at each step of each verb, disks that are full or
//! read-only, guests that never answer, clocks that jump.

mod chains;
mod clocks;
mod disks;
mod docker;
mod oci;
mod overlap;
mod points;
mod skeletons;
mod stuck;
mod table;
mod waves;

/// Rules that drop pings.
const RULES: &str = "table inet filter {
  chain input {
    type filter hook input priority 0; policy accept;
    icmp type echo-request drop
  }
}
";
