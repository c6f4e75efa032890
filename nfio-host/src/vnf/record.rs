//! The record of a deployed instance: written and synced before the driver is called, removed after destroy. It alone
//! addresses the guest, whatever `machine/*` says meanwhile.

use serde::{Deserialize, Serialize};
use std::path::Path;

use crate::beneath;
use crate::error::{NfioError, Result};
use crate::hypervisor::Guest;
use crate::hypervisor::boot_conf::Restart;

/// Longest record that is read, in bytes.
const LIMIT: usize = 1 << 20;

/// A deployed instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The driver's name.
    pub(super) driver: String,
    /// What the user wants the guest to be.
    pub(super) wanted: Wanted,
    /// When nfio starts it again by itself, as boot.conf said at activate.
    #[serde(default)]
    pub(super) restart: Restart,
    /// The run that was configured last ([`Hypervisor::run_id`](crate::hypervisor::Hypervisor::run_id)); one that
    /// runs and is another has not got its rules yet.
    #[serde(default)]
    pub(super) configured: Option<String>,
    /// The guest.
    pub(super) guest: Guest,
}

/// What the user wants a guest to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Wanted {
    /// Running.
    Running,
    /// Stopped.
    Exited,
}

impl Record {
    /// Reads a record; None where there is none.
    pub(super) fn load(path: &Path) -> Result<Option<Self>> {
        let unreadable = |e: NfioError| NfioError::posix(libc::EIO, e.to_string());
        let Some(text) = beneath::read_own(path, LIMIT).map_err(unreadable)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&text);
        let broken = |e: toml::de::Error| {
            let message = format!("{} is damaged: {}; restore it from a backup", path.display(), e.message());
            NfioError::posix(libc::EIO, message)
        };
        toml::from_str(&text).map(Some).map_err(broken)
    }

    /// Writes the record, whole.
    pub(super) fn save(&self, path: &Path, write: fn(&Path, &[u8]) -> Result<()>) -> Result<()> {
        let text =
            toml::to_string(self).map_err(|e| NfioError::posix(libc::EIO, format!("a record: {e}")))?;
        write(path, text.as_bytes())
    }
}
