//! What an operation comes to, and what may come of it.

use nix::errno::Errno;

/// What came of an operation on a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It succeeded and answers nothing.
    Done,
    /// A write took this many bytes.
    Count(usize),
    /// A read answered this text.
    Text(String),
    /// A listing answered these names, in order.
    Names(Vec<String>),
    /// stat(2) answered.
    Stat(Shape),
    /// A write to `command` came to this, and the open file then read the text.
    Answered(Result<usize, Errno>, String),
    /// It failed.
    Failed(Errno),
}

/// What stat(2) shows, as far as the contract speaks of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    /// `d`, `f` or `l`.
    pub(crate) kind: char,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Names, and length in bytes; None where the contract leaves it open.
    pub(crate) links: Option<u64>,
    pub(crate) size: Option<u64>,
}

/// What must come of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    /// This and nothing else.
    Exactly(Outcome),
    /// A text of which the contract fixes this much.
    Like(Pattern),
    /// A script came to this; None: it had no output, so the file reads as it does without one.
    Ran { count: Result<usize, Errno>, output: Option<String> },
}

/// What the contract says of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Any text.
    Anything,
    /// It begins so.
    Prefix(String),
    /// A decimal number and a newline.
    Number,
    /// An IP address and a newline.
    Address,
    /// A ruleset that drops these ports and no others.
    Drops(Vec<u16>),
    /// The lines of `last_error`.
    LastError { code: i32, errno: Errno, operation: &'static str },
}

impl Expected {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Exactly(Outcome::Text(text.into()))
    }

    /// Of an answer that is a success without words, or an errno.
    pub(crate) fn done(answer: Result<(), Errno>) -> Self {
        Self::Exactly(answer.map_or_else(Outcome::Failed, |()| Outcome::Done))
    }

    /// Whether an outcome is one that must come.
    pub(crate) fn fits(&self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Self::Exactly(Outcome::Stat(expected)), Outcome::Stat(shape)) => {
                let open = |expected: Option<u64>, now| expected.is_none() || expected == now;
                expected.kind == shape.kind
                    && expected.mode == shape.mode
                    && open(expected.links, shape.links)
                    && open(expected.size, shape.size)
            }
            (Self::Exactly(expected), outcome) => expected == outcome,
            (Self::Like(pattern), Outcome::Text(text)) => pattern.fits(text),
            (Self::Ran { count, output: Some(output) }, Outcome::Answered(now, text)) => {
                count == now && output == text
            }
            (Self::Ran { count, output: None }, Outcome::Answered(now, text)) => {
                count == now && text.starts_with('#')
            }
            (Self::Like(_) | Self::Ran { .. }, _) => false,
        }
    }
}

impl Pattern {
    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Anything => true,
            Self::Prefix(prefix) => text.starts_with(prefix),
            Self::Number => text.strip_suffix('\n').is_some_and(|text| text.parse::<u64>().is_ok()),
            Self::Address => {
                text.strip_suffix('\n').is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok())
            }
            Self::Drops(ports) => {
                let named = text.split("dport ").skip(1).map(|rest| rest.split(' ').next()?.parse().ok());
                named.eq(ports.iter().map(|port| Some(*port)))
            }
            Self::LastError { code, errno, operation } => {
                let line =
                    |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
                line("code") == Some(&code.to_string())
                    && line("errno") == Some(&format!("{errno:?}"))
                    && line("operation") == Some(operation)
                    && line("message").is_some_and(|message| !message.is_empty())
            }
        }
    }
}
