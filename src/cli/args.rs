//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use edgeqa::documents::RetrievalOptions;
use edgeqa::numbers::{finite, positive, seed, threads, whole};
use edgeqa::qa::AskOptions;
use edgeqa::qa::decode::N_BEST;
use edgeqa::threads::{Threads, ThreadsError};

// By path, as another program has this file elsewhere among its modules.
#[path = "args/bench.rs"]
pub mod bench;
#[cfg(target_os = "linux")]
#[path = "args/model.rs"]
pub mod model;
#[cfg(target_os = "linux")]
#[path = "args/serve.rs"]
pub mod serve;

/// Answers questions from a text, on this machine
#[derive(Debug, Parser)]
#[command(name = "edgeqa", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `edgeqa` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer questions from a text
    Ask(AskArgs),
    /// Measure how many questions with known answers a model gets right
    Eval(EvalArgs),
    /// Show what a model file holds, and check it
    Inspect(InspectArgs),
    /// Answer questions for programs, and show a page on a screen, until stopped
    #[cfg(target_os = "linux")]
    Serve(serve::ServeArgs),
    /// Install the model that `serve` answers with, or bring back the one before
    #[cfg(target_os = "linux")]
    Model(model::ModelCommandArgs),
    /// Show what this machine has for answering: CPU features, kernel, threads, and whether weights are mapped
    Doctor(DoctorArgs),
    /// Measure how fast this machine answers and what it takes, or compare such measurements
    Bench(bench::BenchArgs),
}

const EXIT_CODES: &str = "\
Exit codes: 0 success (\"no answer\" included), 1 failure, 2 wrong usage.
EDGEQA_MODEL names the model file, EDGEQA_KERNEL the int8 kernel (see doctor).
RUST_LOG sets the log level (default: warn; serve: info), NO_COLOR turns colours
off.";

/// Which model.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// Model file [default: $EDGEQA_MODEL, else model.safetensors or models/demo/model.safetensors beside the program,
    /// models/demo/model.safetensors here, edgeqa/model.safetensors in the user's data directory,
    /// /var/lib/edgeqa/model.safetensors, that of the package]
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,

    /// Compare the model file with its checksum first
    #[arg(long)]
    pub verify: bool,

    /// Where it is kept.
    #[command(flatten)]
    pub memory: MemoryArgs,
}

/// Whether the model is kept in memory.
#[derive(Clone, Copy, Debug, Args)]
pub struct MemoryArgs {
    /// Read the whole model file into memory before the first question [default: read what is needed, when it is needed]
    #[arg(long)]
    pub prefault: bool,

    /// As --prefault, and keep it there: the system may not drop it where memory is short
    #[arg(long)]
    pub mlock: bool,
}

/// Who computes.
#[derive(Debug, Args)]
pub struct ThreadArgs {
    /// Threads that work on a question, 1 to 1024 [default: the number of physical cores that edgeqa may use]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroUsize>,

    /// Keep each thread on a CPU of its own
    #[arg(long)]
    pub pin: bool,
}

impl ThreadArgs {
    /// Starts the threads.
    pub fn start(&self) -> Result<Threads, ThreadsError> {
        let count = self.threads.unwrap_or_else(Threads::default_count);
        Threads::new(count, self.pin)
    }
}

/// How to answer.
#[derive(Debug, Args)]
pub struct AnswerArgs {
    /// Longest answer, in tokens
    #[arg(long, value_name = "N", default_value_t = AskOptions::MAX_ANSWER_LEN, value_parser = positive)]
    pub max_answer_len: usize,

    /// Longest window that the model reads at once, in tokens, question included [default: 384, or what the model can
    /// take if that is less]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub max_seq_len: Option<usize>,

    /// Overlap of consecutive windows, in tokens of the text [default: 128, or half of what a window holds of the text if
    /// that is less]
    #[arg(long, value_name = "N", value_parser = whole(0..=usize::MAX))]
    pub doc_stride: Option<usize>,

    /// There is no answer if "no answer" scores more than this above the best candidate; higher answers more often
    /// [default: the model's recommendation, or 0]
    #[arg(long, value_name = "X", value_parser = finite::<f32>)]
    pub null_threshold: Option<f32>,

    /// Answer with the best candidate in any case
    #[arg(long, conflicts_with = "null_threshold")]
    pub always_answer: bool,
}

impl AnswerArgs {
    /// The options of the library, for one candidate.
    pub fn options(&self) -> AskOptions {
        AskOptions {
            max_seq_len: self.max_seq_len,
            doc_stride: self.doc_stride,
            overlap_by_half: false,
            max_answer_len: self.max_answer_len,
            top_k: 1,
            null_threshold: self.null_threshold,
            always_answer: self.always_answer,
        }
    }
}

const ASK_EXAMPLES: &str = "\
Examples:
  edgeqa ask \"Who kept the log?\" --context-file lighthouse.txt
  edgeqa ask \"When was it built?\" \"By whom?\" --json < tower.txt | jq .answer
  edgeqa ask --questions questions.txt --context-file lighthouse.txt --top-k 3
  edgeqa ask \"What does a family ticket cost?\" --docs models/demo/documents

An answer is a piece of the text, or none if the text does not seem to hold
one. Offsets count from the beginning of the text, after the byte order mark of
a file; \"chars\" are Unicode scalar values. With --docs they count in the
file that the answer is from, a byte order mark included. Passages that share
no word with a question are not read for it, unless there are no more than
--passages; where that leaves none, there is no answer, not even with
--always-answer, \"windows\" is 0, and so are the scores.";

/// Arguments of `edgeqa ask`.
#[derive(Debug, Args)]
#[command(after_help = ASK_EXAMPLES)]
pub struct AskArgs {
    /// Questions to answer, in this order; each in quotation marks, as the shell makes one of every word otherwise
    #[arg(value_name = "QUESTION")]
    pub questions: Vec<String>,

    /// File with more questions, one per line, `-` for standard input; empty lines are skipped
    #[arg(long = "questions", value_name = "FILE")]
    pub questions_file: Option<PathBuf>,

    /// The text to read
    #[arg(long, value_name = "TEXT", conflicts_with = "context_file")]
    pub context: Option<String>,

    /// UTF-8 file with the text to read, 16 MiB at most, `-` for standard input [default: standard input]
    #[arg(long, value_name = "FILE")]
    pub context_file: Option<PathBuf>,

    /// Folder with documents to answer from instead of a text: UTF-8 files whose names end with .txt or .md, sub-folders included
    #[arg(long, value_name = "DIR", conflicts_with_all = ["context", "context_file"])]
    pub docs: Option<PathBuf>,

    /// Number of passages of the documents that are read for a question, 1 to 100
    // clap does not require an argument that would be in conflict with another, hence the conflicts.
    #[arg(long, value_name = "N", default_value_t = RetrievalOptions::PASSAGES, requires = "docs",
          conflicts_with_all = ["context", "context_file"],
          value_parser = whole(1..=RetrievalOptions::MAX_PASSAGES))]
    pub passages: usize,

    /// Print one JSON object per question and line
    #[arg(long)]
    pub json: bool,

    /// Number of candidates to show, 1 to 20
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = whole(1..=N_BEST))]
    pub top_k: usize,

    /// How to answer.
    #[command(flatten)]
    pub answer: AnswerArgs,

    /// Who computes.
    #[command(flatten)]
    pub threads: ThreadArgs,

    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
}

const EVAL_EXAMPLES: &str = "\
Examples:
  edgeqa eval --squad models/demo/squad.json
  edgeqa eval --squad dev-v2.0.json --limit 500 --seed 1 --out results --json
  edgeqa eval --squad dev-v1.1.json --always-answer
  edgeqa eval --squad dev-v2.0.json --predictions predictions.json \\
      --null-odds null_odds.json

Figures and their names are those of the official scorer, evaluate-v2.0.py;
exact and f1 are percentages. They are of the answers as given, at the
threshold of the model or of --null-threshold. best_exact and best_f1 are what
the same answers score if those whose null odds exceed best_exact_thresh or
best_f1_thresh are dropped; where no answer at all scores most, the official
scorer calls that 0. Answers that the threshold has dropped stay so; to look
for a model's best threshold, use --always-answer.

The official scorer prints the same figures for the files that --out writes:
  python evaluate-v2.0.py dev-v2.0.json results/predictions.json \\
      --na-prob-file results/null_odds.json --na-prob-thresh 1e9
Its default of 1.0 is meant for probabilities; on null odds it drops answers.
Here --null-odds-threshold has no default: nothing is dropped unless it is
given.";

/// What only makes sense if a model is run. Each argument for given files has to exclude it: clap does not require an
/// argument that would be in conflict with another.
const RUNNING: [&str; 6] = ["model", "verify", "MemoryArgs", "AnswerArgs", "threads", "out"];

/// Arguments of `edgeqa eval`.
#[derive(Debug, Args)]
#[command(after_help = EVAL_EXAMPLES)]
pub struct EvalArgs {
    /// Questions with known answers: a file in the format of SQuAD 1.1 or 2.0
    #[arg(long, value_name = "FILE")]
    pub squad: PathBuf,

    /// Take only a part: whole paragraphs, drawn at random until there are at least N questions [default: all]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub limit: Option<usize>,

    /// Seed of that draw; the same seed draws the same paragraphs everywhere
    #[arg(long, value_name = "S", default_value_t = 0, requires = "limit", value_parser = seed)]
    pub seed: u64,

    /// Write predictions.json, nbest_predictions.json, null_odds.json and eval.json to this folder, and run.json, which has what --json prints
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    /// Number of questions to answer at the same time [default: the number of available cores]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroUsize>,

    /// How to answer.
    #[command(flatten)]
    pub answer: AnswerArgs,

    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,

    /// Score the answers of this file, a JSON object of texts by question id, instead of running a model
    #[arg(long, value_name = "FILE", conflicts_with_all = RUNNING)]
    pub predictions: Option<PathBuf>,

    /// Null odds that go with --predictions, a JSON object of numbers by question id
    #[arg(long, value_name = "FILE", requires = "predictions", conflicts_with_all = RUNNING)]
    pub null_odds: Option<PathBuf>,

    /// Drop answers of --predictions whose null odds exceed this [default: drop none]
    #[arg(long, value_name = "X", requires = "null_odds", conflicts_with_all = RUNNING,
          value_parser = finite::<f64>)]
    pub null_odds_threshold: Option<f64>,
}

const INSPECT_EXAMPLES: &str = "\
Example:
  edgeqa inspect models/demo/model.safetensors

The file is read completely. The exit code is 1 if it is no valid model, if
its data do not have the stated checksum, or if nothing can be asked of it all
the same.";

/// Arguments of `edgeqa inspect`.
#[derive(Debug, Args)]
#[command(after_help = INSPECT_EXAMPLES)]
pub struct InspectArgs {
    /// Model file [default: where `edgeqa ask` finds one]
    pub model: Option<PathBuf>,

    /// The same, as other commands take it
    #[arg(long = "model", value_name = "FILE", conflicts_with = "model")]
    pub named: Option<PathBuf>,

    /// Print JSON, with all tensors
    #[arg(long)]
    pub json: bool,

    /// List all tensors
    #[arg(long)]
    pub tensors: bool,
}

const DOCTOR_EXAMPLES: &str = "\
Example:
  EDGEQA_KERNEL=gemm_i8_4x16k4_portable edgeqa doctor --json

The exit code is 1 if no question can be answered here; the report then says
why, and that there is no model. EDGEQA_KERNEL names another kernel to use.";

/// Arguments of `edgeqa doctor`.
#[derive(Debug, Args)]
#[command(after_help = DOCTOR_EXAMPLES)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// Who computes.
    #[command(flatten)]
    pub threads: ThreadArgs,

    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
}
