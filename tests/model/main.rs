//! The reference model: random sequences of operations on the whole tree, done on a real mount and on a model of it
//! that knows by the contract alone what must come of each.
//!
//! - `operation.rs` has the operations, `draw.rs` how they are drawn.
//! - `model.rs` is the model: `files.rs` is POSIX, `skeleton.rs` and `life.rs` are sections 3 and 4 written down once
//!   more. It calls nothing of nfio.
//! - `system.rs` does operations on a mount; `ground.rs` has the two kinds of mount. `on_paper/` is nfio over guests
//!   that exist on paper only, which makes thousands of operations cheap; the other kind is nfio as built, over guests
//!   of the driver Oci.
//! - `run.rs` compares, and makes sequences that fail short. `regressions.rs` keeps what it found.
//! - `on_paper/fault.rs` has faults that are planted, each of which must be found: that is what a run without a
//!   difference is worth.
//!
//! `NFIO_MODEL_OPERATIONS` is how many operations are done on paper (on Oci a fortieth of it), `NFIO_MODEL_SEED` from
//! which seed on. It runs in the test bed: `sh tests/testbed/enter.sh cargo test -p nfio-tests --offline --test model`.

mod draw;
#[path = "on_paper/fault.rs"]
mod fault;
mod files;
mod ground;
mod life;
mod model;
mod operation;
mod outcome;
mod regressions;
mod run;
mod skeleton;
mod system;
mod xattr;

use fault::Fault;
use ground::Kind;
use operation::Operation;
use run::LENGTH;
use std::thread;
use std::time::Instant;

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

fn operations() -> usize {
    setting("NFIO_MODEL_OPERATIONS", 10_000) as usize
}

/// From which seed on sequences are drawn, where nobody says otherwise.
const FIRST_SEED: u64 = 1;

fn seed() -> u64 {
    setting("NFIO_MODEL_SEED", FIRST_SEED)
}

#[test]
fn guests_on_paper_do_as_the_model_says() {
    run::explore(Kind::Paper(None), operations(), LENGTH, seed());
}

#[test]
fn real_guests_do_as_the_model_says() {
    run::explore(Kind::Oci, operations() / 40, 50, seed());
}

/// Most operations until a fault is found, and most of them left when it is made short.
const FOUND_WITHIN: usize = 2_000;
const SHORT: usize = 10;

/// Operations in a sequence on what is broken.
const SHORT_SEQUENCE: usize = 60;

fn find(fault: Fault) {
    let kind = Kind::Paper(Some(fault));
    let start = Instant::now();
    let found = (0..).take(FOUND_WITHIN / SHORT_SEQUENCE).find_map(|number| {
        let mut operations = run::sequence(kind, FIRST_SEED + number, SHORT_SEQUENCE);
        // Waiting for what never comes is slow.
        if fault != Fault::GuestsDieWithNfio {
            let waits = |operation: &Operation| {
                matches!(
                    operation,
                    Operation::Remount
                        | Operation::Kill
                        | Operation::KillDuring(..)
                        | Operation::StartByHand(_)
                )
            };
            operations.retain(|operation| !waits(operation));
        }
        run::run(kind, &operations).err().map(|difference| (number, operations, difference))
    });
    let (number, operations, difference) =
        found.unwrap_or_else(|| panic!("{fault:?} is not found in {FOUND_WITHIN} operations"));
    let found_after = number as usize * SHORT_SEQUENCE + difference.done;
    let (short, difference) = run::shrink(kind, &operations, &difference).expect("it fails again");
    let (what, took) = (difference.what.lines().next().unwrap_or_default(), start.elapsed().as_secs_f64());
    println!("{fault:?}: found after {found_after} operations, {took:.1} s; short: {short:?}: {what}");
    assert!(short.len() <= SHORT, "{fault:?} is not made short: {short:?}");
}

#[test]
fn every_planted_fault_is_found_and_made_short() {
    let (some, others) = Fault::ALL.split_at(Fault::ALL.len() / 2);
    thread::scope(|scope| {
        scope.spawn(|| some.iter().copied().for_each(find));
        others.iter().copied().for_each(find);
    });
}
