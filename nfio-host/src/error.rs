//! Section 5's classes. They are defined once, in the SDK, so that a plugin raises the same ones; the host adds
//! none. `NfioError` is the root, `HypervisorError`, `VnfConfigurationError` and `HostError` its families.

pub use middlebox_sdk::error::{HostError, HypervisorError, NfioError, Result, VnfConfigurationError};

/// Text of a guest, a user or a plugin on one line of a log or a terminal, without anything that would make it two or
/// that a terminal would act on.
pub fn one_line(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_others_say_stays_on_its_line() {
        assert_eq!(super::one_line("a\nERROR b\u{1b}[31m\r\u{9b}c\n"), "a ERROR b [31m  c");
    }
}
