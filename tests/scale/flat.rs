//! Whether what a process holds grew over a time of even work: the median of the last third against that of the middle
//! third. The first third is for warming up; a median does not mind what a single moment needed.

use super::usage::Usage;

/// What may differ between two thirds of even work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tolerance {
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
    /// KiB.
    pub(crate) anonymous: u64,
}

/// What is looked at of a sample.
type Value = fn(&Usage) -> u64;

/// Sentences, one for each thing that grew.
pub(crate) fn growth(samples: &[Usage], tolerance: Tolerance) -> Vec<String> {
    let third = samples.len() / 3;
    assert!(third >= 5, "{} samples are too few to judge by", samples.len());
    let (middle, last) = (&samples[third..2 * third], &samples[samples.len() - third..]);
    let judged: [(&str, Value, u64); 3] = [
        ("descriptors", |usage| usage.descriptors, tolerance.descriptors),
        ("threads", |usage| usage.threads, tolerance.threads),
        ("KiB of memory", |usage| usage.anonymous, tolerance.anonymous),
    ];
    let mut sentences = Vec::new();
    for (what, value, tolerance) in judged {
        let (before, after) = (median(middle, value), median(last, value));
        println!("{what}: {before} in the middle third, {after} in the last ({tolerance} may be added)");
        if after > before + tolerance {
            sentences.push(format!("{what} grew from {before} to {after}"));
        }
    }
    sentences
}

fn median(samples: &[Usage], value: Value) -> u64 {
    let mut values: Vec<u64> = samples.iter().map(value).collect();
    values.sort_unstable();
    values[values.len() / 2]
}
