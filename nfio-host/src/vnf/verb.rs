//! The words of `action`.

use std::fmt;

use crate::error::{HostError, NfioError, Result};

/// How much of an unknown word is shown, in characters.
const SHOWN: usize = 40;

/// A verb, or a goal for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Deploy, prepare, start, configure.
    Activate,
    /// Prepare, start, configure.
    Start,
    /// Stop.
    Stop,
    /// Stop, then as start.
    Restart,
    /// Freeze.
    Pause,
    /// Thaw.
    Unpause,
    /// Configure.
    Reload,
    /// Remove the guest.
    Destroy,
    /// Goal: whatever it takes to run.
    Running,
    /// Goal: deployed, but not running.
    Exited,
    /// Goal: no guest.
    Undeployed,
    /// Drop the record of a guest whose host is gone for good.
    Forget,
}

impl Verb {
    /// All of them, as `action` lists them.
    pub const ALL: [Self; 12] = [
        Self::Activate,
        Self::Start,
        Self::Stop,
        Self::Restart,
        Self::Pause,
        Self::Unpause,
        Self::Reload,
        Self::Destroy,
        Self::Running,
        Self::Exited,
        Self::Undeployed,
        Self::Forget,
    ];

    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::Unpause => "unpause",
            Self::Reload => "reload",
            Self::Destroy => "destroy",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Undeployed => "undeployed",
            Self::Forget => "forget",
        }
    }

    /// Reads a word.
    ///
    /// # Errors
    /// UnknownVerb that lists the known ones.
    pub fn parse(word: &str) -> Result<Self> {
        find(word, &Self::ALL, Self::word, "verb")
    }

    /// All words, separated by blanks.
    pub fn words() -> String {
        Self::ALL.map(Self::word).join(" ")
    }

    /// Whether it needs no module: what gets rid of a guest must always work.
    pub fn works_without_module(self) -> bool {
        matches!(self, Self::Stop | Self::Destroy | Self::Forget | Self::Exited | Self::Undeployed)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Finds a word among those that `of` gives; `what` is what they are, for the message.
///
/// # Errors
/// UnknownVerb that shows the word's begin, with what steers a terminal escaped, and lists the known ones.
pub(crate) fn find<V: Copy>(word: &str, all: &[V], of: fn(V) -> &'static str, what: &str) -> Result<V> {
    all.iter().copied().find(|verb| of(*verb) == word).ok_or_else(|| {
        let mut shown: String = word.chars().take(SHOWN).collect();
        if shown.len() < word.len() {
            shown += "[...]";
        }
        let words = all.iter().map(|verb| of(*verb)).collect::<Vec<_>>().join(" ");
        HostError::UnknownVerb(format!("{shown:?} is no {what}; use one of: {words}")).into()
    })
}

/// An archiver pads what is shorter than its size with NULs: a restored verb ends in them, and they say nothing.
fn without_padding(data: &[u8]) -> &[u8] {
    let end = data.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &data[..end]
}

/// Whether a line is blank or a comment, in whatever encoding it is written.
fn is_silent(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line);
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

/// Whether a write to a verb holds nothing but blank lines and comments.
pub fn says_nothing(data: &[u8]) -> bool {
    without_padding(data).split(|byte| *byte == b'\n').all(is_silent)
}

/// Runs the lines of one write in order: what a line is, `each` decides. Blank lines and comments do nothing, so that
/// copying or restoring a tree runs nothing. Answers how many bytes are done; the errno only where the very first
/// line that does something failed.
pub fn run_lines(data: &[u8], mut each: impl FnMut(&str) -> Result<()>) -> Result<usize> {
    let padding = data.len() - without_padding(data).len();
    let mut done = 0;
    for line in without_padding(data).split_inclusive(|byte| *byte == b'\n') {
        let outcome = match std::str::from_utf8(line).map(str::trim) {
            _ if is_silent(line) => Ok(()),
            Ok(word) => each(word),
            Err(_) => Err(NfioError::from(HostError::UnknownVerb(
                "a line is not UTF-8 text; write one verb a line".into(),
            ))),
        };
        match outcome {
            Ok(()) => done += line.len(),
            Err(e) if done == 0 => return Err(e),
            Err(_) => return Ok(done),
        }
    }
    Ok(done + padding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back_and_others_are_refused_with_the_list() {
        for verb in Verb::ALL {
            assert_eq!(Verb::parse(verb.word()).unwrap(), verb);
        }
        let error = Verb::parse("frobnicate").unwrap_err();
        assert_eq!((error.code(), error.errno()), (721, libc::EINVAL));
        let told = error.to_string();
        assert!(
            told.contains(&format!("\"frobnicate\" is no verb; use one of: {}", Verb::words())),
            "{told}"
        );
    }

    #[test]
    fn an_unknown_word_is_shown_escaped_once_and_not_at_length() {
        let told = Verb::parse("\u{1b}[2J\u{202e}st\"op").unwrap_err().to_string();
        assert!(told.contains(r#""\u{1b}[2J\u{202e}st\"op" is no verb"#), "{told}");
        let told = Verb::parse(&"ä".repeat(41)).unwrap_err().to_string();
        assert!(told.contains(&format!("\"{}[...]\" is no verb", "ä".repeat(40))), "{told}");
    }

    #[test]
    fn lines_run_in_order_and_comments_do_nothing() {
        let mut ran = Vec::new();
        let data = b"# last: activate\n\n stop \nstart";
        let done = run_lines(data, |word| {
            ran.push(word.to_owned());
            Ok(())
        });
        assert_eq!((done.unwrap(), ran), (data.len(), vec!["stop".to_owned(), "start".to_owned()]));
    }

    #[test]
    fn blank_lines_and_comments_say_nothing() {
        assert!(says_nothing(b"") && says_nothing(b"\n # last: x\n\n#\n\0\0\0"));
        assert_eq!(run_lines(b"# last: x\n\0\0", |_| unreachable!()).unwrap(), 12);
        assert_eq!(
            run_lines(b"# caf\xe9\n", |_| unreachable!()).unwrap(),
            7,
            "a comment of another encoding"
        );
        assert!(!says_nothing(b"# a\nflush") && !says_nothing(b"flush"));
    }

    #[test]
    fn a_failing_line_ends_the_write_at_the_bytes_before_it() {
        let fail = |word: &str| Verb::parse(word).map(drop);
        assert_eq!(run_lines(b"stop\nbad\nstart\n", fail).unwrap(), 5);
        assert_eq!(run_lines(b"bad\nstop\n", fail).unwrap_err().errno(), libc::EINVAL);
        assert_eq!(run_lines(b"\xff\n", fail).unwrap_err().errno(), libc::EINVAL);
    }
}
