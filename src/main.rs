//! The `edgeqa` command: parse, call, map the error to an exit code.

mod cli;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use edgeqa::errors::one_line;

/// Exit code of a command line that asks for something impossible.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    edgeqa::memory::keep_little();
    let args = cli::Cli::parse();
    cli::start_log(&args);
    match cli::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(usage) = error.downcast_ref::<clap::Error>() {
        let _ = usage.print();
        return ExitCode::from(USAGE);
    }
    // There is nobody to tell if standard error is closed.
    let _ = writeln!(io::stderr(), "edgeqa: error: {}", one_line(error.as_ref()));
    if cli::is_usage(error) { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
}
