//! `edgeqa-quantize compare`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use edgeqa::artifact::Artifact;
use edgeqa::eval::{Dataset, files};
use edgeqa::kernels::gemm;
use edgeqa::progress::Progress;
use edgeqa::qa::{AskOptions, Reader};
use edgeqa::replace::{replace, writable};
use edgeqa::threads::Threads;
use edgeqa::tokenizer::QaTokenizer;
use edgeqa_quantize::compare::cache::{self, Identity};
use edgeqa_quantize::compare::fp32::Fp32;
use edgeqa_quantize::compare::report::{DEFAULT_GATE, Data, Fp32Model, Gate, Int8Model, Report, shown_below};
use edgeqa_quantize::compare::warnings::warnings;
use edgeqa_quantize::compare::{Reference, Task, compare};
use edgeqa_quantize::target;

use crate::args::CompareArgs;

/// The folders, in that of `--out`, of what the two models answer.
const SIDES: [&str; 2] = ["fp32", "int8"];

/// The report in that folder, for people.
const MARKDOWN: &str = "report.md";

/// The report in that folder, for programs.
const JSON: &str = "report.json";

/// Compares, reports, and fails if the gate does.
pub fn run(args: &CompareArgs) -> anyhow::Result<()> {
    let report = report(args)?;
    // What fails does not keep the other from what took so long.
    let written = args.out.as_ref().map_or(Ok(()), |folder| write(folder, &report));
    crate::print(&if args.json { serde_json::to_string_pretty(&report)? + "\n" } else { report.markdown() })?;
    written?;
    match (report.gate, report.comparison.f1_ratio()) {
        (Some(Gate { passed: false, min_f1_ratio }), Some(ratio)) => bail!(
            "F1 of int8 is {} of that of fp32, below the {min_f1_ratio} of --min-f1-ratio; the report lists the questions \
             that lost most",
            shown_below(ratio, min_f1_ratio)
        ),
        (Some(Gate { passed: false, .. }), None) => {
            bail!("F1 of fp32 is 0, so --min-f1-ratio cannot be reached; give questions that the fp32 model can answer")
        }
        _ => Ok(()),
    }
}

fn report(args: &CompareArgs) -> anyhow::Result<Report> {
    let mut dataset = Dataset::read(&args.squad)?;
    if let Some(limit) = args.limit {
        dataset = dataset.sample(limit, args.seed);
    }
    let unusable = || format!("cannot use the model {}", args.int8.display());
    let artifact = Artifact::open(&args.int8).with_context(unusable)?;
    artifact.verify().with_context(unusable)?;
    let reader = Reader::from_artifact(&artifact).with_context(unusable)?;
    let options = AskOptions { null_threshold: args.null_threshold, ..AskOptions::default() };
    let threads = args.threads.unwrap_or_else(Threads::usable_cpus);
    let task = Task { reader: &reader, dataset: &dataset, options: &options, threads };
    let fp32 = Fp32::open(&args.fp32, args.config.as_deref(), args.imported)?;
    if let Some(folder) = &args.out {
        // Before anything takes long.
        prepare(folder, &[&[args.squad.clone(), args.int8.clone()], fp32.files.as_slice()].concat())?;
    }
    let tokenizer = QaTokenizer::sha256(&artifact).with_context(unusable)?;
    let identity = Identity::new(fp32.backend, fp32.config(), fp32.sha256.values().cloned(), tokenizer, &task);
    let folder = if args.no_cache { None } else { args.cache.clone().or_else(cache::default_folder) };
    let reference =
        Reference::run_or_cached(folder.as_deref(), &identity, || fp32.load(), &task, &Progress::of_questions("fp32"))?;
    let comparison = compare(&reference, &task, &Progress::of_questions("int8"))?;
    let gate = args.min_f1_ratio.map(|min_f1_ratio| Gate { min_f1_ratio, passed: comparison.passes(min_f1_ratio) });
    Ok(Report {
        data: Data::of(&dataset),
        fp32_model: Fp32Model {
            file: fp32.weights.display().to_string(),
            sha256: fp32.sha256.clone(),
            backend: fp32.backend,
            cached: reference.cached.as_ref().map(|path| path.display().to_string()),
        },
        int8_model: Int8Model {
            file: args.int8.display().to_string(),
            data_sha256: artifact.data_sha256().to_owned(),
            kernel: gemm::chosen().name,
        },
        max_answer_len: options.max_answer_len,
        threads: threads.get().min(dataset.question_count()),
        warnings: warnings(&comparison, args.min_f1_ratio.unwrap_or(DEFAULT_GATE)),
        gate,
        comparison,
    })
}

/// Sees whether all files can be written to `folder`, and that none of `inputs` is one of them.
fn prepare(folder: &Path, inputs: &[PathBuf]) -> anyhow::Result<()> {
    let reports = [MARKDOWN, JSON].map(|name| folder.join(name));
    for name in SIDES.iter().flat_map(|side| files::names(&folder.join(side))).chain(reports.clone()) {
        target::check_inputs(&name, inputs)?;
    }
    for side in SIDES {
        files::prepare(&folder.join(side))?;
    }
    reports.iter().try_for_each(|name| writable(name).with_context(|| format!("cannot write {}", name.display())))
}

fn write(folder: &Path, report: &Report) -> anyhow::Result<()> {
    for (name, side) in SIDES.into_iter().zip([&report.comparison.fp32, &report.comparison.int8]) {
        files::write(&folder.join(name), &side.predictions, &side.metrics)?;
    }
    write_file(&folder.join(MARKDOWN), &report.markdown())?;
    write_file(&folder.join(JSON), &(serde_json::to_string_pretty(report)? + "\n"))
}

fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    replace(path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}
