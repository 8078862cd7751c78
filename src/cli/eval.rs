//! `edgeqa eval`.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use edgeqa::bench::stats::Summary;
use edgeqa::date;
use edgeqa::eval::score::Figure;
use edgeqa::eval::{Dataset, EvalError, Metrics, Prediction, Subset, evaluate, files};
use edgeqa::kernels::gemm;
use edgeqa::memory;
use edgeqa::progress::Progress;
use edgeqa::qa::AskOptions;
use edgeqa::shown::{count, megabytes};
use edgeqa::threads::Threads;
use serde::Serialize;

use super::args::EvalArgs;
use super::excerpt::clean;
use super::input::refuse_stdin;
use super::{load, locate, pretty, print, refuse_input};

/// Everything about an evaluation.
#[derive(Serialize)]
struct Report {
    data: Data,
    /// If a model was run.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<Run>,
    /// If files were scored.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Files>,
    metrics: Metrics,
}

#[derive(Serialize)]
struct Data {
    file: String,
    sha256: String,
    questions: usize,
    paragraphs: usize,
    subset: Option<Subset>,
}

#[derive(Serialize)]
struct Run {
    /// Version of the program.
    version: &'static str,
    /// What it was built for.
    target: String,
    /// When it ended, in UTC.
    date: String,
    model: String,
    /// Checksum of its tensor data.
    model_data_sha256: String,
    /// Null odds above which there was no answer; `None` if there always was one.
    null_threshold: Option<f32>,
    #[serde(skip)]
    threshold_from: &'static str,
    max_answer_len: usize,
    /// Tokens of the longest window.
    max_seq_len: usize,
    /// Tokens that windows share, but half of what they hold of the text where that is less and this was not asked for.
    doc_stride: usize,
    threads: usize,
    kernel: &'static str,
    windows: usize,
    seconds: Seconds,
    peak_memory_bytes: Option<u64>,
    /// Where the files are, if they could be written.
    out: Option<String>,
}

#[derive(Serialize)]
struct Seconds {
    total: f64,
    /// Of a question on its thread.
    mean: f64,
    median: f64,
    longest: f64,
}

#[derive(Serialize)]
struct Files {
    predictions: String,
    null_odds: Option<String>,
    null_odds_threshold: Option<f64>,
}

pub fn run(args: &EvalArgs) -> anyhow::Result<()> {
    let files = [("--squad", Some(&args.squad)), ("--predictions", args.predictions.as_ref())];
    for (option, path) in files.into_iter().chain([("--null-odds", args.null_odds.as_ref())]) {
        path.map_or(Ok(()), |path| refuse_stdin("eval", option, path))?;
    }
    let mut dataset = Dataset::read(&args.squad)?;
    // A draw may hold others by chance.
    let all_have_answers = dataset.questions().all(|question| question.has_answer());
    if let Some(limit) = args.limit {
        dataset = dataset.sample(limit, args.seed);
    }
    let (report, written) = match &args.predictions {
        Some(predictions) => (score(args, &dataset, predictions)?, Ok(())),
        None => answer(args, &dataset, all_have_answers)?,
    };
    let text = if args.json {
        pretty(&report)?
    } else {
        let mut text = String::new();
        report.write(&mut text)?;
        text
    };
    print(&text)?;
    Ok(written?)
}

/// Scores given answers.
fn score(args: &EvalArgs, dataset: &Dataset, path: &Path) -> anyhow::Result<Report> {
    let predictions = files::read_predictions(path)?;
    let null_odds = args.null_odds.as_deref().map(files::read_null_odds).transpose()?;
    let metrics = Metrics::new(dataset, &predictions, null_odds.as_ref(), args.null_odds_threshold)?;
    let files = Files {
        predictions: path.display().to_string(),
        null_odds: args.null_odds.as_ref().map(|path| path.display().to_string()),
        null_odds_threshold: args.null_odds_threshold,
    };
    Ok(Report { data: Data::of(dataset), run: None, files: Some(files), metrics })
}

/// Runs a model and scores its answers; `all_have_answers` is whether every question of the whole file has one. A run can take hours: its
/// figures are there also if its files cannot be written, which is the second result.
fn answer(
    args: &EvalArgs,
    dataset: &Dataset,
    all_have_answers: bool,
) -> anyhow::Result<(Report, Result<(), EvalError>)> {
    let path = locate::model(args.model.model.as_deref())?;
    if let Some(folder) = &args.out {
        let inputs = [args.squad.clone(), path.clone()];
        files::names(folder).iter().try_for_each(|name| refuse_input("eval", name, &inputs))?;
        files::prepare(folder)?;
    }
    let threads = args.threads.unwrap_or_else(Threads::usable_cpus);
    let (artifact, reader) = load(&path, &args.model, threads.get(), args.answer.max_seq_len)?;
    let options = args.answer.options();
    let (null_threshold, threshold_from) = match options.null_threshold {
        _ if options.always_answer => (None, "always answer"),
        Some(given) => (Some(given), "as asked for"),
        None if artifact.metadata().null_threshold.is_some() => {
            (Some(reader.null_threshold()), "the model's recommendation")
        }
        None => (Some(reader.null_threshold()), "the model recommends none"),
    };
    if null_threshold.is_some() && all_have_answers {
        log::warn!(
            "every question of {} has an answer, but the model may say that there is none; --always-answer has it answer all",
            args.squad.display()
        );
    }
    let started = Instant::now();
    let progress = Progress::of_questions("answering");
    let predictions = evaluate(&reader, dataset, &options, threads, &progress)?;
    drop(progress);
    let total = started.elapsed().as_secs_f64();
    let null_odds = files::null_odds(&predictions);
    let metrics = Metrics::new(dataset, &files::texts(&predictions), Some(&null_odds), None)?;
    let written = args.out.as_ref().map_or(Ok(()), |folder| files::write(folder, &predictions, &metrics));
    let run = Run {
        version: env!("CARGO_PKG_VERSION"),
        target: edgeqa::target(),
        date: date::now(),
        model: path.display().to_string(),
        model_data_sha256: artifact.data_sha256().to_owned(),
        null_threshold,
        threshold_from,
        max_answer_len: options.max_answer_len,
        max_seq_len: options.longest_window(reader.config().max_positions),
        doc_stride: options.doc_stride.unwrap_or(AskOptions::DOC_STRIDE),
        threads: threads.get().min(predictions.len()),
        kernel: gemm::chosen().name,
        windows: predictions.iter().map(|prediction| prediction.windows).sum(),
        seconds: Seconds::of(total, &predictions),
        peak_memory_bytes: memory::peak(),
        out: args.out.as_ref().filter(|_| written.is_ok()).map(|folder| folder.display().to_string()),
    };
    let mut report = Report { data: Data::of(dataset), run: Some(run), files: None, metrics };
    let written = match &args.out {
        Some(folder) if written.is_ok() => files::write_report(folder, &report),
        _ => written,
    };
    if let (Some(run), Err(_)) = (&mut report.run, &written) {
        run.out = None;
    }
    Ok((report, written))
}

impl Data {
    fn of(dataset: &Dataset) -> Self {
        Self {
            file: dataset.file.clone(),
            sha256: dataset.sha256.clone(),
            questions: dataset.question_count(),
            paragraphs: dataset.paragraphs.len(),
            subset: dataset.subset,
        }
    }
}

impl Seconds {
    fn of(total: f64, predictions: &[Prediction]) -> Self {
        let times: Vec<f64> = predictions.iter().map(|prediction| prediction.seconds).collect();
        let (mean, median, longest) = Summary::of(&times).map_or((0.0, 0.0, 0.0), |s| (s.mean, s.p50, s.max));
        Self { total, mean, median, longest }
    }
}

impl Report {
    fn write(&self, text: &mut String) -> std::fmt::Result {
        let row = |text: &mut String, name: &str, value: &str| writeln!(text, "{name:<19}{}", clean(value));
        let data = &self.data;
        row(text, "data", &data.file)?;
        row(text, "sha256", &data.sha256)?;
        row(text, "questions", &format!("{} in {}", data.questions, count(data.paragraphs, "paragraph")))?;
        if let Some(Subset { limit, seed, of_questions, of_paragraphs }) = data.subset {
            row(
                text,
                "subset",
                &format!("of {of_questions} in {}, drawn with seed {seed}:", count(of_paragraphs, "paragraph")),
            )?;
            row(text, "", &format!("whole paragraphs, until there are at least {limit} questions"))?;
        }
        if let Some(run) = &self.run {
            row(text, "model", &run.model)?;
            row(text, "sha256 of its data", &run.model_data_sha256)?;
            let threshold = run.null_threshold.map_or("none".into(), |threshold| threshold.to_string());
            row(text, "null threshold", &format!("{threshold} ({})", run.threshold_from))?;
            row(text, "threads", &run.threads.to_string())?;
            row(text, "kernel", run.kernel)?;
        }
        if let Some(files) = &self.files {
            row(text, "predictions", &files.predictions)?;
            row(text, "null odds", files.null_odds.as_deref().unwrap_or("none"))?;
            let threshold = files.null_odds_threshold.map_or("none".into(), |threshold| threshold.to_string());
            row(text, "null threshold", &threshold)?;
        }
        text.push('\n');
        for (name, figure) in self.metrics.rows() {
            match figure {
                Figure::Number(number) => row(text, name, &format!("{number:.4}"))?,
                Figure::Count(count) => row(text, name, &count.to_string())?,
            }
        }
        if self.metrics.best.is_some() {
            text.push_str(
                "best_*: with the answers above dropped whose null odds exceed best_*_thresh; 0 may also be: with all dropped\n",
            );
        }
        if let Some(run) = &self.run {
            let Seconds { total, mean, median, longest } = run.seconds;
            text.push('\n');
            row(text, "time", &format!("{total:.1} s for {} windows", run.windows))?;
            let times = format!("mean {mean:.3} s, median {median:.3} s, longest {longest:.3} s, each on one thread");
            row(text, "per question", &times)?;
            if let Some(bytes) = run.peak_memory_bytes {
                row(text, "peak memory", &format!("{} MB", megabytes(bytes)))?;
            }
            if let Some(folder) = &run.out {
                row(text, "written to", folder)?;
            }
        }
        Ok(())
    }
}
