//! What a matrix did: verbs × steps.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::points::step;

/// A row for each step, in the order in which they were first reached; a column for each verb.
#[derive(Default)]
pub(super) struct Table {
    verbs: Vec<String>,
    rows: Vec<(String, Vec<usize>)>,
    cells: usize,
    failures: Vec<String>,
}

impl Table {
    /// Notes what came of one blow.
    pub(super) fn note(&mut self, verb: &str, point: &str, outcome: Result<(), String>) {
        let column = self.verbs.iter().position(|known| known == verb).unwrap_or_else(|| {
            self.verbs.push(verb.to_owned());
            self.verbs.len() - 1
        });
        let row = self.rows.iter().position(|(known, _)| known == step(point)).unwrap_or_else(|| {
            self.rows.push((step(point).to_owned(), Vec::new()));
            self.rows.len() - 1
        });
        let counts = &mut self.rows[row].1;
        counts.resize(counts.len().max(column + 1), 0);
        counts[column] += 1;
        self.cells += 1;
        if let Err(e) = outcome {
            self.failures.push(format!("{verb} at {point}: {e}"));
        }
    }

    /// The steps that were blown at.
    pub(super) fn steps(&self) -> BTreeSet<String> {
        self.rows.iter().map(|(step, _)| step.clone()).collect()
    }

    /// Prints itself, and fails where anything did.
    #[track_caller]
    pub(super) fn judge(&self, title: &str) {
        let mut text =
            format!("{title}: {} blows, {} recovered\n", self.cells, self.cells - self.failures.len());
        let _ = write!(text, "{:36}", "how often, at step");
        for verb in &self.verbs {
            let _ = write!(text, " {verb:>9}");
        }
        for (step, counts) in &self.rows {
            let _ = write!(text, "\n{step:36}");
            for column in 0..self.verbs.len() {
                match counts.get(column).copied().unwrap_or_default() {
                    0 => text.push_str("         -"),
                    count => {
                        let _ = write!(text, " {count:>9}");
                    }
                }
            }
        }
        println!("{text}");
        assert!(self.failures.is_empty(), "{title}:\n{}", self.failures.join("\n"));
    }
}
