//! How two sides are measured, and how that is printed.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

/// What the ratio A/B of a row is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// Of times, and of memory.
    AtMost(f64),
    /// Of rates.
    AtLeast(f64),
}

impl Target {
    fn met(self, ratio: f64) -> bool {
        match self {
            Self::AtMost(limit) => ratio <= limit,
            Self::AtLeast(limit) => ratio >= limit,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "<= {limit}"),
            Self::AtLeast(limit) => write!(f, ">= {limit}"),
        }
    }
}

/// What is measured: its name, the unit of its figures, how often, and the target where it has one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) rounds: usize,
    pub(crate) target: Option<Target>,
}

impl Work {
    /// Without a target.
    pub(crate) fn new(name: &'static str, unit: &'static str, rounds: usize) -> Self {
        Self { name, unit, rounds, target: None }
    }

    /// With the most that A/B may be.
    pub(crate) fn at_most(self, limit: f64) -> Self {
        Self { target: Some(Target::AtMost(limit)), ..self }
    }

    /// With the least that A/B may be.
    pub(crate) fn at_least(self, limit: f64) -> Self {
        Self { target: Some(Target::AtLeast(limit)), ..self }
    }
}

/// What was measured of one side, one figure for each repetition.
struct Side {
    name: &'static str,
    figures: Vec<f64>,
}

impl Side {
    fn new(name: &'static str, mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        Self { name, figures }
    }

    fn at(&self, share: f64) -> f64 {
        let last = self.figures.len() - 1;
        self.figures[(last as f64 * share).round() as usize]
    }

    fn median(&self) -> f64 {
        self.at(0.5)
    }

    fn min(&self) -> f64 {
        self.at(0.0)
    }

    /// The middle half's width, in per cent of the median.
    fn spread(&self) -> f64 {
        (self.at(0.75) - self.at(0.25)) / self.median() * 100.0
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "name": self.name,
            "n": self.figures.len(),
            "median": self.median(),
            "min": self.min(),
            "spread_percent": self.spread(),
        })
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, min, spread) = (rounded(self.median()), rounded(self.min()), self.spread());
        write!(f, "{:<22}{median:>8}{min:>8}{spread:>6.0}%", self.name)
    }
}

/// Three digits that count are more than such figures are worth.
fn rounded(figure: f64) -> String {
    let decimals = match figure.abs() {
        small if small < 1.0 => 3,
        small if small < 10.0 => 2,
        other => usize::from(other < 100.0),
    };
    format!("{figure:.decimals$}")
}

/// One line: a side A and, where there is something to compare it to, a side B.
struct Row {
    work: Work,
    a: Side,
    b: Option<Side>,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.b.as_ref().map(|b| self.a.median() / b.median())
    }

    /// Whether it is what it is to be; None where nothing was asked.
    fn met(&self) -> Option<bool> {
        Some(self.work.target?.met(self.ratio()?))
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "work": self.work.name,
            "unit": self.work.unit,
            "a": self.a.json(),
            "b": self.b.as_ref().map(Side::json),
            "ratio": self.ratio(),
            "target": self.work.target.map(|target| target.to_string()),
            "met": self.met(),
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<36}{:<6}{}  ", self.work.name, self.work.unit, self.a)?;
        let (Some(b), Some(ratio)) = (&self.b, self.ratio()) else { return write!(f, "-") };
        write!(f, "{b}{:>7}", rounded(ratio))?;
        match (self.work.target, self.met()) {
            (Some(target), Some(true)) => write!(f, "  {target}, met"),
            (Some(target), _) => write!(f, "  {target}, MISSED"),
            (None, _) => Ok(()),
        }
    }
}

/// All lines; each is printed as soon as it is measured.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    pub(crate) fn new() -> Self {
        println!(
            "{:<36}{:<6}{:<22}{:>8}{:>8}{:>7}  {:<22}{:>8}{:>8}{:>7}{:>7}  target",
            "work", "unit", "A", "median", "min", "spread", "B", "median", "min", "spread", "A/B"
        );
        Self::default()
    }

    fn add(&mut self, row: Row) {
        println!("{row}");
        self.0.push(row);
    }

    /// Measures A and B in turns, so that what else the machine does hits both: A B, B A, A B … after one round that
    /// does not count. Each call answers one figure in the work's unit.
    pub(crate) fn compare(
        &mut self,
        work: Work,
        (a, mut measure_a): (&'static str, impl FnMut() -> f64),
        (b, mut measure_b): (&'static str, impl FnMut() -> f64),
    ) {
        let (mut figures_a, mut figures_b) = (Vec::new(), Vec::new());
        for round in 0..=work.rounds {
            if round % 2 == 0 {
                figures_a.push(measure_a());
            }
            figures_b.push(measure_b());
            if round % 2 == 1 {
                figures_a.push(measure_a());
            }
        }
        self.pair(work, (a, figures_a.split_off(1)), (b, figures_b.split_off(1)));
    }

    /// Two sides that were measured already.
    pub(crate) fn pair(
        &mut self,
        work: Work,
        (a, figures_a): (&'static str, Vec<f64>),
        (b, figures_b): (&'static str, Vec<f64>),
    ) {
        self.add(Row { work, a: Side::new(a, figures_a), b: Some(Side::new(b, figures_b)) });
    }

    /// One side that has no other.
    pub(crate) fn alone(&mut self, work: Work, figures: Vec<f64>) {
        self.add(Row { work, a: Side::new("mount", figures), b: None });
    }

    /// Says which targets were missed.
    pub(crate) fn print_verdict(&self) {
        let judged = self.0.iter().filter_map(|row| row.met().map(|met| (row, met)));
        let missed: Vec<_> = judged.clone().filter(|(_, met)| !met).map(|(row, _)| row.work.name).collect();
        println!("\n{} of {} targets met", judged.count() - missed.len(), missed.len() + self.met());
        if !missed.is_empty() {
            println!("missed: {}", missed.join("; "));
        }
    }

    fn met(&self) -> usize {
        self.0.iter().filter(|row| row.met() == Some(true)).count()
    }

    /// Keeps all lines for programs.
    pub(crate) fn save(&self, path: &Path, machine: &str) {
        let rows: Vec<_> = self.0.iter().map(Row::json).collect();
        let text = serde_json::json!({ "machine": machine, "rows": rows });
        std::fs::write(path, format!("{text:#}\n")).expect("the file of results");
        println!("as JSON: {}", path.display());
    }
}

fn time(count: u32, mut work: impl FnMut()) -> Duration {
    let start = Instant::now();
    (0..count).for_each(|_| work());
    start.elapsed() / count
}

/// Microseconds that `work` takes, the mean of `count` times.
pub(crate) fn micros(count: u32, work: impl FnMut()) -> f64 {
    time(count, work).as_secs_f64() * 1e6
}

/// Milliseconds that `work` takes, the mean of `count` times.
pub(crate) fn millis(count: u32, work: impl FnMut()) -> f64 {
    time(count, work).as_secs_f64() * 1e3
}
