//! What both programs do with their command line.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

/// Has writes beyond a limit on the size of files fail, as any others do, instead of ending the process, which would leave half of what it
/// writes behind.
///
/// # Errors
/// If the system refuses.
#[cfg(unix)]
pub fn outlive_file_limits() -> io::Result<()> {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use signal_hook::consts::SIGXFSZ;

    signal_hook::flag::register(SIGXFSZ, Arc::<AtomicBool>::default()).map(drop)
}

/// Parses the command line of `program`. What is not to run is printed: help and version, or what is wrong.
///
/// # Errors
/// The exit code: 0 after help or version, 1 if these cannot be written, 2 for wrong usage.
pub fn parse<T: Parser>(program: &str) -> Result<T, ExitCode> {
    T::try_parse().map_err(|error| {
        let written = error.print().and_then(|()| io::stdout().flush());
        if error.use_stderr() {
            return ExitCode::from(2);
        }
        match written {
            // To go away is a reader's right.
            Err(problem) if problem.kind() != io::ErrorKind::BrokenPipe => {
                let _ = writeln!(io::stderr(), "{program}: error: cannot write to standard output: {problem}");
                ExitCode::FAILURE
            }
            _ => ExitCode::SUCCESS,
        }
    })
}
