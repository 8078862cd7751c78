//! The commands: [`args`] describes them, and each has a file.

pub mod args;
mod ask;
mod bench;
mod doctor;
mod eval;
mod excerpt;
mod input;
mod inspect;
mod locate;
mod log;
mod memory;
#[cfg(target_os = "linux")]
mod model;
#[cfg(target_os = "linux")]
mod serve;
mod show;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::CommandFactory;
use clap::error::ErrorKind;
use edgeqa::artifact::Artifact;
use edgeqa::bench::BenchError;
use edgeqa::qa::probe::probe;
use edgeqa::qa::{QaError, Reader};
use edgeqa::replace::{is_same_file, is_special};
use edgeqa::shown::harmless_json;

pub use self::log::{is_journal, start as start_log};
pub use args::Cli;
use args::{Command, MemoryArgs, ModelArgs};

/// Runs the command that was asked for.
pub fn run(cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        Command::Ask(args) => ask::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Inspect(args) => inspect::run(args),
        #[cfg(target_os = "linux")]
        Command::Serve(args) => serve::run(args),
        #[cfg(target_os = "linux")]
        Command::Model(args) => model::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Bench(args) => bench::run(args),
    }
}

/// Whether an option has a value that the model does not allow.
pub fn is_usage(error: &anyhow::Error) -> bool {
    error.chain().any(|e| {
        matches!(e.downcast_ref(), Some(QaError::Option { .. }))
            || matches!(e.downcast_ref(), Some(BenchError::Length { .. }))
    })
}

/// An error that is shown with the usage of `command` and ends with the exit code of wrong usage.
fn usage_error(command: &str, message: impl std::fmt::Display) -> anyhow::Error {
    let mut root = Cli::command();
    root.build();
    let error = match root.find_subcommand_mut(command) {
        Some(command) => command.error(ErrorKind::MissingRequiredArgument, message),
        None => root.error(ErrorKind::MissingRequiredArgument, message),
    };
    error.into()
}

/// Refuses to write to what is read, under any of its names. Devices and terminals are not replaced.
fn refuse_input(command: &str, output: &Path, inputs: &[PathBuf]) -> anyhow::Result<()> {
    if is_special(output) || !inputs.iter().any(|input| is_same_file(input, output)) {
        return Ok(());
    }
    Err(usage_error(command, format!("{} is an input; name another file for the output", output.display())))
}

/// Writes to standard output, at once. Whether anybody reads on: to go away is a reader's right, and no error.
fn print(text: &str) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).context("cannot write to standard output"),
    }
}

/// A report as JSON that people can read, too.
fn pretty(report: &impl serde::Serialize) -> serde_json::Result<String> {
    Ok(harmless_json(serde_json::to_string_pretty(report)?) + "\n")
}

/// Opens a model file, and says before if limits are too tight for that.
fn open(path: &Path) -> Result<Artifact, QaError> {
    memory::warn_before_mapping(path);
    Artifact::open(path).map_err(QaError::of_file(path))
}

fn verify(artifact: &Artifact, path: &Path) -> Result<(), QaError> {
    artifact.verify().map_err(QaError::of_file(path))
}

/// Opens a model to answer with, the way `args` say, as [`keep`] does.
fn load(
    path: &Path,
    args: &ModelArgs,
    threads: usize,
    max_seq_len: Option<usize>,
) -> anyhow::Result<(Artifact, Reader)> {
    let artifact = open(path)?;
    memory::warn(&memory::need(&artifact, threads, max_seq_len));
    keep(&artifact, args.memory)?;
    if args.verify {
        verify(&artifact, path)?;
    }
    let reader = reader(&artifact, path)?;
    Ok((artifact, reader))
}

/// Keeps the model in memory if `args` say so.
fn keep(artifact: &Artifact, args: MemoryArgs) -> anyhow::Result<()> {
    if args.mlock {
        memory::lock(artifact)?;
    } else if args.prefault {
        artifact.prefault();
    }
    Ok(())
}

/// Asks something, to see whether anything can be asked of the model that was opened at `path`.
fn try_out(reader: &Reader, path: &Path) -> anyhow::Result<()> {
    let failed = |problem| anyhow!("cannot ask the model {}: {problem}; convert or copy it again", path.display());
    probe(reader).map(drop).map_err(failed)
}

/// What answers with the model that was opened at `path`.
fn reader(artifact: &Artifact, path: &Path) -> anyhow::Result<Reader> {
    Reader::from_artifact(artifact).with_context(|| format!("cannot use the model {}", path.display()))
}
