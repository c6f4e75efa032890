//! Service chains: real guests, wired by `mkdir` and `ln -s`, forward real packets between real namespaces.

mod abuse;
mod crashes;
mod docker;
mod machines;
mod refusals;
mod restarts;
mod sharing;
mod traffic;
mod tree;

use nfio_tests::{Instance, Mounted, Space};

/// The server's address, behind every chain here.
const SERVER: &str = "198.51.100.10";
/// The client's own address.
const CLIENT: &str = "192.0.2.10";

/// Rules that let nothing of this port pass.
fn without(port: u16) -> String {
    format!(
        "table inet filter {{\n  chain forward {{\n    type filter hook forward priority 0; policy accept;\n    \
         tcp dport {port} drop\n  }}\n}}\n"
    )
}

/// A client and a server, each in a namespace that knows nothing of the other.
fn ends() -> (Space, Space) {
    (Space::new(&[&format!("{CLIENT}/32")]), Space::new(&[&format!("{SERVER}/32")]))
}

/// A firewall that runs.
#[track_caller]
fn running(mounted: &Mounted, name: &str) -> Instance {
    let firewall = mounted.firewall(name);
    firewall.act("activate");
    firewall
}

/// Addresses that chains of this ROOT hold.
pub(crate) fn leases(mounted: &Mounted) -> Vec<String> {
    let chains = mounted.root().join(".nfio/chains");
    let all = std::fs::read_dir("/run/nfio/leases").into_iter().flatten().flatten();
    let held = all.filter(|lease| {
        let holder = std::fs::read_to_string(lease.path()).unwrap_or_default();
        std::path::Path::new(&holder).starts_with(&chains)
    });
    held.map(|lease| lease.file_name().to_string_lossy().into_owned()).collect()
}
