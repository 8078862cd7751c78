//! Measuring a machine: what is measured, in which order, and the record that it makes.

use std::path::{Path, PathBuf};

use super::BenchError;
use super::doubt::warnings;
use super::host::Host;
use super::measure::{Measured, Work};
use super::record::{FORMAT, MemoryLimit, Point, Questions, Record, Runs, Settings, VERSION};
use super::runner::{Done, Runner};
use super::state::{State, Ticks};
use super::stats::Summary;
use super::subject::{drop_model, prepare, program, sum_of_text};
use crate::memory::Limited;
use crate::memory::limit::Kind;
use crate::memory::{Need, Shortage};

/// A text for everyone who gives none.
pub const TEXT: &str = include_str!("../../models/demo/texts/lighthouse.txt");
/// Questions about [`TEXT`].
pub const QUESTIONS: [&str; 4] = [
    "Who was the last keeper?",
    "When was the light automated?",
    "What is the ticket price?",
    "Who lived in the tower with the keeper?",
];
/// Lengths that are measured unless others are asked for, as far as the model takes them of the question.
pub const LENGTHS: [usize; 5] = [32, 64, 128, 256, 384];
/// The argument that makes `edgeqa bench` read a [`Task`](super::measure::Task) from standard input, and write what it has
/// [`Measured`].
pub const WORKER: &str = "--worker";

/// What to measure, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// This program.
    pub program: PathBuf,
    /// The model file.
    pub model: PathBuf,
    /// Lengths of sequences, in tokens; none for the usual ones.
    pub lengths: Vec<usize>,
    /// Numbers of threads.
    pub threads: Vec<usize>,
    /// How.
    pub settings: Settings,
    /// Questions.
    pub questions: Vec<String>,
    /// The text that they are about.
    pub text: String,
    /// A limit on the memory of every process that measures, in bytes.
    pub limit: Option<u64>,
}

/// Measures what `plan` says, and calls `observe(done, all)` after each process.
///
/// # Errors
/// If the model cannot be used, and otherwise [`BenchError`], if nothing can be measured. A point that fails, by the limit perhaps, says so
/// in the record instead.
pub fn run(plan: &Plan, observe: impl Fn(usize, usize)) -> anyhow::Result<Record> {
    let root = Path::new("/");
    let (host, before, ticks) = (Host::read(root), State::read(root), Ticks::read(root));
    let date = crate::date::now();
    let (config, encoder, model, windows) = prepare(plan)?;
    let program = program(&plan.program)?;
    let rounds = plan.settings.rounds.max(1);
    let starts = plan.settings.starts;
    let points = windows.len() * plan.threads.len();
    let of_starts = if starts == 0 { 0 } else { 4 * starts + 1 };
    let all = of_starts + rounds * (points + plan.threads.len());
    let limited = plan.limit.map(Limited::new);
    // Pages count for the group that reads them first, which must not be this process.
    let kept =
        limited.as_ref().filter(|limited| counts_files(limited.limit().kind)).and_then(|_| drop_model(&plan.model));
    let runner = Runner { plan, limited, observe: &observe, all };
    let mut done = Done { count: 0, throttled: Vec::new(), before: &before };

    let load = runner.load(&mut done);
    let (first_answer, first_answer_warm) = runner.first_answer(&mut done)?;
    let combinations = plan.threads.iter().flat_map(|&threads| windows.iter().map(move |window| (threads, window)));
    let mut points: Vec<(Point, &Work)> = combinations
        .map(|(threads, (tokens, work))| (Point { tokens: *tokens, threads, ..Point::default() }, work))
        .collect();
    let mut questions: Vec<Questions> =
        plan.threads.iter().map(|&threads| Questions { threads, ..Questions::default() }).collect();
    let asked = Work::Questions { questions: plan.questions.clone(), text: plan.text.clone() };
    // Round by round, so that a machine that gets slower meanwhile does not make the last point look worse than the first.
    for _ in 0..rounds {
        for (point, work) in &mut points {
            runner.add(&mut point.runs, point.threads, work, &mut done);
        }
        for point in &mut questions {
            runner.add(&mut point.runs, point.threads, &asked, &mut done);
        }
    }
    if let Some(limited) = &runner.limited {
        // Whoever failed is told how much is missing, as far as that can be known.
        for (point, _) in &mut points {
            let need = Need::estimate(&config, point.tokens, point.threads, encoder, model.bytes as usize);
            if let (Some(failure), Some(Shortage::Fatal { needed })) =
                (&mut point.runs.failure, need.shortage(&limited.limit()))
            {
                failure.push_str(&format!("; it should need {} MiB or more", needed.div_ceil(1 << 20)));
            }
        }
    }
    let points: Vec<Point> = points.into_iter().map(|(point, _)| point.finished()).collect();
    let questions: Vec<Questions> = questions.into_iter().map(Questions::finished).collect();
    let runs = || points.iter().map(|point| &point.runs).chain(questions.iter().map(|point| &point.runs));
    if runs().all(|runs| runs.summary.is_none())
        && let Some(problem) = runs().find_map(|runs| runs.failure.clone())
    {
        return Err(BenchError::Nothing(problem).into());
    }
    let after = State::read(root);
    done.note(&after);
    let shares = ticks.zip(Ticks::read(root)).and_then(|(before, after)| after.shares_since(&before));
    let mut record = Record {
        format: FORMAT.into(),
        format_version: VERSION,
        date,
        program,
        model,
        settings: Settings {
            text_sha256: Some(sum_of_text(&plan.text)),
            questions_sha256: Some(sum_of_text(&plan.questions.join("\n"))),
            ..plan.settings.clone()
        },
        host,
        throttled: done.throttled,
        before,
        after,
        steal: shares.map(|(steal, _)| steal),
        others: shares.map(|(_, others)| others),
        warnings: Vec::new(),
        limit: runner.limited.as_ref().map(|limited| limit(limited, kept)),
        load,
        first_answer,
        first_answer_warm,
        points,
        questions,
    };
    record.warnings = warnings(&record);
    Ok(record)
}

impl Runs {
    /// Adds the runs of one process.
    pub(super) fn add(&mut self, measured: Measured, threads: usize) {
        let count = |seconds: &[Vec<f64>]| seconds.iter().map(Vec::len).sum::<usize>() as f64;
        let (old, new) = (count(&self.seconds), measured.seconds.len() as f64);
        // Means over all runs, of what is counted over the runs of a process.
        let mean = |before: Option<f64>, sum: Option<f64>| match (before, sum) {
            (None, Some(sum)) if old == 0.0 => Some(sum / new),
            (Some(before), Some(sum)) => Some((before * old + sum) / (old + new)),
            _ => None,
        };
        self.minor_faults = mean(self.minor_faults, measured.minor_faults.map(|faults| faults as f64));
        self.major_faults = mean(self.major_faults, measured.major_faults.map(|faults| faults as f64));
        let wall = |times: &[f64]| times.iter().sum::<f64>() * threads as f64;
        let before: f64 = self.seconds.iter().map(|times| wall(times)).sum();
        let cpu = self.cpu_share.unwrap_or(0.0) * before + measured.cpu_seconds;
        self.cpu_share = Some(cpu / (before + wall(&measured.seconds)));
        self.memory = self.memory.into_iter().chain(measured.memory).max_by_key(|memory| memory.peak);
        self.seconds.push(measured.seconds);
        self.summary = Summary::of(&self.all());
    }
}

impl Point {
    fn finished(mut self) -> Self {
        self.tokens_per_second = self.runs.summary.as_ref().map(|summary| self.tokens as f64 / summary.p50);
        self
    }
}

impl Questions {
    fn finished(mut self) -> Self {
        // Tokenizing is done by one thread, while the others sleep.
        self.runs.cpu_share = self.runs.cpu_share.filter(|_| self.threads == 1);
        self.per_second = self.runs.summary.as_ref().map(|summary| 1.0 / summary.mean);
        self
    }
}

/// Whether a limit counts pages of files.
fn counts_files(kind: Kind) -> bool {
    matches!(kind, Kind::Cgroup2 | Kind::Cgroup1)
}

/// What a limit counts. Pages of the model may have been `kept` in memory from before.
fn meaning(kind: Kind, kept: bool) -> &'static str {
    match kind {
        Kind::Cgroup2 | Kind::Cgroup1 if kept => {
            "private memory and the pages of files that its processes were first to read: not those of the program, nor those of \
             the model that were in memory before, without which a board with so little memory would be slower"
        }
        Kind::Cgroup2 | Kind::Cgroup1 => {
            "private memory and the pages of files that its processes were first to read: the model's, which was dropped \
             from the page cache before, but not those of the program; the system drops pages of files, and reads them \
             again, before it kills a process"
        }
        Kind::Data => {
            "private memory that can be written, whether used or not; pages of the model file do not count, so a board with so \
             little memory would be slower"
        }
        Kind::AddressSpace => "all addresses, whether used or not; the whole model file counts",
    }
}

/// What is said about `limited`, where something `kept` the model in memory before.
fn limit(limited: &Limited, kept: Option<String>) -> MemoryLimit {
    let limit = limited.limit();
    MemoryLimit {
        bytes: limit.bytes,
        by: limit.kind.name().into(),
        meaning: meaning(limit.kind, kept.is_some()).into(),
        doubt: kept
            .map(|reason| format!("the limit on memory may not count the model, which would be slower then: {reason}")),
        kills: limited.kills(),
        peak: limited.peak(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not dropped from the page cache is not said to have been.
    #[test]
    fn a_limit_means_what_it_counts() {
        for kind in [Kind::Cgroup1, Kind::Cgroup2] {
            assert!(meaning(kind, false).contains("which was dropped") && !meaning(kind, true).contains("was dropped"));
            assert!(meaning(kind, true).contains("nor those of the model that were in memory before"));
        }
        assert_eq!(meaning(Kind::Data, true), meaning(Kind::Data, false));
    }

    #[test]
    fn shares_and_faults_are_means_over_all_runs() {
        let mut runs = Runs::default();
        let measured = |seconds: &[f64], cpu_seconds, faults| Measured {
            seconds: seconds.to_vec(),
            cpu_seconds,
            minor_faults: Some(faults),
            major_faults: Some(0),
            ..Measured::default()
        };
        runs.add(measured(&[1.0, 1.0], 3.0, 10), 2);
        runs.add(measured(&[2.0], 1.0, 2), 2);
        assert_eq!((runs.minor_faults, runs.major_faults, runs.cpu_share), (Some(4.0), Some(0.0), Some(0.5)));
        assert_eq!(runs.seconds, [vec![1.0, 1.0], vec![2.0]]);
        assert_eq!(runs.summary.expect("a summary").runs, 3);
    }
}
