//! Cases and their count.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The cases of a suite so far.
pub(crate) struct Cases {
    suite: String,
    run: u32,
    passed: u32,
}

impl Cases {
    pub(crate) fn new(suite: &str) -> Self {
        Self { suite: suite.to_owned(), run: 0, passed: 0 }
    }

    /// Runs a case, which fails by a panic; the others are run all the same.
    pub(crate) fn case(&mut self, name: &str, work: impl FnOnce()) {
        self.run += 1;
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(()) => {
                self.passed += 1;
                println!("passed: {name}");
            }
            Err(_) => println!("unexpected failure: {name}"),
        }
    }

    /// Says what they came to, and ends the process.
    pub(crate) fn end(self) -> ! {
        println!("{}: {} cases, {} passed, 0 expected failures", self.suite, self.run, self.passed);
        std::process::exit(i32::from(self.run == 0 || self.passed < self.run))
    }
}
