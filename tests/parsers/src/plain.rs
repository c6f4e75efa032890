//! What every refusal must be.

use nfio_host::error::{NfioError, is_plain};

/// A refusal of this class: one line, which a terminal shows as it is, and not endless.
#[track_caller]
pub(crate) fn refused(error: &NfioError, code: i32) {
    assert_eq!(error.code(), code, "{error}");
    sentence(error);
}

/// One plain line of a length that somebody reads.
#[track_caller]
pub(crate) fn sentence(error: &NfioError) {
    let text = error.to_string();
    let odd = text.chars().find(|c| !is_plain(*c));
    assert!(odd.is_none(), "{odd:?} in {text:?}");
    assert!(!text.trim().is_empty(), "an empty sentence");
    assert!(text.len() < 40_000, "a sentence of {} bytes", text.len());
}
