//! The driver Docker, on engines of the test bed; one file a promise.

mod bad_input;
mod by_hand;
mod counters;
mod engines_fail;
mod guests;
mod life_cycle;
mod many;
mod outlives_nfio;

use nfio_tests::{Engine, Mounted};

/// Rules that drop pings.
const RULES: &str = "table inet filter {
  chain input {
    type filter hook input priority 0; policy accept;
    icmp type echo-request drop
  }
}
";

/// What the engine lists of a mount's guests: names and states.
fn listed(engine: &Engine, mounted: &Mounted) -> Vec<String> {
    let filter = format!("label=io.nfio.root={}", mounted.uuid());
    let listed = engine.docker(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}} {{.State}}"]);
    let mut names: Vec<_> = listed.lines().map(str::to_owned).collect();
    names.sort();
    names
}
