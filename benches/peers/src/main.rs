//! The `edgeqa-peers` command: one runtime, one model, commands from standard input. See [`edgeqa_peers::worker`].

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use edgeqa::errors::one_line;
use edgeqa_peers::worker::{Options, Runtime, serve};

/// Loads a model and times inferences of random tokens: reads lines "TOKENS RUNS", prints lines of JSON
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A model file of edgeqa
    Edgeqa(ModelArgs),
    /// An ONNX file in rten
    Rten {
        #[command(flatten)]
        model: ModelArgs,
        /// Leave the weights as they are in the file: less memory, slower
        #[arg(long)]
        no_prepack: bool,
    },
}

#[derive(Debug, Args)]
struct ModelArgs {
    /// Model file
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Threads of one inference
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Draw token ids below N
    #[arg(long, value_name = "N", default_value_t = 1000)]
    vocabulary: usize,
}

fn main() -> ExitCode {
    let (runtime, args) = match Cli::parse().command {
        Command::Edgeqa(args) => (Runtime::EdgeQa, args),
        Command::Rten { model, no_prepack } => (Runtime::Rten { prepack: !no_prepack }, model),
    };
    let options = Options { model: args.model, threads: args.threads, vocabulary: args.vocabulary };
    match serve(runtime, &options, io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edgeqa-peers: error: {}", one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
