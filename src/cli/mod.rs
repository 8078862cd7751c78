//! The commands: [`args`] describes them, and each has a file.

pub mod args;
mod ask;
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
mod progress;
#[cfg(target_os = "linux")]
mod serve;
mod show;

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use clap::error::ErrorKind;
use edgeqa::artifact::Artifact;
use edgeqa::qa::{QaError, Reader};

pub use self::log::start as start_log;
pub use args::Cli;
use args::Command;

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
    }
}

/// Whether the reader of the output went away, which is its right.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|e| e.downcast_ref::<io::Error>()).any(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// Whether an option has a value that the model does not allow.
pub fn is_usage(error: &anyhow::Error) -> bool {
    error.chain().any(|e| matches!(e.downcast_ref(), Some(QaError::Option { .. })))
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

/// Writes to standard output, at once.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to standard output")
}

fn open(path: &Path) -> Result<Artifact, QaError> {
    Artifact::open(path).map_err(|source| QaError::Artifact { path: path.to_owned(), source })
}

fn verify(artifact: &Artifact, path: &Path) -> Result<(), QaError> {
    artifact.verify().map_err(|source| QaError::Artifact { path: path.to_owned(), source })
}

/// Opens a model to answer with, compared with its checksum first if `checked`.
fn load(path: &Path, checked: bool) -> anyhow::Result<(Artifact, Reader)> {
    let artifact = open(path)?;
    if checked {
        verify(&artifact, path)?;
    }
    let reader =
        Reader::from_artifact(&artifact).with_context(|| format!("cannot use the model {}", path.display()))?;
    Ok((artifact, reader))
}
