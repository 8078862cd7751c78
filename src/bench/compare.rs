//! Records side by side.

use serde::Serialize;

use super::BenchError;
use super::page::{Page, Section, Table, digits, megabytes, threads};
use super::plot::Plot;
use super::record::{Record, Runs, Starts};
use super::report::by_threads;
use super::stats::{median, ratio_interval};

/// Records, each compared with the first.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// What was compared.
    pub records: Vec<Side>,
    /// What may explain differences, or make them doubtful.
    pub notes: Vec<String>,
    /// When a difference exceeds the noise.
    pub rule: &'static str,
    /// Points of all records, in order of the first one's.
    pub rows: Vec<Row>,
    /// The lines of the picture.
    #[serde(skip)]
    plots: Vec<Plot>,
}

/// A record that was compared.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// Its letter in tables.
    pub letter: char,
    /// Its file.
    pub file: String,
    /// The machine.
    pub host: String,
    /// The version of the program.
    pub version: String,
    /// When it was made.
    pub date: String,
    /// The int8 kernel.
    pub kernel: String,
    /// What slowed the machine down.
    pub throttled: Vec<String>,
    /// What makes its figures doubtful.
    pub warnings: Vec<String>,
}

impl Side {
    fn warnings(&self) -> Vec<String> {
        self.warnings.iter().map(|warning| format!("{}: {warning}", self.letter)).collect()
    }
}

/// The same measurement of all records.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// `s` or `bytes`.
    pub unit: &'static str,
    /// The medians, or the most memory.
    pub values: Vec<Option<f64>>,
    /// What the others are to the first one.
    pub others: Vec<Option<Ratio>>,
}

/// A value over that of the first record.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The ratio.
    pub ratio: f64,
    /// Between what it lies with 95 % confidence, as far as the spread of single runs tells; of times only.
    pub interval: Option<(f64, f64)>,
    /// Whether the difference exceeds the noise; see [`Comparison::rule`]. `None` if too few processes were measured to tell.
    pub exceeds_noise: Option<bool>,
}

const RULE: &str = "A difference exceeds the noise if the 95 % interval of the ratio of medians (bootstrap of all runs, fixed \
    seed) excludes 1 and no median of a process of one record lies within those of the other. With fewer than three processes on \
    either side nothing is said. Memory: more than 2 %.";
/// Processes of each record without which the noise is not known: of two and two, a third are apart by chance alone.
const LEAST_PROCESSES: usize = 3;
/// Memory that differs by less is the same.
const SAME_MEMORY: f64 = 0.02;

impl Comparison {
    /// Compares `records`, given with the names of their files, with the first of them.
    ///
    /// # Errors
    /// [`BenchError::NothingInCommon`] if two of them share no point.
    pub fn new(records: Vec<(String, Record)>) -> Result<Self, BenchError> {
        let mut rows = Vec::new();
        let Some(((first, base), rest)) = records.split_first() else {
            return Ok(Self { records: Vec::new(), notes: Vec::new(), rule: RULE, rows, plots: Vec::new() });
        };
        let all = || records.iter().map(|(_, record)| record);
        for (file, record) in rest {
            let shared = |point: &super::record::Point| find(record, point.tokens, point.threads).is_some();
            if !base.points.iter().any(shared) {
                return Err(BenchError::NothingInCommon { first: first.clone(), second: file.clone() });
            }
        }
        for point in &base.points {
            let runs: Vec<_> = all().map(|record| find(record, point.tokens, point.threads)).collect();
            rows.push(Row::of_runs(format!("{} tokens, {}", point.tokens, threads(point.threads)), &runs));
        }
        for point in &base.questions {
            let runs: Vec<_> = all()
                .map(|record| record.questions.iter().find(|q| q.threads == point.threads).map(|q| &q.runs))
                .collect();
            rows.push(Row::of_runs(format!("question, {}", threads(point.threads)), &runs));
        }
        for (name, starts) in [("load", (|r| &r.load) as fn(&Record) -> &Starts), ("first answer", |r| &r.first_answer)]
        {
            for (cache, times) in [("warm", (|s| &s.warm) as fn(&Starts) -> &Vec<f64>), ("cold", |s| &s.cold)] {
                let times: Vec<&Vec<f64>> = all().map(|record| times(starts(record))).collect();
                // Each start is a process.
                let times: Vec<Vec<Vec<f64>>> =
                    times.iter().map(|times| times.iter().map(|time| vec![*time]).collect()).collect();
                let row = Row::of_times(format!("{name}, {cache}"), &times.iter().map(Some).collect::<Vec<_>>());
                if row.values.iter().any(Option::is_some) {
                    rows.push(row);
                }
            }
        }
        let peaks: Vec<Option<f64>> = all().map(|record| most_memory(record, base)).collect();
        rows.push(Row::of_memory("most memory".into(), peaks));
        let letters = records.iter().zip('A'..);
        let side = |((file, record), letter): (&(String, Record), char)| Side {
            letter,
            file: file.clone(),
            host: record.host.name(),
            version: record.program.version.clone(),
            date: record.date.clone(),
            kernel: record.host.kernel.clone(),
            throttled: record.throttled.clone(),
            warnings: record.warnings.clone(),
        };
        let series =
            records.iter().zip('A'..).flat_map(|((_, record), letter)| by_threads(record, &format!("{letter}: ")));
        let plots = vec![Plot::Lines { title: "Time by length".into(), series: series.collect() }];
        Ok(Self { records: letters.map(side).collect(), notes: notes(&records), rule: RULE, rows, plots })
    }

    /// As a page.
    pub fn page(&self) -> Page {
        let mut sections = Vec::new();
        let mut sides = Table::new(&["", "machine", "edgeqa", "date", "kernel", "file"]);
        for side in &self.records {
            let Side { letter, file, host, version, date, kernel, .. } = side;
            sides.rows.push([&letter.to_string(), host, version, date, kernel, file].map(String::clone).to_vec());
        }
        sections.push(Section {
            title: "Records".into(),
            table: Some(sides),
            notes: self.notes.clone(),
            ..Section::default()
        });
        let mut head = vec!["".to_owned()];
        for side in &self.records {
            head.push(format!("{}", side.letter));
            if side.letter != 'A' {
                head.extend([format!("{}/A", side.letter), "95 % interval".into(), "difference".into()]);
            }
        }
        let mut table = Table::new(&head);
        for row in &self.rows {
            let mut cells = vec![format!("{}, {}", row.name, if row.unit == "s" { "ms" } else { "MB" })];
            for (n, value) in row.values.iter().enumerate() {
                cells.push(value.map_or_else(
                    || "-".into(),
                    |value| match row.unit {
                        "s" => digits(value * 1e3),
                        _ => megabytes(value as u64),
                    },
                ));
                if let Some(ratio) = n.checked_sub(1).and_then(|other| row.others.get(other)) {
                    cells.extend(
                        ratio.map_or_else(
                            || ["-", "-", "not measured"].map(str::to_owned),
                            |ratio| ratio.cells(row.unit),
                        ),
                    );
                }
            }
            table.rows.push(cells);
        }
        let notes = vec![self.rule.to_owned()];
        sections.push(Section {
            title: "Medians".into(),
            table: Some(table),
            plots: self.plots.clone(),
            notes,
            rows: Vec::new(),
        });
        let alert = |side: &Side| {
            (!side.throttled.is_empty())
                .then(|| format!("{} ({}): {}", side.letter, side.file, side.throttled.join(", ")))
        };
        Page {
            title: "edgeqa bench: comparison".into(),
            subtitle: "Everything is compared with A; ratios below 1 are better.".into(),
            alerts: self.records.iter().filter_map(alert).collect(),
            warnings: self.records.iter().flat_map(Side::warnings).collect(),
            sections,
            ..Page::default()
        }
    }
}

impl Row {
    fn of_runs(name: String, runs: &[Option<&Runs>]) -> Self {
        let times: Vec<_> = runs.iter().map(|runs| runs.map(|runs| &runs.seconds)).collect();
        Self::of_times(name, &times)
    }

    /// Of times by process.
    fn of_times(name: String, times: &[Option<&Vec<Vec<f64>>>]) -> Self {
        let flat: Vec<Vec<f64>> =
            times.iter().map(|times| times.map(|times| times.concat()).unwrap_or_default()).collect();
        let values = flat.iter().map(|times| (!times.is_empty()).then(|| median(times))).collect();
        let medians = |n: usize| -> Vec<f64> {
            times[n].into_iter().flatten().filter(|times| !times.is_empty()).map(|times| median(times)).collect()
        };
        let ratio = |n: usize| {
            let interval = ratio_interval(&flat[0], &flat[n])?;
            let (base, other) = (medians(0), medians(n));
            let apart = !overlap(&base, &other) && !(interval.0..=interval.1).contains(&1.0);
            let exceeds_noise = (base.len().min(other.len()) >= LEAST_PROCESSES).then_some(apart);
            Some(Ratio { ratio: median(&flat[n]) / median(&flat[0]), interval: Some(interval), exceeds_noise })
        };
        Self { name, unit: "s", values, others: (1..times.len()).map(ratio).collect() }
    }

    fn of_memory(name: String, values: Vec<Option<f64>>) -> Self {
        let ratio = |value: &Option<f64>| {
            let ratio = (*value)? / (*values.first()?)?;
            Some(Ratio { ratio, interval: None, exceeds_noise: Some((ratio - 1.0).abs() > SAME_MEMORY) })
        };
        let others = values.iter().skip(1).map(ratio).collect();
        Self { name, unit: "bytes", values, others }
    }
}

impl Ratio {
    fn cells(&self, unit: &str) -> [String; 3] {
        let words = if unit == "s" { ["slower", "faster"] } else { ["more", "less"] };
        let verdict = match self.ratio {
            _ if self.exceeds_noise.is_none() => "too few processes to tell".into(),
            _ if self.exceeds_noise == Some(false) => "within the noise".into(),
            ratio if ratio > 1.0 => format!("{} {:.2}\u{d7}", words[0], ratio),
            ratio => format!("{} {:.2}\u{d7}", words[1], 1.0 / ratio),
        };
        let interval = self.interval.map_or_else(|| "-".into(), |(low, high)| format!("{low:.3} to {high:.3}"));
        [format!("{:.3}", self.ratio), interval, verdict]
    }
}

/// Whether the ranges of two samples have something in common.
fn overlap(a: &[f64], b: &[f64]) -> bool {
    let range = |x: &[f64]| x.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    let ((a_low, a_high), (b_low, b_high)) = (range(a), range(b));
    a_low <= b_high && b_low <= a_high
}

fn find(record: &Record, tokens: usize, threads: usize) -> Option<&Runs> {
    let mut points = record.points.iter();
    points.find(|point| point.tokens == tokens && point.threads == threads).map(|point| &point.runs)
}

/// The highest peak of the points that `base` has, too, if all of them were measured.
fn most_memory(record: &Record, base: &Record) -> Option<f64> {
    let peaks = base.points.iter().map(|point| Some(find(record, point.tokens, point.threads)?.memory?.peak));
    // Nothing runs in no memory.
    Some(peaks.collect::<Option<Vec<_>>>()?.into_iter().max().filter(|peak| *peak > 0)? as f64)
}

/// What the records do not have in common.
fn notes(records: &[(String, Record)]) -> Vec<String> {
    let mut notes = Vec::new();
    let Some(((_, base), rest)) = records.split_first() else { return notes };
    for ((_, record), letter) in rest.iter().zip('B'..) {
        let mut differs = |what: &str, differs: bool| {
            if differs {
                notes.push(format!("{letter} has {what} than A."));
            }
        };
        differs("another model", record.model.sha256 != base.model.sha256);
        differs(
            "another limit on memory",
            record.limit.as_ref().map(|l| l.bytes) != base.limit.as_ref().map(|l| l.bytes),
        );
        let (a, b) = (&record.settings, &base.settings);
        differs("another text or other questions", (a.text_bytes, a.questions) != (b.text_bytes, b.questions));
        differs("threads pinned otherwise", a.pinned != b.pinned);
        let points = |record: &Record| record.points.iter().map(|p| (p.tokens, p.threads)).collect::<Vec<_>>();
        differs("other points; those that A lacks are left out", points(record) != points(base));
    }
    notes
}
