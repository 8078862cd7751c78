//! Pictures of figures, as SVG that takes its colours from the page around it.

use std::fmt::Write;

use super::html::escape;
use super::page::digits;
use super::stats::percentile;
use crate::stats::ascending;

/// A picture.
#[derive(Clone, Debug)]
pub enum Plot {
    /// Times by length.
    Lines {
        /// What is shown.
        title: String,
        /// One line each.
        series: Vec<Series>,
    },
    /// Bars of stacked parts.
    Bars {
        /// What is shown.
        title: String,
        /// The unit of all values.
        unit: String,
        /// The names of the parts.
        parts: Vec<String>,
        /// What the mark is.
        mark: String,
        /// The bars.
        bars: Vec<Bar>,
    },
    /// How times spread around their medians.
    Distributions {
        /// What is shown.
        title: String,
        /// One row each.
        rows: Vec<Distribution>,
    },
}

/// A line.
#[derive(Clone, Debug)]
pub struct Series {
    /// What it is.
    pub name: String,
    /// Tokens and times, by tokens.
    pub points: Vec<(usize, Spread)>,
}

/// Percentiles of times, in ms.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The median.
    pub p50: f64,
    /// 90 % are less.
    pub p90: f64,
    /// 99 % are less.
    pub p99: f64,
}

/// A bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// What it is.
    pub name: String,
    /// One value for each part.
    pub parts: Vec<f64>,
    /// Where the mark is.
    pub mark: f64,
}

/// All times of something.
#[derive(Clone, Debug)]
pub struct Distribution {
    /// What it is.
    pub name: String,
    /// In seconds.
    pub times: Vec<f64>,
}

/// The width of every picture: about that of a phone, so that letters are as large as the page's there.
const WIDTH: f64 = 440.0;
/// How many colours the page has for series.
const COLOURS: usize = 6;
/// How many kinds of dots and lines it has for those of one colour.
const SHAPES: usize = 4;

/// The shape of the dots of series `n`.
fn shape(n: usize) -> usize {
    n / COLOURS % SHAPES
}

/// The classes of the colour and the shape of series `n`: no other one of the first 24 has the same.
fn look(n: usize) -> String {
    format!("c{} s{}", n % COLOURS, shape(n))
}

/// The class of the colour of part `n` of bars: the first one matters, the others are paler.
fn part_colour(n: usize) -> &'static str {
    if n == 0 { "c0" } else { "pale" }
}

impl Plot {
    /// What is shown.
    pub fn title(&self) -> &str {
        match self {
            Plot::Lines { title, .. } | Plot::Bars { title, .. } | Plot::Distributions { title, .. } => title,
        }
    }

    /// The colours with their names, and what the marks are.
    pub fn legend(&self) -> (Vec<(String, &str)>, String) {
        match self {
            Plot::Lines { series, .. } => (
                series.iter().enumerate().map(|(n, series)| (look(n), series.name.as_str())).collect(),
                "dots: median; bars: up to p90, whiskers up to p99; arrows: p99 is above the picture".into(),
            ),
            Plot::Bars { parts, mark, .. } => (
                parts.iter().enumerate().map(|(n, part)| (part_colour(n).to_owned(), part.as_str())).collect(),
                format!("line: {mark}; rows: tokens \u{d7} threads"),
            ),
            Plot::Distributions { .. } => {
                (Vec::new(), "ticks: p50, p90, p99; at both sides: times beyond; rows: tokens \u{d7} threads".into())
            }
        }
    }

    /// The picture.
    pub fn svg(&self) -> String {
        match self {
            Plot::Lines { series, .. } => lines(self.title(), series),
            Plot::Bars { unit, bars, .. } => stacked(self.title(), unit, bars),
            Plot::Distributions { rows, .. } => distributions(self.title(), rows),
        }
    }
}

/// An SVG that is being written.
struct Svg(String);

impl Svg {
    fn new(title: &str, height: f64) -> Self {
        let title = escape(title);
        Self(format!("<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{title}\">"))
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.0.write_fmt(element);
    }

    fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.add(format_args!("<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"));
    }

    /// The dot of series `n` at `x`, `y`.
    fn dot(&mut self, n: usize, x: f64, y: f64) {
        let corners: &[(f64, f64)] = match shape(n) {
            0 => return self.add(format_args!("<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>")),
            1 => &[(-3.2, -3.2), (3.2, -3.2), (3.2, 3.2), (-3.2, 3.2)],
            2 => &[(0.0, -4.4), (4.2, 3.2), (-4.2, 3.2)],
            _ => &[(0.0, -4.6), (4.6, 0.0), (0.0, 4.6), (-4.6, 0.0)],
        };
        let corners: Vec<String> = corners.iter().map(|(dx, dy)| format!("{:.1},{:.1}", x + dx, y + dy)).collect();
        self.add(format_args!("<polygon class=\"dot\" points=\"{}\"/>", corners.join(" ")));
    }

    fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        let text = escape(text);
        self.add(format_args!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"));
    }

    fn end(mut self) -> String {
        self.0.push_str("</svg>");
        self.0
    }
}

/// Round steps that lead from 0 to at least `most`, about `count` of them.
fn ticks(most: f64, count: f64) -> Vec<f64> {
    let most = if most.is_finite() && most > 0.0 { most } else { 1.0 };
    let raw = most / count;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|n| n * power).find(|step| *step >= raw * 0.999);
    let step = step.unwrap_or(raw);
    (0..=(most / step - 1e-9).ceil() as usize).map(|n| n as f64 * step).collect()
}

fn tick_label(value: f64) -> String {
    let label = format!("{value:.3}");
    label.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn lines(title: &str, series: &[Series]) -> String {
    const HEIGHT: f64 = 280.0;
    let (left, right, top, bottom) = (48.0, WIDTH - 14.0, 22.0, HEIGHT - 36.0);
    let points = || series.iter().flat_map(|series| &series.points);
    let mut lengths: Vec<usize> = points().map(|(tokens, _)| *tokens).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let longest = lengths.last().copied().unwrap_or(1) as f64;
    // One wild time must not press everything else flat.
    let most = points().map(|(_, spread)| spread.p99.min(2.5 * spread.p90)).fold(0.0, f64::max);
    let ticks = ticks(most, 5.0);
    let highest = ticks.last().copied().unwrap_or(1.0);
    let x = |tokens: f64| left + (right - left) * tokens / (longest * 1.02);
    let y = |ms: f64| (bottom - (bottom - top) * ms / highest).max(top - 6.0);
    let mut svg = Svg::new(title, HEIGHT);
    for tick in &ticks {
        svg.line(if *tick == 0.0 { "axis" } else { "grid" }, (left, y(*tick)), (right, y(*tick)));
        svg.text("end", left - 6.0, y(*tick) + 4.0, &tick_label(*tick));
    }
    svg.text("start unit", 4.0, 11.0, "ms");
    let mut free = left;
    for tokens in &lengths {
        let at = x(*tokens as f64);
        svg.line("axis", (at, bottom), (at, bottom + 4.0));
        if at >= free {
            svg.text("middle", at, bottom + 17.0, &tokens.to_string());
            free = at + 26.0;
        }
    }
    svg.text("end unit", right, HEIGHT - 4.0, "tokens");
    for (n, line) in series.iter().enumerate() {
        // Side by side, lest whiskers hide each other, and within the picture.
        let between = (24.0 / (series.len() as f64 - 1.0)).min(5.0);
        let aside = (n as f64 - (series.len() as f64 - 1.0) / 2.0) * between;
        let place = |(tokens, _): &(usize, Spread)| x(*tokens as f64) + aside;
        let path: Vec<String> =
            line.points.iter().map(|point| format!("{:.1},{:.1}", place(point), y(point.1.p50))).collect();
        svg.add(format_args!("<g class=\"{}\"><polyline points=\"{}\"/>", look(n), path.join(" ")));
        for point in &line.points {
            let (at, spread) = (place(point), point.1);
            let (p50, p90, p99) = (digits(spread.p50), digits(spread.p90), digits(spread.p99));
            let name = escape(&line.name);
            svg.add(format_args!("<g><title>{} tokens, {name}: p50 {p50} ms, p90 {p90}, p99 {p99}</title>", point.0));
            svg.line("whisker", (at, y(spread.p50)), (at, y(spread.p99)));
            if spread.p99 > highest {
                let tip = y(spread.p99);
                let (left, right) = (at - 3.5, at + 3.5);
                svg.add(format_args!(
                    "<path class=\"cut\" d=\"M{left:.1},{:.1}L{at:.1},{tip:.1}L{right:.1},{:.1}\"/>",
                    tip + 5.0,
                    tip + 5.0
                ));
            } else {
                svg.line("whisker", (at - 3.0, y(spread.p99)), (at + 3.0, y(spread.p99)));
            }
            svg.line("box", (at, y(spread.p50)), (at, y(spread.p90)));
            svg.dot(n, at, y(spread.p50));
            svg.add(format_args!("</g>"));
        }
        svg.add(format_args!("</g>"));
    }
    svg.end()
}

/// The x of the first thing right of the names of rows.
const NAMES: f64 = 76.0;

fn stacked(title: &str, unit: &str, bars: &[Bar]) -> String {
    const ROW: f64 = 24.0;
    let bottom = 8.0 + ROW * bars.len() as f64;
    let height = bottom + 36.0;
    let right = WIDTH - 20.0;
    let most = bars.iter().map(|bar| bar.parts.iter().sum::<f64>().max(bar.mark)).fold(0.0, f64::max);
    let ticks = ticks(most, 5.0);
    let highest = ticks.last().copied().unwrap_or(1.0);
    let x = |value: f64| NAMES + (right - NAMES) * value / highest;
    let mut svg = Svg::new(title, height);
    for tick in &ticks {
        svg.line(if *tick == 0.0 { "axis" } else { "grid" }, (x(*tick), 4.0), (x(*tick), bottom));
        svg.text("middle", x(*tick), bottom + 15.0, &tick_label(*tick));
    }
    svg.text("end unit", right + 8.0, height - 4.0, unit);
    for (n, bar) in bars.iter().enumerate() {
        let y = 8.0 + ROW * n as f64;
        svg.text("end", NAMES - 8.0, y + 13.0, &bar.name);
        let parts: Vec<String> = bar.parts.iter().map(|part| digits(*part)).collect();
        let name = escape(&bar.name);
        svg.add(format_args!("<g><title>{name}: {} {unit}, mark {}</title>", parts.join(" + "), digits(bar.mark)));
        let mut sum = 0.0;
        for (part, value) in bar.parts.iter().enumerate() {
            let (from, width) = (x(sum), (x(sum + value) - x(sum)).max(0.0));
            svg.add(format_args!(
                "<rect class=\"{}\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"14\"/>",
                part_colour(part),
                y + 2.0
            ));
            sum += value;
        }
        svg.line("mark", (x(bar.mark), y - 1.0), (x(bar.mark), y + 19.0));
        svg.add(format_args!("</g>"));
    }
    svg.end()
}

/// How the times of each row are distributed around their median: a hill for each, ticks at percentiles.
fn distributions(title: &str, rows: &[Distribution]) -> String {
    const ROW: f64 = 30.0;
    const BINS: usize = 72;
    let rows: Vec<(&str, Vec<f64>)> = rows
        .iter()
        .filter(|row| !row.times.is_empty())
        .map(|row| {
            let times = ascending(row.times.iter().copied());
            let median = percentile(&times, 0.5);
            (row.name.as_str(), times.iter().map(|time| time / median).collect())
        })
        .collect();
    // What most rows need, between narrow and wide.
    let mut reach: Vec<f64> =
        rows.iter().flat_map(|(_, times)| [1.0 - percentile(times, 0.01), percentile(times, 0.97) - 1.0]).collect();
    reach = ascending(reach);
    let reach = (1.3 * percentile(&reach, 0.85)).clamp(0.04, 0.9);
    let (low, high) = ((1.0 - 0.6 * reach).max(0.0), 1.0 + reach);
    let bottom = 10.0 + ROW * rows.len() as f64;
    // Room for the numbers of times beyond.
    let (left, right) = (NAMES + 26.0, WIDTH - 34.0);
    let x = |ratio: f64| left + (right - left) * ((ratio - low) / (high - low)).clamp(0.0, 1.0);
    let mut svg = Svg::new(title, bottom + 36.0);
    let step = ticks(high - low, 5.0).get(1).copied().unwrap_or(0.1);
    let first = ((low - 1.0) / step).ceil() as i64;
    for tick in (first..).map(|n| 1.0 + n as f64 * step).take_while(|tick| *tick <= high + 1e-9) {
        svg.line(if (tick - 1.0).abs() < 1e-9 { "axis" } else { "grid" }, (x(tick), 4.0), (x(tick), bottom));
        svg.text("middle", x(tick), bottom + 15.0, &tick_label(tick));
    }
    svg.text("end unit", WIDTH - 4.0, bottom + 31.0, "time / median");
    for (n, (name, times)) in rows.iter().enumerate() {
        let base = 10.0 + ROW * (n + 1) as f64 - 4.0;
        svg.text("end", NAMES - 8.0, base - 2.0, name);
        let mut bins = [0usize; BINS];
        let (mut below, mut beyond, mut most) = (0, 0, 1);
        for time in times {
            match ((time - low) / (high - low) * BINS as f64).floor() {
                bin if bin < 0.0 => below += 1,
                bin if bin < BINS as f64 => {
                    let count = &mut bins[bin as usize];
                    *count += 1;
                    most = most.max(*count);
                }
                _ => beyond += 1,
            }
        }
        let width = (right - left) / BINS as f64;
        let mut path = format!("M{left:.1},{base:.1}");
        for (bin, count) in bins.iter().enumerate() {
            let y = base - (ROW - 9.0) * *count as f64 / most as f64;
            let from = left + width * bin as f64;
            let _ = write!(path, "L{from:.1},{y:.1}L{:.1},{y:.1}", from + width);
        }
        let _ = write!(path, "L{right:.1},{base:.1}Z");
        let at = |fraction| percentile(times, fraction);
        svg.add(format_args!(
            "<g class=\"c0\"><title>{}: {} times, p90 {:.3}, p99 {:.3} of the median</title><path class=\"hill\" d=\"{path}\"/>",
            escape(name),
            times.len(),
            at(0.9),
            at(0.99)
        ));
        svg.line("axis", (left, base), (right, base));
        for (fraction, height) in [(0.5, 9.0), (0.9, 6.0), (0.99, 6.0)] {
            if at(fraction) <= high {
                svg.line("mark", (x(at(fraction)), base + 3.0), (x(at(fraction)), base + 3.0 - height));
            }
        }
        svg.add(format_args!("</g>"));
        if beyond > 0 {
            svg.text("start note", right + 4.0, base - 2.0, &format!("+{beyond}"));
        }
        if below > 0 {
            svg.text("end note", left - 4.0, base - 2.0, &format!("+{below}"));
        }
    }
    svg.end()
}

#[cfg(test)]
mod tests;
