//! The `edgeqa` command: parse, call, map the error to an exit code.

mod cli;

use std::io::{self, Write};
use std::process::ExitCode;

#[cfg(unix)]
use edgeqa::command_line::outlive_file_limits;
use edgeqa::command_line::parse;
use edgeqa::errors::one_line;

/// Exit code of a command line that asks for something impossible.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    edgeqa::memory::keep_little();
    let args: cli::Cli = match parse("edgeqa") {
        Ok(args) => args,
        Err(code) => return code,
    };
    cli::start_log(&args);
    #[cfg(unix)]
    if let Err(error) = outlive_file_limits() {
        log::debug!("a limit on the size of files ends this process: {error}");
    }
    match cli::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn report(error: &anyhow::Error) -> ExitCode {
    let usage = error.downcast_ref::<clap::Error>();
    // There is nobody to tell if standard error is closed.
    let _ = match usage {
        _ if cli::is_journal() => {
            writeln!(io::stderr(), "<3>edgeqa: error: {}", one_line(error.as_ref()).replace('\n', " "))
        }
        Some(usage) => usage.print(),
        None => writeln!(io::stderr(), "edgeqa: error: {}", one_line(error.as_ref())),
    };
    if usage.is_some() || cli::is_usage(error) { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
}
