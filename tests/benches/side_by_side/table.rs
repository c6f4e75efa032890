//! How two sides are measured, and how that is printed.

use std::fmt;
use std::time::{Duration, Instant};

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

    fn json(&self) -> String {
        let (median, min, spread) = (self.median(), self.min(), self.spread());
        let (name, n) = (self.name, self.figures.len());
        format!(
            r#"{{"name":"{name}","n":{n},"median":{median:.3},"min":{min:.3},"spread_percent":{spread:.1}}}"#
        )
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, min, spread) = (rounded(self.median()), rounded(self.min()), self.spread());
        write!(f, "{:<24}{median:>8}{min:>8}{spread:>7.0}%", self.name)
    }
}

/// Three digits that count are more than such figures are worth.
fn rounded(figure: f64) -> String {
    let decimals = if figure < 10.0 { 2 } else { usize::from(figure < 100.0) };
    format!("{figure:.decimals$}")
}

/// One line: a side A and, where there is something to compare it to, a side B.
struct Row {
    work: &'static str,
    unit: &'static str,
    a: Side,
    b: Option<Side>,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.b.as_ref().map(|b| self.a.median() / b.median())
    }

    fn json(&self) -> String {
        let b = self.b.as_ref().map_or("null".into(), Side::json);
        let ratio = self.ratio().map_or("null".into(), |ratio| format!("{ratio:.3}"));
        let (work, unit, a) = (self.work, self.unit, self.a.json());
        format!(r#"{{"work":"{work}","unit":"{unit}","a":{a},"b":{b},"ratio":{ratio}}}"#)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<32}{:<5}{}  ", self.work, self.unit, self.a)?;
        match (&self.b, self.ratio()) {
            (Some(b), Some(ratio)) => write!(f, "{b}{:>7}", rounded(ratio)),
            _ => write!(f, "(nothing to compare to yet)"),
        }
    }
}

/// All lines; each is printed as soon as it is measured.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    pub(crate) fn new() -> Self {
        println!(
            "{:<32}{:<5}{:<24}{:>8}{:>8}{:>8}  {:<24}{:>8}{:>8}{:>8}{:>7}",
            "work", "unit", "A", "median", "min", "spread", "B", "median", "min", "spread", "A/B"
        );
        Self::default()
    }

    fn add(&mut self, row: Row) {
        println!("{row}");
        self.0.push(row);
    }

    /// Measures A and B in turns, so that what else the machine does hits both: A B, B A, A B … after one round that
    /// does not count. Each call answers one figure in `unit`.
    pub(crate) fn compare(
        &mut self,
        (work, unit, rounds): (&'static str, &'static str, usize),
        (a, mut measure_a): (&'static str, impl FnMut() -> f64),
        (b, mut measure_b): (&'static str, impl FnMut() -> f64),
    ) {
        let (mut figures_a, mut figures_b) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            if round % 2 == 0 {
                figures_a.push(measure_a());
            }
            figures_b.push(measure_b());
            if round % 2 == 1 {
                figures_a.push(measure_a());
            }
        }
        self.pair((work, unit), (a, figures_a.split_off(1)), (b, figures_b.split_off(1)));
    }

    /// Two sides that were measured already.
    pub(crate) fn pair(
        &mut self,
        (work, unit): (&'static str, &'static str),
        (a, figures_a): (&'static str, Vec<f64>),
        (b, figures_b): (&'static str, Vec<f64>),
    ) {
        self.add(Row { work, unit, a: Side::new(a, figures_a), b: Some(Side::new(b, figures_b)) });
    }

    /// One side that has no other yet.
    pub(crate) fn alone(&mut self, work: &'static str, unit: &'static str, figures: Vec<f64>) {
        self.add(Row { work, unit, a: Side::new("mount", figures), b: None });
    }

    /// The same for programs: a line of JSON for each row.
    pub(crate) fn print_json(&self) {
        self.0.iter().for_each(|row| println!("{}", row.json()));
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
