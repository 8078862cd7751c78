//! `edgeqa bench`.

use std::io;
use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::Context;
use edgeqa::artifact::Artifact;
use edgeqa::bench::measure::{Task, measure};
use edgeqa::bench::page::Page;
use edgeqa::bench::record::{Record, Settings};
use edgeqa::bench::run::{QUESTIONS, TEXT};
use edgeqa::bench::{Comparison, Plan, html, report, text};
use edgeqa::progress::Progress;
use edgeqa::replace::replace;
use edgeqa::threads::Threads;

use super::args::BenchArgs;
use super::{input, locate, open, print, verify};

/// Lengths that are measured unless told otherwise, as far as the model takes them.
const LENGTHS: [usize; 5] = [32, 64, 128, 256, 384];

pub fn run(args: &BenchArgs) -> anyhow::Result<()> {
    if args.worker {
        return work();
    }
    if !args.compare.is_empty() {
        let records = args.compare.iter().map(|path| Ok((path.display().to_string(), Record::read(path)?)));
        let comparison = Comparison::new(records.collect::<anyhow::Result<_>>()?)?;
        return finish(args, &comparison.page(), || Ok(serde_json::to_string(&comparison)? + "\n"));
    }
    let record = measure_here(args)?;
    finish(args, &report::page(&record), || Ok(record.json()?))
}

/// Writes what was asked for.
fn finish(args: &BenchArgs, page: &Page, json: impl Fn() -> anyhow::Result<String>) -> anyhow::Result<()> {
    let write = |path: &Path, content: &str| {
        replace(path, content.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
    };
    if let Some(path) = &args.html {
        write(path, &html::html(page))?;
    }
    if let Some(path) = &args.out {
        write(path, &json()?)?;
    }
    if args.json {
        print(&json()?)
    } else if args.markdown {
        print(&text::markdown(page))
    } else {
        print(&text::terminal(page))
    }
}

/// Measures what the parent asks for on standard input.
fn work() -> anyhow::Result<()> {
    let task: Task = serde_json::from_reader(io::stdin().lock()).context("this is for edgeqa bench itself")?;
    let threads = Threads::new(NonZeroUsize::new(task.threads).unwrap_or(NonZeroUsize::MIN), task.pin)?;
    print(&serde_json::to_string(&measure(&task, threads)?)?)
}

fn measure_here(args: &BenchArgs) -> anyhow::Result<Record> {
    let model = locate::model(args.model.as_deref())?;
    // Not kept open: what a process maps cannot be dropped from the page cache.
    let lengths = {
        let artifact = open(&model)?;
        if args.verify {
            verify(&artifact, &model)?;
        }
        lengths(args, &artifact)
    };
    let (text, text_name) = match &args.text {
        Some(path) => (input::text(path)?, path.display().to_string()),
        None => (TEXT.to_owned(), "the text that comes with edgeqa".to_owned()),
    };
    let questions = match &args.questions {
        Some(path) => input::questions_of(path)?,
        None => QUESTIONS.map(str::to_owned).to_vec(),
    };
    let settings = Settings {
        warm_up: args.warm_up,
        min_runs: args.min_runs,
        min_seconds: args.min_time,
        rounds: args.rounds,
        starts: args.starts,
        pinned: args.pin,
        text: text_name,
        text_bytes: text.len(),
        questions: questions.len(),
    };
    let plan = Plan {
        program: std::env::current_exe().context("cannot find this program, to start it again")?,
        lengths,
        threads: threads(args),
        model,
        settings,
        questions,
        text,
        limit: args.memory_limit,
    };
    let progress = Progress::of_measurements();
    edgeqa::bench::run(&plan, |done, all| progress.update(done, all))
}

fn lengths(args: &BenchArgs, artifact: &Artifact) -> Vec<usize> {
    let most = artifact.metadata().config.max_positions;
    match &args.lengths[..] {
        [] => LENGTHS.into_iter().filter(|length| *length <= most).collect(),
        given => distinct(given),
    }
}

fn threads(args: &BenchArgs) -> Vec<usize> {
    match &args.threads[..] {
        [] => distinct(&[1, Threads::default_count().get()]),
        given => distinct(&given.iter().map(|number| number.get()).collect::<Vec<_>>()),
    }
}

fn distinct(numbers: &[usize]) -> Vec<usize> {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}
