//! The classes of errors. They are defined once, in the SDK, so that a plugin raises the same ones; the host adds
//! none. `NfioError` is the root, `HypervisorError`, `VnfConfigurationError` and `HostError` its families.

pub use middlebox_sdk::error::{HostError, HypervisorError, NfioError, Result, VnfConfigurationError};

/// Whether a disk refused to be written: full, over its quota, read-only. Such an error keeps its errno, whatever
/// failed over it: it tells what to mend.
pub fn is_of_the_disk(error: &NfioError) -> bool {
    matches!(error.errno(), libc::ENOSPC | libc::EDQUOT | libc::EROFS)
}

/// The most of it that one line shows, in characters.
const LINE: usize = 4096;

/// Text of a guest, a user or a plugin on one line of a log or a terminal, without anything that would make it two or
/// that a terminal would act on.
pub fn one_line(text: &str) -> String {
    let mut rest = text.trim().chars().map(|c| if is_plain(c) { c } else { ' ' });
    let mut line: String = rest.by_ref().take(LINE).collect();
    if rest.next().is_some() {
        line += " [...]";
    }
    line
}

/// Whether a character is shown as itself: it neither steers a terminal nor reverses or hides its neighbours.
pub fn is_plain(c: char) -> bool {
    let steers = matches!(
        c,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
    );
    !c.is_control() && !steers
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_others_say_stays_on_its_line() {
        assert_eq!(super::one_line("a\nERROR b\u{1b}[31m\r\u{9b}c\n"), "a ERROR b [31m  c");
        assert_eq!(super::one_line("a\u{202e}b\u{200b}ä"), "a b ä");
        assert_eq!(super::one_line(&"ä".repeat(5000)).chars().count(), super::LINE + " [...]".len());
    }
}
