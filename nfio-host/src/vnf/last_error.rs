//! `last_error`: what the last verb, command or configure failed with. Reads never touch it; the next success empties
//! it; it survives a remount.

use nix::errno::Errno;
use std::time::SystemTime;

use super::disk::remove_synced;
use super::instance::Kept;
use crate::beneath;
use crate::error::{NfioError, Result, is_plain, one_line};

const FILE: &str = "last_error";
/// Longest message, in bytes: a guest or a file may have said a great deal.
const MESSAGE: usize = 16 << 10;

/// Notes the outcome of an operation and hands it on. An outcome that cannot be noted is logged: the caller still
/// gets the operation's own.
pub(crate) fn note<T>(instance: &dyn Kept, operation: &str, outcome: Result<T>) -> Result<T> {
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
        "code: {}\nerror: {}\nerrno: {errno:?}\noperation: {operation}\ntime: {time}\nmessage: {}\n",
        error.code(),
        error.name(),
        plain(&error.to_string()),
    )
}

/// The message as it is shown: whatever a terminal would act on is spelt out, and of one that is too long there is the
/// beginning (which says what failed) and the end (a log's last words).
fn plain(text: &str) -> String {
    let cut = |bytes| String::from_utf8_lossy(bytes);
    let bytes = text.as_bytes();
    let parts = match bytes.len() {
        0..=MESSAGE => vec![text.into()],
        length => vec![cut(&bytes[..MESSAGE / 2]), " [...] ".into(), cut(&bytes[length - MESSAGE / 2..])],
    };
    let mut plain = String::new();
    for c in parts.iter().flat_map(|part| part.chars()) {
        match c {
            '\n' | '\t' => plain.push(c),
            _ if !is_plain(c) => plain.extend(c.escape_default()),
            _ => plain.push(c),
        }
    }
    plain
}

/// The text of `last_error`; empty after a success.
pub(crate) fn read(instance: &dyn Kept) -> Result<Vec<u8>> {
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

    #[test]
    fn what_others_say_is_shown_in_plain_text_and_cut_in_the_middle() {
        assert_eq!(plain("a\n\tb ä \u{1b}[31m\r\0\u{202e}x"), "a\n\tb ä \\u{1b}[31m\\r\\u{0}\\u{202e}x");
        let long = format!("what failed{}last words", "ä".repeat(MESSAGE));
        let shown = plain(&long);
        assert!(shown.len() <= MESSAGE + 20, "{}", shown.len());
        assert!(shown.starts_with("what failedä") && shown.ends_with("älast words"));
    }
}
