//! `edgeqa bench`.

use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context;
use edgeqa::bench::measure::{Task, measure};
use edgeqa::bench::page::Page;
use edgeqa::bench::record::{Record, Settings};
use edgeqa::bench::run::{QUESTIONS, TEXT};
use edgeqa::bench::{Comparison, Plan, html, report, text};
use edgeqa::progress::Progress;
use edgeqa::replace::{behind_links, folder_of, is_special, replace, writable};
use edgeqa::threads::Threads;

use super::args::bench::BenchArgs;
use super::{input, locate, open, print, refuse_input, usage_error, verify};

const TWICE: &str = "\
standard input cannot be both the questions and the text; give one of them as a file, with --text FILE or --questions FILE";

pub fn run(args: &BenchArgs) -> anyhow::Result<()> {
    if args.worker {
        return work();
    }
    check_outputs(args)?;
    if !args.compare.is_empty() {
        check_records(&args.compare)?;
        let records = args.compare.iter().map(|path| Ok((path.display().to_string(), Record::read(path)?)));
        let comparison = Comparison::new(records.collect::<anyhow::Result<_>>()?)?;
        return finish(args, &comparison.page(), || Ok(serde_json::to_string(&comparison)? + "\n"));
    }
    if [&args.text, &args.questions].iter().all(|path| path.as_deref().is_some_and(input::is_stdin)) {
        return Err(usage_error("bench", TWICE));
    }
    let record = measure_here(args)?;
    finish(args, &report::page(&record), || Ok(record.json()?))
}

/// Records are told apart by a letter each, and are files.
fn check_records(records: &[PathBuf]) -> anyhow::Result<()> {
    let most = ('A'..='Z').count();
    if records.len() > most {
        return Err(usage_error(
            "bench",
            format!("--compare takes {most} records at most; here are {}", records.len()),
        ));
    }
    records.iter().try_for_each(|record| input::refuse_stdin("bench", "--compare", record))
}

/// Looks at where the output goes, before anything takes long.
fn check_outputs(args: &BenchArgs) -> anyhow::Result<()> {
    if let (Some(html), Some(out)) = (&args.html, &args.out)
        && place(html) == place(out)
        && !is_special(out)
    {
        return Err(usage_error("bench", format!("--html and --out are both {}; give two files", out.display())));
    }
    let outputs = [("--html", &args.html), ("--out", &args.out)];
    for (option, to) in outputs.into_iter().filter_map(|(option, to)| Some((option, to.as_deref()?))) {
        if input::is_stdin(to) {
            return Err(usage_error("bench", format!("{option} - is no file; --json prints to standard output")));
        }
        refuse_input("bench", to, &inputs(args))?;
        writable(to).with_context(|| not_written(to))?;
    }
    Ok(())
}

/// The files that are read, standard input not counted.
fn inputs(args: &BenchArgs) -> Vec<PathBuf> {
    if !args.compare.is_empty() {
        return args.compare.clone();
    }
    let texts = [&args.text, &args.questions].into_iter().flatten().filter(|path| !input::is_stdin(path)).cloned();
    texts.chain(locate::model(args.model.as_deref()).ok()).collect()
}

/// The one path of the file that `target` leads to.
fn place(target: &Path) -> PathBuf {
    let target = behind_links(target);
    let folder = folder_of(&target);
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned()).join(target.file_name().unwrap_or_default())
}

/// Prints and writes what was asked for: what fails does not keep the rest from being written.
fn finish(args: &BenchArgs, page: &Page, json: impl Fn() -> anyhow::Result<String>) -> anyhow::Result<()> {
    let json = json()?;
    let write = |path: &Option<PathBuf>, content: &str| match path {
        Some(path) => replace(path, content.as_bytes()).with_context(|| not_written(path)),
        None => Ok(()),
    };
    let written = [write(&args.out, &json), write(&args.html, &html::html(page))];
    if args.json {
        print(&json)?;
    } else if args.markdown {
        print(&text::markdown(page))?;
    } else {
        print(&text::terminal(page))?;
    }
    written.into_iter().collect()
}

fn not_written(target: &Path) -> String {
    format!("cannot write {}", target.display())
}

/// Measures what the parent asks for on standard input.
fn work() -> anyhow::Result<()> {
    let task: Task = serde_json::from_reader(io::stdin().lock()).context("this is for edgeqa bench itself")?;
    let threads = Threads::new(NonZeroUsize::new(task.threads).unwrap_or(NonZeroUsize::MIN), task.pin)?;
    print(&serde_json::to_string(&measure(&task, threads)?)?)?;
    Ok(())
}

fn measure_here(args: &BenchArgs) -> anyhow::Result<Record> {
    let model = locate::model(args.model.as_deref())?;
    // Not kept open: what a process maps cannot be dropped from the page cache.
    let artifact = open(&model)?;
    if args.verify {
        verify(&artifact, &model)?;
    }
    drop(artifact);
    let (text, text_name) = match &args.text {
        Some(path) => (input::text(path, "a file with --text")?, path.display().to_string()),
        None => (TEXT.to_owned(), "the text that comes with edgeqa".to_owned()),
    };
    let questions = match &args.questions {
        Some(path) => input::questions_of("bench", path)?,
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
        ..Settings::default()
    };
    let plan = Plan {
        program: std::env::current_exe().context("cannot find this program, to start it again")?,
        lengths: distinct(&args.lengths),
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
