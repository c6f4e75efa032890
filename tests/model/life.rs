//! The table of verbs and states once more (`tests/suites/verb_table.rs` has it for real guests), and what each cell does.

use nix::errno::Errno;

/// Code, errno and operation of a failure, as `last_error` tells them.
pub(crate) type Failure = (i32, Errno);

/// A guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guest {
    pub(crate) state: State,
    /// The user wants it to run.
    pub(crate) wanted: bool,
    /// It is started at a mount if it is wanted.
    pub(crate) again: bool,
    /// The ports that its rules drop.
    pub(crate) rules: Vec<u16>,
}

/// A guest's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Exited,
    Running,
    Paused,
}

impl State {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Running => "running",
            Self::Paused => "paused",
        }
    }
}

/// What a verb does in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Nothing,
    Deploy,
    Start,
    Stop,
    Restart,
    Pause,
    Unpause,
    Configure,
    Remove,
    Refuse(i32, Errno),
}

const GONE: Step = Step::Refuse(702, Errno::ENXIO);
const DOWN: Step = Step::Refuse(716, Errno::EHOSTDOWN);
const THERE: Step = Step::Refuse(722, Errno::EEXIST);
const ASLEEP: Step = Step::Refuse(707, Errno::EIO);

/// A verb, whether it works without a module, and what it does where there is no guest, where it is exited, running,
/// paused.
type Row = (&'static str, bool, [Step; 4]);

#[rustfmt::skip]
const TABLE: [Row; 12] = {
    use Step::{Configure, Deploy, Nothing, Pause, Remove, Restart, Start, Stop, Unpause};
    [
        ("activate",   false, [Deploy,  THERE,   THERE,     THERE]),
        ("start",      false, [GONE,    Start,   Nothing,   ASLEEP]),
        ("stop",       true,  [GONE,    Stop,    Stop,      Stop]),
        ("restart",    false, [GONE,    Start,   Restart,   Restart]),
        ("pause",      false, [GONE,    DOWN,    Pause,     Nothing]),
        ("unpause",    false, [GONE,    DOWN,    Nothing,   Unpause]),
        ("reload",     false, [GONE,    DOWN,    Configure, DOWN]),
        ("destroy",    true,  [GONE,    Remove,  Remove,    Remove]),
        ("running",    false, [Deploy,  Start,   Nothing,   Unpause]),
        ("exited",     true,  [Nothing, Stop,    Stop,      Stop]),
        ("undeployed", true,  [Nothing, Remove,  Remove,    Remove]),
        ("forget",     true,  [GONE,    Remove,  Remove,    Remove]),
    ]
};

/// The row of a word; None: it is no verb.
pub(crate) fn row(word: &str) -> Option<&'static Row> {
    TABLE.iter().find(|(verb, ..)| *verb == word)
}

/// The cell of a row for a guest.
pub(crate) fn step(row: &Row, guest: Option<&Guest>) -> Step {
    let column = match guest.map(|guest| guest.state) {
        None => 0,
        Some(State::Exited) => 1,
        Some(State::Running) => 2,
        Some(State::Paused) => 3,
    };
    row.2[column]
}

const WRONG: Failure = (720, Errno::EINVAL);

/// What nfio reads of an instance's file: None where it is something that it does not open.
pub(crate) type Found<'a> = Option<&'a str>;

/// The files that say what guest is to be deployed.
pub(crate) struct Settings<'a> {
    pub(crate) image: Found<'a>,
    pub(crate) host: Found<'a>,
    pub(crate) boot: Found<'a>,
    pub(crate) vcpu: Found<'a>,
    pub(crate) memory: Found<'a>,
}

impl Settings<'_> {
    /// Whether the guest is started again at a mount, or why these files describe none.
    pub(crate) fn judge(&self, known_image: &str) -> Result<bool, Failure> {
        let image = line(self.image)?;
        if image.is_empty() {
            return Err((713, Errno::EINVAL));
        }
        let host = line(self.host)?;
        if host.is_empty() {
            return Err((714, Errno::EINVAL));
        }
        let again = match self.boot.ok_or(WRONG)? {
            "" | "restart = \"mount\"\n" => true,
            "restart = \"no\"\n" => false,
            _ => return Err(WRONG),
        };
        if !["", "0.5"].contains(&line(self.vcpu)?) || !["", "64M"].contains(&line(self.memory)?) {
            return Err(WRONG);
        }
        if !["127.0.0.1", "localhost"].contains(&host) {
            return Err((701, Errno::ECONNREFUSED));
        }
        if image != known_image.trim() {
            return Err((705, Errno::EIO));
        }
        Ok(again)
    }
}

/// A value: one line, without white space around it.
fn line(text: Found<'_>) -> Result<&str, Failure> {
    let text = text.ok_or(WRONG)?.trim();
    if text.contains(char::is_control) { Err(WRONG) } else { Ok(text) }
}

/// The ports that nf_conf drops: one a line.
pub(crate) fn rules(nf_conf: Found<'_>) -> Result<Vec<u16>, Failure> {
    let lines = nf_conf.ok_or(WRONG)?.lines().filter(|line| !line.is_empty());
    let port = |line: &str| {
        let rest = line.strip_prefix("table inet t { chain c { tcp dport ")?;
        rest.strip_suffix(" drop; }; }")?.parse().ok()
    };
    lines.map(|line| port(line).ok_or(WRONG)).collect()
}
