//! The guests' output: followed from the engine into the instance's `log`, as long as nfio serves.
//!
//! The engine keeps a guest's output over nfio's own restarts, so the first look of a mount writes the log anew; what
//! follows is appended. A stream that is opened again tells everything again, in the same order: where it comes to the
//! last line that was written, the new ones begin.

use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

use super::engine::Engine;
use super::memory::Known;
use crate::hypervisor::Status;
use crate::hypervisor::container::log::{CAP, Log};

/// How long a guest that has ended may take to hand over its last words.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The logs of an engine's guests, by the guests' ids.
#[derive(Debug, Default)]
pub(super) struct Logs(Mutex<HashMap<String, Output>>);

#[derive(Debug)]
struct Output {
    path: PathBuf,
    /// The run that is followed, or was last.
    run: String,
    /// How often it was begun to follow it: only the last to begin writes.
    turn: u64,
    /// The last line that was written; None: none in this mount.
    last: Option<Mark>,
    /// Whether somebody follows it.
    followed: bool,
    /// Whether all that the run said is in the log: it was read to its end after the run had ended.
    whole: watch::Sender<bool>,
}

/// A line of a container's output, and the way to find it again. Times alone do not tell lines: the parts of a long one
/// have the same, and those of two streams are not always in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    container: String,
    time: String,
    hash: u64,
    /// How many lines just like it, with itself, came in a row.
    count: u32,
    /// The latest time of all lines up to this one: a later one was never written.
    latest: String,
}

impl Mark {
    /// The mark of the line that comes after `last`.
    fn after(last: Option<&Self>, container: &str, time: &str, text: &[u8]) -> Self {
        let hash = hash(text);
        let last = last.filter(|last| last.container == container);
        let alike = last.filter(|last| last.time == time && last.hash == hash);
        Self {
            container: container.to_owned(),
            time: time.to_owned(),
            hash,
            count: alike.map_or(0, |last| last.count) + 1,
            latest: last.map_or(time, |last| last.latest.as_str().max(time)).to_owned(),
        }
    }
}

/// Looks for the last line that was written in a stream that tells everything again.
struct Search(Option<Mark>);

impl Search {
    fn of(last: Option<Mark>, container: &str) -> Self {
        Self(last.filter(|last| last.container == container))
    }

    /// Whether this line is there already.
    fn has(&mut self, time: &str, text: &[u8]) -> bool {
        let Some(mark) = &mut self.0 else { return false };
        if time > mark.latest.as_str() {
            // The engine does not have the line any more.
            self.0 = None;
            return false;
        }
        if mark.time == time && mark.hash == hash(text) {
            mark.count -= 1;
            if mark.count == 0 {
                self.0 = None;
            }
        }
        true
    }
}

fn hash(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

impl Logs {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Output>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a guest's output goes from now on.
    pub(super) fn goes_to(&self, id: &str, path: &Path) {
        let mut outputs = self.lock();
        match outputs.get_mut(id) {
            Some(output) => output.path = path.to_owned(),
            None => {
                let output = Output {
                    path: path.to_owned(),
                    run: String::new(),
                    turn: 0,
                    last: None,
                    followed: false,
                    whole: watch::Sender::new(true),
                };
                outputs.insert(id.to_owned(), output);
            }
        }
    }

    /// The guest is removed: so is what is known of its output.
    pub(super) fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    /// Follows a run that nobody follows, until all of it is in the log. A stream may end before its run does, with the
    /// engine's connection or by itself (28.2 does before last words that no newline ends): what is missing then is read
    /// once the run has ended.
    pub(super) fn seen(&self, engine: &Arc<Engine>, id: &str, known: &Known) {
        let mut outputs = self.lock();
        let Some(output) = outputs.get_mut(id) else { return };
        let again = output.run == known.started;
        if known.started.is_empty() || again && (output.followed || *output.whole.borrow()) {
            return;
        }
        if !again {
            output.run = known.started.clone();
            output.whole = watch::Sender::new(false);
        }
        output.followed = true;
        output.turn += 1;
        let (engine, id, known, turn) = (Arc::clone(engine), id.to_owned(), known.clone(), output.turn);
        tokio::spawn(async move {
            let runs = is_running(&known);
            let done = follow(&engine, &id, &known, turn).await;
            if let Err(why) = &done {
                tracing::warn!("the output of {id} is not followed any further: {why}");
            }
            if let Some(output) = engine.logs.lock().get_mut(&id)
                && output.turn == turn
            {
                output.followed = false;
                // Nobody may be waiting for it.
                output.whole.send_replace(done.is_ok() && !runs);
            }
            // Its end may have been seen while it was still followed.
            if done.is_ok()
                && runs
                && let Ok(Some(now)) = engine.memory.guest(&id)
                && !is_running(&now)
            {
                engine.logs.seen(&engine, &id, &now);
            }
        });
    }

    /// Waits until all that a guest which has ended said is in its log.
    pub(super) async fn settled(&self, id: &str, known: &Known) {
        if !matches!(known.status, Status::Exited | Status::Dead) {
            return;
        }
        let whole = self.lock().get(id).map(|output| output.whole.subscribe());
        if let Some(mut whole) = whole {
            // What comes later than that is missing in the log, not in the engine.
            let _ = timeout(LAST_WORDS, whole.wait_for(|whole| *whole)).await;
        }
    }

    /// What a turn begins with: the log's path and the last line in it; None: it is another's turn.
    fn begin(&self, id: &str, turn: u64) -> Option<(PathBuf, Option<Mark>)> {
        let outputs = self.lock();
        let output = outputs.get(id).filter(|output| output.turn == turn)?;
        Some((output.path.clone(), output.last.clone()))
    }

    /// Writes a line; whether it is still this one's turn.
    fn write(&self, id: &str, turn: u64, log: &mut Log, line: (&str, &str, &[u8])) -> std::io::Result<bool> {
        let (container, time, text) = line;
        let mut outputs = self.lock();
        let Some(output) = outputs.get_mut(id).filter(|output| output.turn == turn) else { return Ok(false) };
        log.append(text)?;
        output.last = Some(Mark::after(output.last.as_ref(), container, time, text));
        Ok(true)
    }
}

/// Writes what is not in the log yet: of a run that goes on until its stream ends, else what the engine has.
async fn follow(engine: &Arc<Engine>, id: &str, known: &Known, turn: u64) -> Result<(), String> {
    let Some((path, last)) = engine.logs.begin(id, turn) else { return Ok(()) };
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut log = Log::open(&path, CAP).map_err(failed)?;
    if last.is_none() {
        log.clear().map_err(failed)?;
    }
    let options = LogsOptionsBuilder::new()
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .follow(is_running(known))
        .build();
    let mut search = Search::of(last, &known.container);
    let docker = engine.client().await.map_err(|failure| format!("{failure:?}"))?;
    let mut lines = pin!(docker.logs(&known.container, Some(options)));
    while let Some(line) = lines.next().await {
        let bytes = line.map_err(|e| e.to_string())?.into_bytes();
        let (time, text) = stamped(&bytes).ok_or("a line of the engine has no time")?;
        if search.has(&time, text) {
            continue;
        }
        if !engine.logs.write(id, turn, &mut log, (&known.container, &time, text)).map_err(failed)? {
            return Ok(());
        }
    }
    Ok(())
}

fn is_running(known: &Known) -> bool {
    matches!(known.status, Status::Running | Status::Paused)
}

/// Time and text of a line: `2026-01-01T00:00:00.5Z text`. The engine leaves out the zeros at the end of a fraction;
/// with nine digits each, times compare as text.
fn stamped(line: &[u8]) -> Option<(String, &[u8])> {
    let blank = line.iter().position(|byte| *byte == b' ')?;
    let time = std::str::from_utf8(&line[..blank]).ok()?.strip_suffix('Z')?;
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
    Some((format!("{seconds}.{fraction:0<9}"), &line[blank + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The marks after each line.
    fn marks(lines: &[(&str, &[u8])]) -> Vec<Mark> {
        let mut marks: Vec<Mark> = Vec::new();
        for (time, text) in lines {
            marks.push(Mark::after(marks.last(), "c", time, text));
        }
        marks
    }

    #[test]
    fn a_stream_that_is_opened_again_goes_on_after_the_last_line_that_was_written() {
        // Parts of one long line, and two streams whose times are not in order.
        let lines: [(&str, &[u8]); 6] =
            [("1", b"x"), ("1", b"x"), ("1", b"x"), ("3", b"err"), ("2", b"out"), ("4", b"more")];
        for (number, mark) in marks(&lines).into_iter().enumerate() {
            let mut search = Search::of(Some(mark), "c");
            let new: Vec<_> = lines.iter().map(|(time, text)| !search.has(time, text)).collect();
            let expected: Vec<_> = (0..lines.len()).map(|line| line > number).collect();
            assert_eq!(new, expected, "after line {number}");
        }
    }

    #[test]
    fn lines_that_the_engine_has_no_more_are_not_waited_for() {
        let last = marks(&[("1", b"a"), ("2", b"b")]).pop();
        assert!(!Search::of(last.clone(), "c").has("3", b"new"));
        assert!(!Search::of(last, "other").has("1", b"another container's"));
        assert!(!Search::of(None, "c").has("1", b"a"));
    }

    #[test]
    fn times_of_lines_compare_as_text() {
        let time = |line: &str| stamped(line.as_bytes()).unwrap().0;
        assert!(time("2026-01-01T00:00:00.1Z a") < time("2026-01-01T00:00:00.12Z b"));
        assert!(time("2026-01-01T00:00:00Z a") < time("2026-01-01T00:00:00.000000001Z b"));
        assert_eq!(stamped(b"2026-01-01T00:00:00Z a b\n").unwrap().1, b"a b\n");
        assert!(stamped(b"nonsense\n").is_none());
    }
}
