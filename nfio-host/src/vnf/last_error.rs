//! `last_error`: what the last verb, command or configure failed with. Reads never touch it; the next success empties
//! it; it survives a remount.

use nix::errno::Errno;
use std::time::SystemTime;

use super::disk::remove_synced;
use super::instance::Instance;
use crate::beneath;
use crate::error::{NfioError, Result, one_line};

const FILE: &str = "last_error";

/// Notes the outcome of an operation and hands it on. An outcome that cannot be noted is logged: the caller still
/// gets the operation's own.
pub(super) fn note<T>(instance: &Instance, operation: &str, outcome: Result<T>) -> Result<T> {
    let noted = match &outcome {
        Ok(_) => remove_synced(&instance.private(FILE)),
        Err(error) => {
            tracing::warn!("{operation} of {instance} failed: {}", one_line(&error.to_string()));
            beneath::write_atomic(&instance.private(FILE), text(operation, error).as_bytes())
        }
    };
    if let Err(e) = noted {
        tracing::error!("last_error of {instance} cannot be written: {e}");
    }
    outcome
}

fn text(operation: &str, error: &NfioError) -> String {
    let errno = Errno::from_raw(error.errno());
    let time = humantime::format_rfc3339_seconds(SystemTime::now());
    format!(
        "code: {}\nerror: {}\nerrno: {errno:?}\noperation: {operation}\ntime: {time}\nmessage: {error}\n",
        error.code(),
        error.name(),
    )
}

/// The text of `last_error`; empty after a success.
pub(super) fn read(instance: &Instance) -> Result<Vec<u8>> {
    super::standard::read_kept(&instance.private(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::VnfConfigurationError;

    #[test]
    fn the_lines_stand_in_the_order_of_the_contract() {
        let error = VnfConfigurationError::ImageNameIsEmpty("write an image".into()).into();
        let text = text("activate", &error);
        let keys: Vec<_> = text.lines().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(keys, ["code", "error", "errno", "operation", "time", "message"]);
        assert!(text.contains("code: 713\nerror: VNFImageNameIsEmptyError\nerrno: EINVAL\n"));
        assert!(text.ends_with("message: write an image\n"));
    }
}
