//! What the driver is told, and what counts where it is not.

use std::path::PathBuf;
use std::time::Duration;

/// How long a command in a guest may take. Callers give up much earlier (`[deadlines]`); this is when the
/// command goes too, and with it the helper and the thread that wait for it.
const COMMAND_LIMIT: Duration = Duration::from_secs(3600);

/// Addresses of guests where nfio.toml does not say.
pub const SUBNET: &str = "10.203.0.0/16";

/// What all nfio of this machine share: leases, and the lock of the bridge.
pub const RUN: &str = "/run/nfio";

/// The bridge of guests where nfio.toml does not say.
pub const BRIDGE: &str = "nfio0";

/// What the driver has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciConfig {
    /// Where guests live: one directory each, and unpacked images.
    pub state: PathBuf,
    /// Where images are looked for.
    pub images: PathBuf,
    /// Addresses of guests, an IPv4 network; the bridge has its first address.
    pub subnet: String,
    /// The bridge that guests are connected to; made and removed on demand.
    pub bridge: String,
    /// What all nfio of this machine share: leases and a lock.
    pub run: PathBuf,
    /// The binary that has the hidden subcommand `oci`.
    pub helper: PathBuf,
    /// How long a command in a guest may take before it is killed, in whole seconds.
    pub command_limit: Duration,
}

impl OciConfig {
    /// The defaults beside these directories.
    pub fn new(state: impl Into<PathBuf>, images: impl Into<PathBuf>) -> Self {
        Self {
            state: state.into(),
            images: images.into(),
            subnet: SUBNET.into(),
            bridge: BRIDGE.into(),
            run: RUN.into(),
            helper: "/proc/self/exe".into(),
            command_limit: COMMAND_LIMIT,
        }
    }
}
