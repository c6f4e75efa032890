//! The guests' output: followed from the engine into the instance's `log`, as long as nfio serves.
//!
//! The engine keeps a guest's output over nfio's own restarts, so the first look of a mount writes the log anew; what
//! follows is appended. Times that the engine puts before each line tell what is there already.

use bollard::query_parameters::{LogsOptions, LogsOptionsBuilder};
use futures_util::StreamExt;
use std::collections::HashMap;
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
/// Lines at the end of a run that are asked for once more.
const REST: &str = "100";

/// The logs of an engine's guests, by the guests' ids.
#[derive(Debug, Default)]
pub(super) struct Logs(Mutex<HashMap<String, Output>>);

#[derive(Debug)]
struct Output {
    path: PathBuf,
    /// The run that is followed, or was last.
    run: String,
    /// Time of the last line that was written; empty: none in this mount.
    last: String,
    /// Which of the followers writes: the newest one that has begun. An older one may hang on a broken connection.
    writer: u64,
    /// Whether the run has been followed to its end.
    ended: watch::Sender<bool>,
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
                    last: String::new(),
                    writer: 0,
                    ended: watch::Sender::new(true),
                };
                outputs.insert(id.to_owned(), output);
            }
        }
    }

    /// The guest is removed: so is what is known of its output.
    pub(super) fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    /// Follows a run that is not followed yet.
    pub(super) fn seen(&self, engine: &Arc<Engine>, id: &str, known: &Known) {
        let mut outputs = self.lock();
        let Some(output) = outputs.get_mut(id) else { return };
        let runs = matches!(known.status, Status::Running | Status::Paused);
        // The stream of a run that goes on ends with the engine's connection.
        let followed = output.run == known.started && !(runs && *output.ended.borrow());
        if known.started.is_empty() || followed {
            return;
        }
        output.run = known.started.clone();
        let mut before = output.ended.subscribe();
        output.ended = watch::Sender::new(false);
        let (engine, id, known) = (Arc::clone(engine), id.to_owned(), known.clone());
        tokio::spawn(async move {
            // The end of one run is written before the beginning of the next.
            let _ = timeout(LAST_WORDS, before.wait_for(|ended| *ended)).await;
            if let Err(why) = follow(&engine, &id, &known).await {
                tracing::warn!("the output of {id} is not followed any further: {why}");
            }
            if let Some(output) = engine.logs.lock().get_mut(&id)
                && output.run == known.started
            {
                // Nobody may be waiting for it.
                output.ended.send_replace(true);
            }
        });
    }

    /// Waits until all that a guest which has ended said is in its log.
    pub(super) async fn settled(&self, id: &str, known: &Known) {
        if !matches!(known.status, Status::Exited | Status::Dead) {
            return;
        }
        let ended = self.lock().get(id).map(|output| output.ended.subscribe());
        if let Some(mut ended) = ended {
            // What comes later than that is missing in the log, not in the engine.
            let _ = timeout(LAST_WORDS, ended.wait_for(|ended| *ended)).await;
        }
    }

    /// Begins to write: where to, from which time on (empty: from the beginning), and as which writer.
    fn begin(&self, id: &str) -> Option<(PathBuf, String, u64)> {
        let mut outputs = self.lock();
        let output = outputs.get_mut(id)?;
        output.writer += 1;
        Some((output.path.clone(), output.last.clone(), output.writer))
    }

    /// Time of the last line that was written.
    fn last(&self, id: &str) -> Option<String> {
        self.lock().get(id).map(|output| output.last.clone())
    }

    /// Writes a line; whether this writer is still the one that does.
    fn write(
        &self,
        id: &str,
        writer: u64,
        log: &mut Log,
        time: String,
        line: &[u8],
    ) -> std::io::Result<bool> {
        let mut outputs = self.lock();
        let Some(output) = outputs.get_mut(id).filter(|output| output.writer == writer) else {
            return Ok(false);
        };
        log.append(line)?;
        // Times of the two streams may be out of order.
        if time > output.last {
            output.last = time;
        }
        Ok(true)
    }
}

async fn follow(engine: &Arc<Engine>, id: &str, known: &Known) -> Result<(), String> {
    let Some((path, last, writer)) = engine.logs.begin(id) else { return Ok(()) };
    let mut log = Log::open(&path, CAP).map_err(|e| format!("{}: {e}", path.display()))?;
    if last.is_empty() {
        log.clear().map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let all = LogsOptionsBuilder::new().stdout(true).stderr(true).timestamps(true);
    // An engine may end the stream before last words that no newline ends (28.2 does): they are asked for.
    let rest = all.clone().tail(REST).build();
    for options in [all.follow(true).build(), rest] {
        copy(engine, id, &known.container, options, writer, &mut log).await?;
    }
    Ok(())
}

/// Writes what the engine tells and the log does not hold yet.
async fn copy(
    engine: &Engine,
    id: &str,
    container: &str,
    options: LogsOptions,
    writer: u64,
    log: &mut Log,
) -> Result<(), String> {
    let Some(last) = engine.logs.last(id) else { return Ok(()) };
    let docker = engine.client().await.map_err(|failure| format!("{failure:?}"))?;
    let mut lines = pin!(docker.logs(container, Some(options)));
    let mut is_new = false;
    while let Some(line) = lines.next().await {
        let bytes = line.map_err(|e| e.to_string())?.into_bytes();
        let (time, text) = stamped(&bytes).ok_or("a line of the engine has no time")?;
        // All that follows the first new line is new; the parts of a long line have one time.
        is_new = is_new || time > last;
        if is_new && !engine.logs.write(id, writer, log, time, text).map_err(|e| e.to_string())? {
            break;
        }
    }
    Ok(())
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

    #[test]
    fn times_of_lines_compare_as_text() {
        let time = |line: &str| stamped(line.as_bytes()).unwrap().0;
        assert!(time("2026-01-01T00:00:00.1Z a") < time("2026-01-01T00:00:00.12Z b"));
        assert!(time("2026-01-01T00:00:00Z a") < time("2026-01-01T00:00:00.000000001Z b"));
        assert_eq!(stamped(b"2026-01-01T00:00:00Z a b\n").unwrap().1, b"a b\n");
        assert!(stamped(b"nonsense\n").is_none());
    }
}
