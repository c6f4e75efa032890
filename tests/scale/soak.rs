//! Hours in minutes: work of all kinds, while samples are taken of what nfio holds.

use nfio_tests::{Instance, Mounted, Options, built, eventually};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::cases::Cases;
use super::flat::{Tolerance, growth};
use super::usage::Usage;
use super::work::{kinds, repeat, replace_plugin};

/// How often samples are taken in a soak.
const SAMPLES: u32 = 120;
/// Replacements of a plugin in a soak: two in each third.
const REPLACEMENTS: u32 = 6;
/// What a replacement may keep of memory, in KiB: code is never unloaded, and has data of its own.
const REPLACEMENT: u64 = 256;
/// Below this, in seconds, a soak is short.
const SHORT: u64 = 120;

/// Within this, descriptors and threads come and go with the work under way, and memory is rounded up by the allocator;
/// in a short soak the first use of this and that falls into the last third.
fn tolerance(seconds: u64) -> Tolerance {
    let first = if seconds < SHORT { 1024 } else { 0 };
    let replaced = u64::from(REPLACEMENTS) / 3 * REPLACEMENT;
    Tolerance { descriptors: 6, threads: 6, anonymous: 1024 + first + replaced }
}

struct Soak {
    mounted: Mounted,
    guest: Instance,
    odd: Instance,
    plugin: Vec<u8>,
}

impl Soak {
    fn new() -> Self {
        let plugin = fs::read(built("libodd.so")).expect("the built fixture");
        let mounted = Mounted::with_odd(Options::default());
        let guest = mounted.firewall("guest");
        guest.act("activate");
        mounted.firewall("lives");
        let odd = mounted.odd("odd");
        Self { mounted, guest, odd, plugin }
    }

    /// Works for a time, and answers what nfio held meanwhile.
    fn run(&self, seconds: u64) -> Vec<Usage> {
        let mut kinds = kinds(&self.mounted, &self.guest, &self.odd);
        let rounds: Vec<_> = kinds.iter().map(|_| AtomicU64::new(0)).collect();
        let names: Vec<_> = kinds.iter().map(|(name, _)| *name).collect();
        let done = AtomicBool::new(false);
        let samples = thread::scope(|scope| {
            let workers: Vec<_> = kinds
                .iter_mut()
                .zip(&rounds)
                .map(|(kind, rounds)| scope.spawn(|| repeat(kind, &done, rounds)))
                .collect();
            let failed = || workers.iter().any(|worker| worker.is_finished());
            // Also when something fails: the workers would never end.
            let sampled = catch_unwind(AssertUnwindSafe(|| self.sample(seconds, failed)));
            done.store(true, Ordering::SeqCst);
            for worker in workers {
                worker.join().expect("no work failed");
            }
            sampled.unwrap_or_else(|panic| resume_unwind(panic))
        });
        for (name, rounds) in names.iter().zip(&rounds) {
            let rounds = rounds.load(Ordering::SeqCst);
            println!("{name}: {rounds}");
            assert!(rounds > 0, "{name}: none in {seconds} s");
        }
        samples
    }

    fn sample(&self, seconds: u64, failed: impl Fn() -> bool) -> Vec<Usage> {
        let pid = self.mounted.pid();
        let step = Duration::from_secs(seconds) / SAMPLES;
        let start = Instant::now();
        let mut samples = Vec::new();
        for number in 1..=SAMPLES {
            // Rest of this step: samples are taken evenly, however long one took.
            thread::sleep((step * number).saturating_sub(start.elapsed()));
            if failed() {
                break;
            }
            samples.push(Usage::of(pid));
            if number % (SAMPLES / REPLACEMENTS) == 0 {
                replace_plugin(&self.mounted, &self.odd, &self.plugin, number);
            }
        }
        samples
    }
}

/// A soak of so many seconds in which nothing may grow, and a short one in which everything does.
pub(crate) fn judge(cases: &mut Cases, seconds: u64) {
    println!("a soak of {seconds} s");
    let soak = Soak::new();
    let pid = soak.mounted.pid();
    // What comes with the first use of each kind is no growth.
    let before = Usage::of(pid);
    cases.case("descriptors, threads and memory stay flat", || {
        let samples = soak.run(seconds);
        let last = samples.last().expect("samples");
        println!("first {before:?}\nlast  {last:?}");
        assert_eq!(growth(&samples, tolerance(seconds)), [""; 0]);
    });
    cases.case("when the work is done, nothing of it is left", || {
        eventually("descriptors and threads are as before", || {
            let now = Usage::of(pid);
            now.descriptors <= before.descriptors + 2 && now.threads <= before.threads + 2
        });
        println!("at rest {:?}", Usage::of(pid));
    });
    cases.case("a planted leak of descriptors, threads and memory is found", || {
        soak.odd.put("say", "read: leak\n");
        let seconds = seconds.min(6);
        let grown = growth(&soak.run(seconds), tolerance(seconds));
        println!("found: {grown:?}");
        assert_eq!(grown.len(), 3, "{grown:?}");
    });
}
