//! Runs sequences on a mount and on the model, and makes those at which the two differ short.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crate::draw::operations;
use crate::ground::Kind;
use crate::model::Model;
use crate::operation::Operation;
use crate::outcome::Outcome;
use crate::system::System;

/// Operations in a sequence.
pub(crate) const LENGTH: usize = 200;
/// Sequences that are run side by side.
const SIDE_BY_SIDE: usize = 2;

/// Where a mount and the model differ.
#[derive(Debug, Clone)]
pub(crate) struct Difference {
    /// How many operations were done, the last one included.
    pub(crate) done: usize,
    /// What came, and what must come.
    pub(crate) what: String,
}

/// The sequence of a seed: the same one each time.
pub(crate) fn sequence(kind: Kind, seed: u64, length: usize) -> Vec<Operation> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let drawn = proptest::collection::vec(operations(kind.choice()), length);
    let drawn = drawn.new_tree(&mut runner).expect("a sequence").current();
    drawn.into_iter().flatten().take(length).collect()
}

/// Runs a sequence on a new mount, and tells how many of its operations succeeded.
pub(crate) fn run(kind: Kind, operations: &[Operation]) -> Result<usize, Difference> {
    let mut done = 0;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut system = System::new(kind);
        let outcome = compare(&mut system, kind, operations, &mut done);
        outcome.map_err(|what| format!("{what}\n--- log of nfio ---\n{}", tail(&system.log())))
    }));
    let outcome = outcome.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        Err(words.or_else(|| panic.downcast_ref().copied()).unwrap_or("a panic").to_owned())
    });
    outcome.map_err(|what| Difference { done, what })
}

fn compare(
    system: &mut System,
    kind: Kind,
    operations: &[Operation],
    done: &mut usize,
) -> Result<usize, String> {
    let mut succeeded = 0;
    let mut model = Model::new(kind.nature());
    for operation in operations {
        *done += 1;
        let mut before = model.clone();
        let outcome = system.apply(operation, &model);
        let expected = model.apply(operation);
        if !expected.fits(&outcome) {
            return Err(format!("{operation:?} came to {outcome:?}, and not to {expected:?}"));
        }
        succeeded += usize::from(!matches!(outcome, Outcome::Failed(_)));
        let audit = match operation {
            Operation::Plugin(..) => system.audit_soon(&model),
            Operation::Remount | Operation::Kill => system.audit(&model),
            // Done as a whole, or not at all.
            Operation::KillDuring(..) => system.audit(&model).or_else(|what| {
                before.apply(&Operation::Kill);
                model = before;
                system.audit(&model).map_err(|other| format!("{what}; and if it was not done, {other}"))
            }),
            _ => Ok(()),
        };
        audit.map_err(|what| format!("after {operation:?} {what}"))?;
    }
    system.audit(&model).map_err(|what| format!("at the end {what}"))?;
    Ok(succeeded)
}

fn tail(log: &str) -> &str {
    let start = log.len().saturating_sub(4000);
    let line = log[start..].find('\n').map_or(start, |end| start + end + 1);
    if start == 0 { log } else { &log[line..] }
}

/// Takes away what is not needed to fail: halves, then smaller parts, down to single operations, until none can go.
pub(crate) fn minimise<T: Clone>(sequence: &[T], mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut kept = sequence.to_vec();
    let mut part = kept.len().div_ceil(2);
    while part > 0 {
        let (mut at, mut shorter) = (0, false);
        while at < kept.len() {
            let mut without = kept.clone();
            without.drain(at..(at + part).min(kept.len()));
            if fails(&without) {
                (kept, shorter) = (without, true);
            } else {
                at += part;
            }
        }
        part = match part {
            1 if shorter => 1,
            1 => 0,
            _ => part.div_ceil(2),
        };
    }
    kept
}

/// Makes a failing sequence short. None: it does not fail again.
pub(crate) fn shrink(
    kind: Kind,
    operations: &[Operation],
    difference: &Difference,
) -> Option<(Vec<Operation>, Difference)> {
    let mut last = None;
    let short = minimise(&operations[..difference.done], |operations| {
        run(kind, operations).map_err(|difference| last = Some(difference)).is_err()
    });
    last.map(|difference| (short, difference))
}

/// Runs sequences until so many operations are done, and fails with a short sequence where one differs.
pub(crate) fn explore(kind: Kind, operations: usize, length: usize, seed: u64) {
    let start = Instant::now();
    let (next, succeeded) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failure: Mutex<Option<(u64, Difference)>> = Mutex::new(None);
    let lock = || failure.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while lock().is_none() {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number * length >= operations {
                        return;
                    }
                    let seed = seed + number as u64;
                    match run(kind, &sequence(kind, seed, length)) {
                        Ok(count) => _ = succeeded.fetch_add(count, Ordering::Relaxed),
                        Err(difference) => _ = lock().get_or_insert((seed, difference)),
                    }
                }
            });
        }
    });
    let failure = lock().take();
    if let Some((seed, difference)) = failure {
        report(kind, seed, length, &difference);
    }
    let sequences = operations.div_ceil(length);
    println!(
        "{kind:?}: {} operations in {sequences} sequences from seed {seed} on, {} succeeded, {:.1} s",
        sequences * length,
        succeeded.into_inner(),
        start.elapsed().as_secs_f64()
    );
}

fn report(kind: Kind, seed: u64, length: usize, difference: &Difference) -> ! {
    let operations = sequence(kind, seed, length);
    let (short, last) = shrink(kind, &operations, difference).unwrap_or_else(|| {
        eprintln!("it does not fail again when it is run again");
        (operations[..difference.done].to_vec(), difference.clone())
    });
    let lines: Vec<String> = short.iter().map(|operation| format!("    {operation:?},")).collect();
    panic!(
        "the mount and the model differ: seed {seed}, {kind:?}, operation {}: {}\nshort, for regressions.rs:\n{}\n{}",
        difference.done,
        difference.what.lines().next().unwrap_or_default(),
        lines.join("\n"),
        last.what
    );
}

#[test]
fn what_is_not_needed_to_fail_is_taken_away() {
    let sequence: Vec<u32> = (0..100).collect();
    let short = minimise(&sequence, |left| left.contains(&3) && left.contains(&77));
    assert_eq!(short, [3, 77]);
}
