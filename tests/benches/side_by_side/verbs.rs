//! What verbs cost on the embedded runtime, and what others notice of them.

use nfio_tests::{Instance, Mounted};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::files::read;
use crate::table::{Table, Work, micros, millis};

/// activate, stop, start, destroy; and the delay of reads of another instance meanwhile.
pub(crate) fn verbs(table: &mut Table, mounted: &Mounted, guest: &Instance) -> Vec<f64> {
    let fw = mounted.firewall("deployed");
    let row = |name| Work::new(name, "ms", 15);
    let (mut activate, mut stop, mut start, mut destroy) = (vec![], vec![], vec![], vec![]);
    for _ in 0..15 {
        activate.push(millis(1, || fw.act("activate")));
        stop.push(millis(1, || fw.act("stop")));
        start.push(millis(1, || fw.act("start")));
        destroy.push(millis(1, || fw.act("destroy")));
    }
    table.alone(row("stop on Oci"), stop);
    table.alone(row("start on Oci"), start);
    table.alone(row("destroy on Oci"), destroy);

    let status = guest.file("status");
    let (mut busy, mut idle) = (Latencies::default(), Latencies::default());
    for _ in 0..15 {
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                fw.act("activate");
                ended.store(true, Ordering::Relaxed);
            });
            let count = busy.read_while(&status, |_| !ended.load(Ordering::Relaxed));
            fw.act("destroy");
            idle.read_while(&status, |n| n < count);
        });
    }
    let sides = ("during an activate", "idle");
    let row = |name| Work::new(name, "us", 15);
    table.pair(row("status of another, median"), (sides.0, busy.medians), (sides.1, idle.medians));
    table.pair(row("status of another, slowest"), (sides.0, busy.slowest), (sides.1, idle.slowest));
    activate
}

/// How long single reads took, each entry over one stretch of reads.
#[derive(Default)]
struct Latencies {
    medians: Vec<f64>,
    slowest: Vec<f64>,
}

impl Latencies {
    /// Reads as long as `more` of the number of reads so far holds, and answers that number.
    fn read_while(&mut self, path: &Path, more: impl Fn(usize) -> bool) -> usize {
        let mut all = Vec::new();
        while all.is_empty() || more(all.len()) {
            all.push(micros(1, || read(path)));
        }
        all.sort_by(f64::total_cmp);
        self.medians.push(all[all.len() / 2]);
        self.slowest.push(all[all.len() - 1]);
        all.len()
    }
}
