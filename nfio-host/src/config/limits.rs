//! `[deadlines]`, `[policy]`, `[modules]`: how long an answer may take, what others than root may have, which plugins are
//! trusted.

use serde::{Deserialize, Deserializer};
use std::time::Duration;

/// `[deadlines]`, in whole seconds, at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Deadlines {
    /// For reads of special files.
    #[serde(deserialize_with = "seconds")]
    pub read: Duration,
    /// For `command`, and for each call of a module within a verb (`prepare`, `configure`, `write` to its own verbs).
    #[serde(deserialize_with = "seconds")]
    pub verb: Duration,
    /// For a write to `action` or to a module's own verb, from its begin to the caller's answer.
    #[serde(deserialize_with = "seconds")]
    pub activate: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            read: Duration::from_secs(5),
            verb: Duration::from_secs(60),
            activate: Duration::from_secs(60),
        }
    }
}

fn seconds<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Duration, D::Error> {
    match u64::deserialize(from)? {
        0 => Err(serde::de::Error::custom("a deadline is at least 1 second")),
        seconds => Ok(Duration::from_secs(seconds)),
    }
}

/// `[policy]`: what instances of others than root may ask for in `boot.conf` and `machine/*`. Nothing, unless it is
/// granted here. Root's instances may everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// `privileged = true`.
    pub privileged: bool,
    /// Devices of the host.
    pub devices: bool,
    /// Paths of the host within the guest.
    pub host_paths: bool,
    /// Interfaces on bridges of the host.
    pub bridges: bool,
    /// Published ports.
    pub ports: bool,
    /// `pull = true`.
    pub pull: bool,
    /// Images by absolute path.
    pub image_paths: bool,
    /// Capabilities beside the default set, without `CAP_`.
    pub capabilities: Vec<String>,
    /// Hosts that may be named in `machine/ip`.
    pub hosts: Vec<String>,
    /// What may be named in `ingress` and `egress` of a chain, as it is written there.
    pub chain_ends: Vec<String>,
}

/// `[modules]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Modules {
    /// SHA-256 of the plugins that may be loaded, 64 hexadecimal digits each; not set: all that are trusted by
    /// owner and mode.
    #[serde(deserialize_with = "digests")]
    pub sha256: Option<Vec<String>>,
}

fn digests<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Option<Vec<String>>, D::Error> {
    let mut list = Vec::<String>::deserialize(from)?;
    for digest in &mut list {
        if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(serde::de::Error::custom(format!(
                "{digest:?} is not a SHA-256 of 64 hexadecimal digits"
            )));
        }
        digest.make_ascii_lowercase();
    }
    Ok(Some(list))
}
