//! What nfio takes of a machine, with many instances and over time. `tests/external/scale.sh` and `soak.sh` run it in
//! the test bed: `cargo test -p nfio-tests --offline --test scale -- --suite scale|soak`. No time is asserted; what was
//! measured is printed.
//!
//! - `many.rs`: thousands of instances are mounted, listed and forgotten again; nfio's memory keeps to its bound.
//! - `few_descriptors.rs`: a thousand of them under `ulimit -n 1024`.
//! - `soak.rs`: a mix of all kinds of work (`work.rs`), in which nothing may grow; and one with a planted leak.
//! - `usage.rs` reads what a process holds, `flat.rs` judges whether it grew.

mod cases;
mod few_descriptors;
mod flat;
mod many;
mod soak;
mod usage;
mod work;

use cases::Cases;
use std::env::args;

/// A number from the environment.
fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => otherwise,
    }
}

fn main() {
    // `cargo test` runs it too, without these words: make test leaves it to the scripts.
    let suite = args().skip_while(|word| word != "--suite").nth(1);
    let Some(suite) = suite else { return };
    let mut cases = Cases::new(&suite);
    match suite.as_str() {
        "scale" => {
            let instances = number("NFIO_SCALE_INSTANCES", 2000);
            many::judge(&mut cases, usize::try_from(instances).expect("a number of instances"));
            few_descriptors::judge(&mut cases);
        }
        "soak" => soak::judge(&mut cases, number("NFIO_SOAK_SECONDS", 20)),
        other => panic!("there is no suite {other}: scale or soak"),
    }
    cases.end();
}
