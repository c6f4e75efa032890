//! What a guest was deployed with and libvirt does not keep: for its starts and its end.

use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::beneath;
use crate::error::Result;
use crate::hypervisor::GuestSpec;
use crate::hypervisor::container::sysctl::Sysctls;

/// Seconds that a guest gets to end by itself where boot.conf does not say.
const STOP_TIMEOUT: u32 = 10;

/// What is kept of a guest.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) sysctls: Sysctls,
    /// Seconds.
    pub(super) stop_timeout: u32,
    /// Device nodes that its type needs in it.
    pub(super) devices: Vec<String>,
}

impl Kept {
    /// What a guest is to be deployed with.
    pub(super) fn of(spec: &GuestSpec) -> Result<Self> {
        let stop_timeout = spec.boot.stop_timeout.unwrap_or(STOP_TIMEOUT);
        Ok(Self { sysctls: Sysctls::of(spec)?, stop_timeout, devices: spec.needs.devices.clone() })
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        beneath::write_atomic(path, &text)
    }

    /// Reads it; without it, as for a guest that asked for nothing.
    pub(super) fn read(path: &Path) -> Result<Self> {
        match fs::read(path) {
            Ok(text) => Ok(serde_json::from_slice(&text).map_err(io::Error::other)?),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                Ok(Self { sysctls: Sysctls::default(), stop_timeout: STOP_TIMEOUT, devices: Vec::new() })
            }
            Err(e) => Err(e.into()),
        }
    }
}
