//! The standard files: those that the host answers, by their name in the skeleton.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::instance::Instance;
use super::{Verb, VnfsOperations, last_error};
use crate::beneath;
use crate::error::{NfioError, Result};

/// Longest text that is kept of a command's output, in bytes.
const OUTPUT_LIMIT: usize = 4 << 20;
/// Longest file that is read of what is kept, in bytes: nothing longer was ever written.
const KEPT_LIMIT: usize = 8 << 20;

impl VnfsOperations {
    /// Whether a standard file is answered without asking a driver.
    pub(super) fn answered_from_memory(name: &str) -> bool {
        matches!(name, "action" | "command" | "output" | "status" | "last_error" | "log")
    }

    /// The text of a standard value, or of what a verb shows.
    pub(super) fn read_standard(&self, instance: &Instance, name: &str) -> Result<Vec<u8>> {
        let text = match name {
            "action" => {
                let last = instance.last_verb().map_or("none", Verb::word);
                format!("# last: {last}\n# verbs: {}", Verb::words())
            }
            "command" => {
                "# write a command for the guest's shell; read its output from the same open file".into()
            }
            "output" => return read_kept(&instance.private("output")),
            "last_error" => return last_error::read(instance),
            "log" => return read_kept(&instance.private("log")),
            "status" => {
                let status = self.status(instance)?;
                self.notice(instance, status);
                status.to_string()
            }
            "machine/vm.ip" => self.ip(instance)?,
            "stats/rx_bytes" => self.counters(instance)?.rx_bytes.to_string(),
            "stats/tx_bytes" => self.counters(instance)?.tx_bytes.to_string(),
            "stats/pkt_drops" => self.counters(instance)?.pkt_drops.to_string(),
            _ => {
                let message = format!("this host has no standard file called {name}");
                return Err(NfioError::posix(libc::EOPNOTSUPP, message));
            }
        };
        Ok((text + "\n").into_bytes())
    }

    /// Keeps what a command printed, for `output`.
    pub(super) fn keep_output(&self, instance: &Instance, output: &[u8]) -> Result<()> {
        beneath::write_atomic(&instance.private("output"), &output[..output.len().min(OUTPUT_LIMIT)])
    }
}

/// A private file as it is; empty where it is missing.
pub(super) fn read_kept(path: &Path) -> Result<Vec<u8>> {
    Ok(beneath::read_own(path, KEPT_LIMIT)?.unwrap_or_default())
}

/// Length and time of a guest's log.
pub(super) fn log_attributes(log: &Path) -> Result<(u64, SystemTime)> {
    match beneath::open_own(log)? {
        Some(log) => {
            let metadata = log.metadata()?;
            Ok((metadata.len(), metadata.modified()?))
        }
        None => Ok((0, UNIX_EPOCH)),
    }
}

/// Bytes of the guest's log.
pub(super) fn read_log(instance: &Instance, offset: u64, length: usize) -> Result<Vec<u8>> {
    let Some(mut file) = beneath::open_own(&instance.private("log"))? else { return Ok(Vec::new()) };
    let mut data = Vec::new();
    file.seek(SeekFrom::Start(offset))?;
    file.take(length as u64).read_to_end(&mut data)?;
    Ok(data)
}

/// The last bytes of the guest's log, for a message.
pub(super) fn log_tail(instance: &Instance, length: u64) -> String {
    let tail = log_attributes(&instance.private("log"))
        .and_then(|(end, _)| read_log(instance, end.saturating_sub(length), length as usize));
    tail.map(|data| String::from_utf8_lossy(&data).trim().to_owned()).unwrap_or_default()
}
