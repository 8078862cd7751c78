//! One loaded model in one process, driven over standard input and output.
//!
//! The worker prints one JSON line about itself ([`Hello`]), then reads commands, one per line:
//!
//! ```text
//! TOKENS RUNS
//! ```
//!
//! It runs one sequence of `TOKENS` random tokens once to warm up and `RUNS` times measured, and prints one JSON line
//! ([`Measured`]). End of input ends it. `ort_worker.py` speaks the same protocol.

mod edgeqa;
mod process;
mod rten;

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use crate::random::{SPECIAL, token_ids};

/// Which runtime a worker loads a model into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// edgeqa, on its own model files.
    EdgeQa,
    /// rten, on ONNX files.
    Rten {
        /// Whether weights are copied into the layout of its kernels at load, which takes memory and saves time.
        prepack: bool,
    },
}

/// What a worker runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Model file.
    pub model: PathBuf,
    /// Threads of one inference.
    pub threads: usize,
    /// Token ids are drawn below this; the model must know them.
    pub vocabulary: usize,
}

/// The first line of a worker.
#[derive(Clone, Debug, Serialize)]
pub struct Hello {
    /// Name of the runtime.
    pub runtime: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Its int8 kernel, or how it was set up.
    pub detail: String,
    /// Model file.
    pub file: PathBuf,
    /// Threads of one inference.
    pub threads: usize,
    /// Wall time of loading, in milliseconds.
    pub load_ms: f64,
    /// Resident memory before loading, in MB.
    pub base_rss_mb: Option<f64>,
}

/// The answer to one command. Times are per run, in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Length of the sequence.
    pub tokens: usize,
    /// Wall times.
    pub wall_ms: Vec<f64>,
    /// CPU times of the process, all threads together.
    pub cpu_ms: Vec<f64>,
    /// The most memory that has been resident in this process so far, in MB, mapped files included.
    pub peak_rss_mb: Option<f64>,
}

/// A loaded model: evaluates one sequence of token ids and drops the result.
type Infer = Box<dyn FnMut(&[i64]) -> anyhow::Result<()>>;

/// What a runtime tells about a model that it has loaded.
struct Loaded {
    name: &'static str,
    version: &'static str,
    detail: String,
    infer: Infer,
}

/// Loads the model, then obeys `commands` until their end.
///
/// # Errors
/// If the model cannot be loaded or evaluated, a command is none, or reading or writing fails.
pub fn serve(runtime: Runtime, options: &Options, commands: impl BufRead, mut out: impl Write) -> anyhow::Result<()> {
    ensure!(options.threads > 0, "--threads 0 cannot compute anything; use at least 1");
    ensure!(options.vocabulary > SPECIAL, "--vocabulary must be above {SPECIAL}: ids below are not drawn");
    let base_rss_mb = process::memory_mb("VmRSS");
    let start = Instant::now();
    let mut loaded = load(runtime, &options.model, options.threads)
        .with_context(|| format!("cannot load {}", options.model.display()))?;
    let hello = Hello {
        runtime: loaded.name,
        version: loaded.version,
        detail: loaded.detail,
        file: options.model.clone(),
        threads: options.threads,
        load_ms: milliseconds(start),
        base_rss_mb,
    };
    print(&mut out, &hello)?;
    for (number, line) in commands.lines().enumerate() {
        let line = line.context("cannot read commands")?;
        let (tokens, runs) = parse(&line).with_context(|| format!("line {} of the input", number + 1))?;
        let measured = measure(&mut loaded.infer, tokens, runs, options.vocabulary)
            .with_context(|| format!("cannot evaluate {} on {tokens} tokens", options.model.display()))?;
        print(&mut out, &measured)?;
    }
    Ok(())
}

fn load(runtime: Runtime, model: &Path, threads: usize) -> anyhow::Result<Loaded> {
    match runtime {
        Runtime::EdgeQa => edgeqa::load(model, threads),
        Runtime::Rten { prepack } => rten::load(model, threads, prepack),
    }
}

/// `TOKENS RUNS`, both at least 1.
fn parse(line: &str) -> anyhow::Result<(usize, usize)> {
    let numbers: Result<Vec<usize>, _> = line.split_whitespace().map(str::parse).collect();
    match numbers.as_deref() {
        Ok(&[tokens, runs]) if tokens > 0 && runs > 0 => Ok((tokens, runs)),
        _ => bail!("expected two numbers, TOKENS RUNS, each at least 1, and found {line:?}"),
    }
}

fn measure(infer: &mut Infer, tokens: usize, runs: usize, vocabulary: usize) -> anyhow::Result<Measured> {
    let ids = token_ids(tokens, vocabulary);
    infer(&ids)?;
    let mut measured = Measured { tokens, wall_ms: Vec::new(), cpu_ms: Vec::new(), peak_rss_mb: None };
    for _ in 0..runs {
        let (wall, cpu) = (Instant::now(), process::cpu_ms());
        infer(&ids)?;
        measured.wall_ms.push(milliseconds(wall));
        measured.cpu_ms.push(process::cpu_ms() - cpu);
    }
    measured.peak_rss_mb = process::memory_mb("VmHWM");
    Ok(measured)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn print(out: &mut impl Write, line: &impl Serialize) -> anyhow::Result<()> {
    let line = serde_json::to_string(line)?;
    writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot write the result")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo(threads: usize, commands: &str) -> anyhow::Result<Vec<serde_json::Value>> {
        let options = Options {
            model: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/model.safetensors"),
            threads,
            vocabulary: 1000,
        };
        let mut out = Vec::new();
        serve(Runtime::EdgeQa, &options, commands.as_bytes(), &mut out)?;
        Ok(String::from_utf8(out)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    }

    #[test]
    fn a_worker_introduces_itself_and_answers_each_command_with_as_many_times() {
        let lines = demo(1, "8 3\n16 1\n").unwrap();
        assert_eq!(lines.len(), 3);
        assert_eq!((&lines[0]["runtime"], &lines[0]["threads"]), (&"edgeqa".into(), &1.into()));
        for (line, tokens, runs) in [(&lines[1], 8, 3), (&lines[2], 16, 1)] {
            assert_eq!(line["tokens"], tokens);
            for times in ["wall_ms", "cpu_ms"] {
                let times: Vec<f64> = line[times].as_array().unwrap().iter().map(|t| t.as_f64().unwrap()).collect();
                assert!(times.len() == runs && times.iter().all(|t| *t > 0.0), "{times:?}");
            }
        }
    }

    #[test]
    fn what_is_no_command_is_named_with_its_line() {
        for command in ["", "64", "64 0", "0 1", "64 1 1", "64 x"] {
            let error = format!("{:#}", demo(1, &format!("8 1\n{command}\n")).unwrap_err());
            assert!(error.contains("line 2") && error.contains("TOKENS RUNS"), "{error}");
        }
    }

    #[test]
    fn no_threads_and_a_length_that_the_model_cannot_take_are_errors() {
        assert!(demo(0, "").unwrap_err().to_string().contains("--threads"));
        assert!(format!("{:#}", demo(1, "513 1\n").unwrap_err()).contains("513 tokens"));
    }

    #[test]
    fn a_file_that_is_no_onnx_model_is_an_error_with_its_name() {
        let file = tempfile::Builder::new().suffix(".onnx").tempfile().unwrap();
        std::fs::write(file.path(), "no model").unwrap();
        let options = Options { model: file.path().to_owned(), threads: 1, vocabulary: 1000 };
        let error = serve(Runtime::Rten { prepack: false }, &options, &b""[..], Vec::new()).unwrap_err();
        assert!(error.to_string().contains(&file.path().display().to_string()), "{error:#}");
    }
}
