//! How tests speak with the points, by files in the directory that the variable `NFIO_FAULTS` of nfio's environment names:
//!
//! | file | by | says |
//! |---|---|---|
//! | `steps` | nfio | the names of all points, a line each |
//! | `TYPE.NAME.reached` | nfio | the points that verbs on this instance have reached: `COUNT STEP`, a line each |
//! | `TYPE.NAME.hold` | the test | `COUNT STEP`: a verb on this instance waits there, for as long as the file exists |
//! | `TYPE.NAME.held` | nfio | it waits |
//!
//! The TYPE of a chain is `chns`. COUNT tells the times apart that one verb reaches a step, from 1.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use super::Step;
use crate::tree;

/// From one look at a file to the next.
const GLANCE: Duration = Duration::from_millis(5);

/// What this thread does.
struct Work {
    instance: String,
    counts: Mutex<HashMap<&'static str, usize>>,
}

thread_local! {
    static WORK: RefCell<Option<Arc<Work>>> = const { RefCell::new(None) };
}

/// The end of what [`watch`] began.
pub(crate) struct Watch(Option<Arc<Work>>);

/// What this thread does from now on, until the answer is dropped, is done to that instance.
pub(crate) fn watch(at: tree::Instance<'_>) -> Watch {
    let ty = if at.is_chain() { "chns" } else { at.ty };
    let work = Work { instance: format!("{ty}.{}", at.name), counts: Mutex::default() };
    Watch(WORK.replace(Some(Arc::new(work))))
}

/// What this thread does: the answer, called on another thread, has that one do a part of it.
pub(crate) fn share() -> impl FnOnce() -> Watch + Send {
    let work = WORK.with_borrow(Clone::clone);
    || Watch(WORK.replace(work))
}

impl Drop for Watch {
    fn drop(&mut self) {
        WORK.set(self.0.take());
    }
}

/// A step is done.
pub(crate) fn at(step: Step) {
    let Some(directory) = directory() else { return };
    let reached = WORK.with_borrow(|work| {
        let work = work.as_ref()?;
        let mut counts = work.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(step.name()).or_default();
        *count += 1;
        Some((directory.join(&work.instance), format!("{count} {}", step.name())))
    });
    let Some((stem, point)) = reached else { return };
    let file = |extension: &str| PathBuf::from(format!("{}.{extension}", stem.display()));
    let mut log = OpenOptions::new().create(true).append(true).open(file("reached")).expect("NFIO_FAULTS");
    writeln!(log, "{point}").expect("NFIO_FAULTS");
    let hold = file("hold");
    if fs::read_to_string(&hold).is_ok_and(|held| held == point) {
        fs::write(file("held"), "").expect("NFIO_FAULTS");
        while hold.exists() {
            thread::sleep(GLANCE);
        }
    }
}

fn directory() -> Option<&'static Path> {
    static DIRECTORY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = DIRECTORY.get_or_init(|| {
        let directory = PathBuf::from(std::env::var_os("NFIO_FAULTS")?);
        let names: String = Step::ALL.iter().map(|step| format!("{}\n", step.name())).collect();
        fs::write(directory.join("steps"), names).expect("NFIO_FAULTS");
        Some(directory)
    });
    found.as_deref()
}
