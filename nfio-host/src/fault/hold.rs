//! How tests speak with the points, by files in the directory that the variable `NFIO_FAULTS` of nfio's environment names:
//!
//! | file | by | says |
//! |---|---|---|
//! | `steps` | nfio | the names of all points, a line each |
//! | `TYPE.NAME.reached` | nfio | the points that verbs on this instance have reached: `COUNT STEP`, a line each |
//! | `TYPE.NAME.hold` | the test | `COUNT STEP`: a verb on this instance waits there, for as long as the file exists |
//! | `TYPE.NAME.held` | nfio | it waits |
//!
//! COUNT tells the times apart that one verb reaches a step, from 1.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use super::Step;
use crate::tree;

/// From one look at a file to the next.
const GLANCE: Duration = Duration::from_millis(5);

/// What this thread does.
struct Work {
    instance: String,
    counts: HashMap<&'static str, usize>,
}

thread_local! {
    static WORK: RefCell<Option<Work>> = const { RefCell::new(None) };
}

/// The end of what [`watch`] began.
pub(crate) struct Watch(Option<Work>);

/// What this thread does from now on, until the answer is dropped, is done to that instance.
pub(crate) fn watch(at: tree::Instance<'_>) -> Watch {
    let work = Work { instance: format!("{}.{}", at.ty, at.name), counts: HashMap::new() };
    Watch(WORK.replace(Some(work)))
}

impl Drop for Watch {
    fn drop(&mut self) {
        WORK.set(self.0.take());
    }
}

/// A step is done.
pub(crate) fn at(step: Step) {
    let Some(directory) = directory() else { return };
    let reached = WORK.with_borrow_mut(|work| {
        let work = work.as_mut()?;
        let count = work.counts.entry(step.name()).or_default();
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
