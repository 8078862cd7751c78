//! What both programs do with their command line.

use std::any::TypeId;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, Command, Parser};

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
    let mut command = with_negative_numbers(T::command());
    let parsed = command.try_get_matches_from_mut(std::env::args_os());
    let parsed = parsed.and_then(|mut matches| T::from_arg_matches_mut(&mut matches));
    parsed.map_err(|error| {
        let error = error.format(&mut command);
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

/// Has options for anything but text take negative numbers, so that they can say what is wrong with them: without it, `-1` is an option that
/// nobody knows.
fn with_negative_numbers(command: Command) -> Command {
    let text = [TypeId::of::<String>(), TypeId::of::<OsString>(), TypeId::of::<PathBuf>()];
    let numbers = |arg: Arg| {
        let negative = arg.is_allow_negative_numbers_set()
            || (arg.get_action().takes_values() && text.iter().all(|text| arg.get_value_parser().type_id() != *text));
        arg.allow_negative_numbers(negative)
    };
    command.mut_args(numbers).mut_subcommands(with_negative_numbers)
}
