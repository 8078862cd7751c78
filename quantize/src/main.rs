//! The `edgeqa-quantize` command: parse, convert or compare, print.

mod args;
mod compare_command;
mod report;

use std::io::{self, Write};
use std::process::ExitCode;

use args::{Args, Command};
use edgeqa::command_line::parse;
use edgeqa::errors::one_line;
use edgeqa_quantize::compare::cache;
use edgeqa_quantize::convert::{CalibrationText, Input, Options, Prepared, Summary};
use edgeqa_quantize::gate::Gate;
use edgeqa_quantize::{hub, interrupt};

fn main() -> ExitCode {
    let args: Args = match parse("edgeqa-quantize") {
        Ok(args) => args,
        Err(code) => return code,
    };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn,tract_onnx=error"))
        .format_timestamp(None)
        .init();
    let result = interrupt::watch().and_then(|()| match &args.command {
        Some(Command::Compare(args)) => compare_command::run(args),
        None => run(&args).and_then(|summary| print(&summary_text(&args, &summary)?)),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The exit code tells where this cannot be written.
            let _ = writeln!(io::stderr(), "edgeqa-quantize: error: {}", one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<Summary> {
    let options = Options {
        license: args.license.clone(),
        null_threshold: args.null_threshold,
        calibration: match &args.calibrate {
            Some(path) => CalibrationText::File(path.clone()),
            None if args.no_calibration => CalibrationText::None,
            None => CalibrationText::Own,
        },
        half: args.half.iter().cloned().collect(),
        sensitivity: args.sensitivity,
        gate: args.squad.as_ref().map(|squad| Gate {
            squad: squad.clone(),
            limit: args.limit,
            seed: args.seed,
            min_f1_ratio: args.min_f1_ratio,
            promote: !args.no_promotion,
            threads: args.threads,
            cache: if args.no_cache { None } else { args.cache.clone().or_else(cache::default_folder) },
        }),
        dry_run: args.dry_run,
    };
    // Before anything is fetched.
    let prepared = Prepared::new(&args.out, &options)?;
    let input = match (&args.hub, &args.input) {
        (Some(repo), _) => Input::downloaded(hub::download(repo, Some(&args.revision), &hub::HubOptions::default())?),
        (None, Some(path)) => Input::local(path, args.config.clone(), args.tokenizer.clone())?,
        (None, None) => anyhow::bail!("nothing to convert; see --help"),
    };
    let progress = report::Progress::new();
    let summary = prepared.convert(&input, |stage, done, all| progress.stage(stage, done, all));
    progress.finish();
    summary
}

fn summary_text(args: &Args, summary: &Summary) -> anyhow::Result<String> {
    if args.json {
        // A program reads the summary; the log is for whoever started it.
        summary.warnings.iter().for_each(|warning| log::warn!("{warning}"));
    }
    Ok(if args.json { serde_json::to_string_pretty(summary)? + "\n" } else { report::text(summary) })
}

/// Writes to standard output; a reader that stops reading is no error.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("cannot write the result to standard output"))
        }
        _ => Ok(()),
    }
}
