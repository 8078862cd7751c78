//! What a report says, for a terminal, Markdown and HTML alike.

use super::plot::Plot;

/// A report.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// What it is about.
    pub title: String,
    /// Date, program and the like, in one line.
    pub subtitle: String,
    /// What must not be overlooked: that a machine was throttled.
    pub alerts: Vec<String>,
    /// What makes figures doubtful.
    pub warnings: Vec<String>,
    /// The figures that matter most, and what they are.
    pub highlights: Vec<(String, String)>,
    /// The parts.
    pub sections: Vec<Section>,
}

/// A part of a report.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Its title.
    pub title: String,
    /// Names and values.
    pub rows: Vec<(String, String)>,
    /// Figures.
    pub table: Option<Table>,
    /// Pictures, where there can be any.
    pub plots: Vec<Plot>,
    /// What is to be known about it.
    pub notes: Vec<String>,
}

/// Columns and rows of figures.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The names of the columns.
    pub head: Vec<String>,
    /// As many values in each as there are columns.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns and no rows yet.
    pub fn new<S: ToString>(head: &[S]) -> Self {
        Self { head: head.iter().map(S::to_string).collect(), rows: Vec::new() }
    }

    /// Whether a column holds words: these are set to the left.
    pub fn is_words(&self, column: usize) -> bool {
        let word = |text: &String| text.starts_with(|c: char| c.is_alphabetic());
        column > 0 && self.rows.iter().filter_map(|row| row.get(column)).any(word)
    }
}

/// A time for people, with the unit that suits it.
pub fn time(seconds: f64) -> String {
    match seconds * 1e3 {
        ms if ms >= 10_000.0 => format!("{:.2} s", ms / 1e3),
        ms => format!("{} ms", digits(ms)),
    }
}

/// A number with about three significant digits.
pub fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        0.0 => "0".into(),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
