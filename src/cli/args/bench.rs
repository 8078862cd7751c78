//! The command line of `edgeqa bench`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use edgeqa::memory::limit::parse_bytes;
use edgeqa::numbers::{positive, seconds, threads, whole};

const EXAMPLES: &str = "\
Examples:
  edgeqa bench --html report.html --out this-board.json
  edgeqa bench --lengths 128,384 --threads 1,4
  edgeqa bench --text manual.txt --questions questions.txt
  edgeqa bench --memory-limit 64M --threads 1
  edgeqa bench --compare pi4.json pi5.json --markdown

Every point is measured in processes of its own, so its memory is its own.
Percentiles are interpolated linearly. Without options it takes about half a
minute, and longer where 20 runs of a point take more than 2 s.

A difference exceeds the noise if the medians of one record's processes do not
overlap those of the other and the 95 % interval of the ratio of medians
(bootstrap of processes, then of runs) excludes 1. By chance alone that
happens in 10 % of rows with 3 and 3 processes, 2.9 % with 4 and 4, 0.8 % with
5 and 5. Where it is more than 5 %, nothing is said, nor where a machine was
busy or throttled or other things were measured. What changes between two
measurements (clocks, temperature, neighbours) is a difference, too: measure
twice to see how large that is. Memory is shown and not judged.

Exit codes: 0 if anything was measured, and the report says what was not,
which a --memory-limit may have ended; 1 failure, 2 wrong usage.";

/// Arguments of `edgeqa bench`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// Lengths of sequences to measure, in tokens [default: 32,64,128,256,384, as far as the model takes them of the first question]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = spaced(positive))]
    pub lengths: Vec<usize>,

    /// Numbers of threads to measure [default: 1 and the number of physical cores that edgeqa may use]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = spaced(threads))]
    pub threads: Vec<NonZeroUsize>,

    /// Keep each thread on a CPU of its own
    #[arg(long)]
    pub pin: bool,

    /// UTF-8 file with a text to ask questions about, or - for standard input; needs --questions [default: a short one that comes with
    /// edgeqa]
    #[arg(long, value_name = "FILE", requires = "questions")]
    pub text: Option<PathBuf>,

    /// File with the questions about it, one per line, or - for standard input; needs --text
    #[arg(long, value_name = "FILE", requires = "text")]
    pub questions: Option<PathBuf>,

    /// Least number of runs of each point
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = whole(1..=1_000_000))]
    pub min_runs: usize,

    /// Least time of each point, in seconds; up to 1000 runs per process
    #[arg(long, value_name = "S", default_value_t = 2.0, value_parser = seconds(0.0))]
    pub min_time: f64,

    /// Runs to warm up with, in each process
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = whole(0..=1000))]
    pub warm_up: usize,

    /// Processes among which the runs of a point are divided; --compare needs 4 in each record, or more in one
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = whole(1..=100))]
    pub rounds: usize,

    /// How often to measure loading and starting, 0 for not at all
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = whole(0..=1000))]
    pub starts: usize,

    /// Measure under a hard limit on memory, such as 64M: by a control group if one can be made, else by RLIMIT_DATA
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub memory_limit: Option<u64>,

    /// Compare these records, 26 at most, with the first of them, instead of measuring
    #[arg(long, value_name = "FILE", num_args = 2.., conflicts_with_all = MEASURING)]
    pub compare: Vec<PathBuf>,

    /// Print JSON, with all times
    #[arg(long)]
    pub json: bool,

    /// Print Markdown
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,

    /// Also write a page with plots, which needs nothing else to be shown
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Also write the JSON to a file
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Measure what standard input asks for: how edgeqa bench starts itself
    #[arg(long, hide = true)]
    pub worker: bool,

    /// Model file [default: where `edgeqa ask` finds one]
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,

    /// Compare the model file with its checksum first
    #[arg(long)]
    pub verify: bool,
}

/// A parser of what stands between commas, with spaces or without.
fn spaced<T>(parse: fn(&str) -> Result<T, String>) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| parse(text.trim())
}

/// What only makes sense if something is measured.
const MEASURING: [&str; 13] = [
    "model",
    "verify",
    "lengths",
    "threads",
    "pin",
    "text",
    "questions",
    "min_runs",
    "min_time",
    "warm_up",
    "rounds",
    "starts",
    "memory_limit",
];
