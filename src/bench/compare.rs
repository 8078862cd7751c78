//! Records side by side.

use serde::Serialize;

use super::BenchError;
use super::doubt::{AGAIN, BUSY, unsteady, waited};
use super::page::{Page, Section, Table, digits};
use super::plot::Plot;
use super::record::{Record, Runs, Starts};
use super::report::by_threads;
use super::stats::median;
use super::unlike::{self, find, notes, threads_of};
use super::verdict::{RULE, Ratio};
use crate::shown::{count, megabytes};

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
        let records_of = |n: usize| [&records[0].1, &records[n].1];
        let unsteady = |n: usize| records_of(n).into_iter().find_map(unsteady);
        let of_runs = |name: String, runs: &[Option<&Runs>], other: &dyn Fn(usize) -> Option<&'static str>| {
            let waited = |n: usize| [runs[0], runs[n]].into_iter().flatten().any(waited).then_some(BUSY);
            let times: Vec<_> = runs.iter().map(|runs| runs.map(|runs| &runs.seconds[..])).collect();
            Row::of_times(name, &times, |n| other(n).or_else(|| unsteady(n)).or_else(|| waited(n)))
        };
        for point in &base.points {
            let runs: Vec<_> = all().map(|record| find(record, point.tokens, point.threads)).collect();
            rows.push(of_runs(format!("{} tokens, {}", point.tokens, count(point.threads, "thread")), &runs, &|_| {
                None
            }));
        }
        let other_questions = |n: usize| {
            let [a, b] = records_of(n);
            unlike::other_questions(&a.settings, &b.settings).then_some(unlike::QUESTIONS)
        };
        for point in &base.questions {
            let runs: Vec<_> = all()
                .map(|record| record.questions.iter().find(|q| q.threads == point.threads).map(|q| &q.runs))
                .collect();
            rows.push(of_runs(format!("question, {}", count(point.threads, "thread")), &runs, &other_questions));
        }
        for (name, starts) in [("load", (|r| &r.load) as fn(&Record) -> &Starts), ("first answer", |r| &r.first_answer)]
        {
            let other_threads = |n: usize| {
                let [a, b] = records_of(n).map(|record| threads_of(starts(record), record));
                (a != b).then_some(unlike::THREADS)
            };
            for (cache, times) in [("warm", (|s| &s.warm) as fn(&Starts) -> &Vec<f64>), ("cold", |s| &s.cold)] {
                // Each start is a process.
                let times: Vec<Vec<Vec<f64>>> =
                    all().map(|record| times(starts(record)).iter().map(|time| vec![*time]).collect()).collect();
                let times: Vec<_> = times.iter().map(|times| Some(&times[..])).collect();
                let doubt = |n| other_threads(n).or_else(|| unsteady(n));
                let row = Row::of_times(format!("{name}, {cache}"), &times, doubt);
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
        Ok(Self { records: letters.map(side).collect(), notes: notes(all()), rule: RULE, rows, plots })
    }

    /// The warnings of all records, with what to do about them said once.
    fn warnings(&self) -> Vec<String> {
        let (mut warnings, mut again) = (Vec::new(), Vec::new());
        for side in &self.records {
            for warning in &side.warnings {
                let short = warning.strip_suffix(AGAIN);
                again.extend(short.map(|_| side.letter.to_string()));
                warnings.push(format!("{}: {}", side.letter, short.unwrap_or(warning)));
            }
        }
        if !again.is_empty() {
            again.dedup();
            warnings.push(format!("end other programs, and measure {} again", again.join(", ")));
        }
        warnings
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
                        ratio.map_or_else(|| ["-", "-", "not measured"].map(str::to_owned), |ratio| ratio.cells()),
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
            warnings: self.warnings(),
            sections,
            ..Page::default()
        }
    }
}

impl Row {
    /// Of times by process, of each record; of the others, `doubt(n)` says why nothing is judged of record `n` and the first.
    fn of_times(name: String, times: &[Option<&[Vec<f64>]>], doubt: impl Fn(usize) -> Option<&'static str>) -> Self {
        let value = |times: &Option<&[Vec<f64>]>| {
            let times = times.map(|times| times.concat()).filter(|times| !times.is_empty())?;
            Some(median(&times))
        };
        let ratio = |n: usize| Ratio::of_times(times[0]?, times[n]?, doubt(n));
        let others = (1..times.len()).map(ratio).collect();
        Self { name, unit: "s", values: times.iter().map(value).collect(), others }
    }

    fn of_memory(name: String, values: Vec<Option<f64>>) -> Self {
        let ratio = |value: &Option<f64>| Some(Ratio::of_values((*values.first()?)?, (*value)?));
        let others = values.iter().skip(1).map(ratio).collect();
        Self { name, unit: "bytes", values, others }
    }
}

/// The highest peak of the points that `base` has, too, if all of them were measured.
fn most_memory(record: &Record, base: &Record) -> Option<f64> {
    let peaks = base.points.iter().map(|point| Some(find(record, point.tokens, point.threads)?.memory?.peak));
    // Nothing runs in no memory.
    Some(peaks.collect::<Option<Vec<_>>>()?.into_iter().max().filter(|peak| *peak > 0)? as f64)
}
