//! The table, and the verdict over all of it.

use std::fmt;
use std::process::ExitCode;

/// What must hold of a measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Budget {
    /// Ours divided by the reference is at most this.
    RatioAtMost(f64),
    /// Ours divided by the reference is at least this.
    RatioAtLeast(f64),
    /// Ours is at most this, whatever the reference.
    AtMost(f64),
    /// Ours is this.
    Exactly(f64),
    /// Shown for comparison.
    None,
}

impl Budget {
    fn is_met(self, ours: f64, ratio: f64) -> bool {
        match self {
            Self::RatioAtMost(most) => ratio <= most,
            Self::RatioAtLeast(least) => ratio >= least,
            Self::AtMost(most) => ours <= most,
            Self::Exactly(exactly) => (ours - exactly).abs() < f64::EPSILON,
            Self::None => true,
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RatioAtMost(most) => write!(formatter, "<= {most} x"),
            Self::RatioAtLeast(least) => write!(formatter, ">= {least} x"),
            Self::AtMost(most) => write!(formatter, "<= {most}"),
            Self::Exactly(exactly) => write!(formatter, "= {exactly}"),
            Self::None => formatter.write_str("-"),
        }
    }
}

/// What was measured so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: usize,
    missed: Vec<String>,
}

impl Report {
    /// A line of the table.
    pub(crate) fn line(&mut self, what: &str, unit: &str, ours: f64, reference: Option<f64>, budget: Budget) {
        if self.lines == 0 {
            println!("{:<53} {:>12} {:>12} {:>7}  {:<9} verdict", "what", "ours", "reference", "ratio", "budget");
        }
        self.lines += 1;
        let ratio = reference.map_or(f64::NAN, |reference| ours / reference);
        let verdict = match budget {
            Budget::None => "",
            _ if budget.is_met(ours, ratio) => "met",
            _ => {
                self.missed.push(what.to_owned());
                "MISSED"
            }
        };
        let digits = if ours.abs() < 100.0 && ours.fract() != 0.0 { 2 } else { 0 };
        let value = |value: f64| format!("{value:.digits$} {unit}");
        let reference = reference.map_or("-".to_owned(), value);
        let ratio = match ratio {
            ratio if ratio.is_nan() => "-".to_owned(),
            ratio if ratio < 0.1 => format!("{ratio:.3}"),
            ratio => format!("{ratio:.2}"),
        };
        let budget = budget.to_string();
        println!("{what:<53} {:>12} {reference:>12} {ratio:>7}  {budget:<9} {verdict}", value(ours));
    }

    /// Whether all budgets are met.
    pub(crate) fn verdict(&self) -> ExitCode {
        if self.missed.is_empty() {
            println!("every budget is met");
            return ExitCode::SUCCESS;
        }
        println!("missed: {}", self.missed.join("; "));
        ExitCode::FAILURE
    }
}

/// The value in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
