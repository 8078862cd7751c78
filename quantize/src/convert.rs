//! The whole conversion: import, prove, quantise, write, check what was written, publish.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use edgeqa::artifact::{Artifact, Metadata, Source, write};
use edgeqa::model::{ModelWeights, Session};
use edgeqa::tokenizer::QaTokenizer;
use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::config::SourceConfig;
use crate::hub::Downloaded;
use crate::import::onnx::OnnxModel;
use crate::noise::{self, Noise};
use crate::proof::{self, Proof};
use crate::{checksum, float, import, quantize};

/// Which files to convert.
#[derive(Clone, Debug)]
pub struct Input {
    /// An `.onnx` or `.safetensors` file.
    pub weights: PathBuf,
    /// Its `config.json`.
    pub config: PathBuf,
    /// Its `tokenizer.json`.
    pub tokenizer: PathBuf,
    /// Hub repository and commit, if they were fetched.
    pub hub: Option<(String, String)>,
}

impl Input {
    /// Resolves what a user names: an ONNX or safetensors file, or a Hugging Face folder; `config` and `tokenizer` default to the
    /// files beside the weights.
    ///
    /// # Errors
    /// If a file is missing; the message says which and what can be done.
    pub fn local(path: &Path, config: Option<PathBuf>, tokenizer: Option<PathBuf>) -> anyhow::Result<Self> {
        let weights = if path.is_dir() { weights_in(path)? } else { path.to_owned() };
        ensure!(weights.is_file(), "cannot open {}: no such file or folder", weights.display());
        let folder = weights.parent().unwrap_or(Path::new("")).to_owned();
        let beside = |name: &str| {
            let near = folder.join(name);
            // The hub's repositories keep exports in a sub-folder `onnx`.
            if near.is_file() || !folder.ends_with("onnx") { near } else { folder.join("..").join(name) }
        };
        let input = Self {
            config: config.unwrap_or_else(|| beside("config.json")),
            tokenizer: tokenizer.unwrap_or_else(|| beside("tokenizer.json")),
            weights,
            hub: None,
        };
        for (file, option) in [(&input.config, "--config"), (&input.tokenizer, "--tokenizer")] {
            ensure!(
                file.is_file(),
                "{} does not exist; put it beside the weights or name it with {option}",
                file.display()
            );
        }
        Ok(input)
    }

    /// The files that a hub download returned.
    pub fn downloaded(files: Downloaded) -> Self {
        Self {
            weights: files.weights.path().to_owned(),
            config: files.config,
            tokenizer: files.tokenizer,
            hub: Some((files.repo, files.commit)),
        }
    }
}

fn weights_in(folder: &Path) -> anyhow::Result<PathBuf> {
    for name in ["model.safetensors", "model.onnx", "onnx/model.onnx"] {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    if folder.join("model.safetensors.index.json").is_file() {
        bail!(
            "{}: weights in several files are not supported; save the model in one model.safetensors",
            folder.display()
        );
    }
    if folder.join("pytorch_model.bin").is_file() {
        bail!(
            "{} only holds pytorch_model.bin, which cannot be read safely; convert it first: \
             AutoModelForQuestionAnswering.from_pretrained(DIR).save_pretrained(DIR)",
            folder.display()
        );
    }
    bail!("{} holds neither model.safetensors nor model.onnx", folder.display());
}

/// What to do beside converting.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Licence of the weights, for the metadata.
    pub license: Option<String>,
    /// Recommended null score difference, for the metadata.
    pub null_threshold: Option<f32>,
    /// Do everything, but leave no file behind.
    pub dry_run: bool,
}

/// The result of a conversion.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The artifact; not written in a dry run.
    pub out: PathBuf,
    /// Whether it was published under that name.
    pub written: bool,
    /// What it was made from.
    pub source: Source,
    /// Encoder layers.
    pub layers: usize,
    /// Parameters imported.
    pub parameters: usize,
    /// Bytes of the weight file.
    pub source_bytes: u64,
    /// Bytes of the artifact.
    pub artifact_bytes: usize,
    /// sha256 of its tensor data.
    pub data_sha256: String,
    /// The import against the original graph; `None` for a folder of named weights, which has no graph.
    pub proof: Option<Proof>,
    /// The artifact against the imported fp32 model.
    pub noise: Noise,
}

/// A stage of a conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Importing the weights.
    Reading,
    /// Comparing the import with the graph.
    Proving,
    /// Making int8 tensors, layer by layer.
    Quantizing,
    /// Writing the file beside its name.
    Writing,
    /// Verifying the file and measuring its noise.
    Checking,
}

/// All stages, in order.
pub const STAGES: [Stage; 5] = [Stage::Reading, Stage::Proving, Stage::Quantizing, Stage::Writing, Stage::Checking];

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Stage::Reading => "reading the model",
            Stage::Proving => "proving the import",
            Stage::Quantizing => "quantising",
            Stage::Writing => "writing",
            Stage::Checking => "checking what was written",
        })
    }
}

/// Converts `input` to the artifact `out`. `stage` is called when a stage begins, and inside of one that goes layer by layer with
/// the finished and all layers.
///
/// # Errors
/// If anything cannot be read, is not supported, or does not prove equal; no file is left behind and an existing one is kept.
pub fn convert(
    input: &Input,
    out: &Path,
    options: &Options,
    mut stage: impl FnMut(Stage, usize, usize),
) -> anyhow::Result<Summary> {
    check_target(input, out)?;
    stage(Stage::Reading, 0, 0);
    let config = SourceConfig::read(&input.config)?;
    let tokenizer = fs::read_to_string(&input.tokenizer)
        .with_context(|| format!("cannot read {} as UTF-8 text", input.tokenizer.display()))?;
    let (checkpoint, graph) = import(input, &config)?;
    let files = files(input, graph.as_ref());
    let float = float::weights(&checkpoint);
    let proof = match &graph {
        Some(graph) => {
            stage(Stage::Proving, 0, 0);
            Some(proof::prove(graph, &Session::new(&float)?)?)
        }
        None => None,
    };
    let source = source(input, &files, graph.is_some())?;
    drop(graph);
    let qa = QaTokenizer::from_json(tokenizer.as_bytes(), config.model.vocab_size)
        .with_context(|| format!("{} cannot be used", input.tokenizer.display()))?;
    let texts = crate::calibrate::Texts::default_texts();
    let calibration = if std::env::var_os("NOCAL").is_some() {
        None
    } else {
        Some(crate::calibrate::Calibration::collect(&float, &qa, &texts, |_, _| {})?)
    };
    let quantized = quantize::quantize(&checkpoint, &tokenizer, calibration.as_ref(), &Default::default(), |_, _| {})?;
    for (name, c) in &quantized.choices {
        println!("{name:<28} {:?} {} {:.4} -> {:.4}", c.strength, c.cancelling, c.error_before, c.error);
    }
    let tensors = quantized.tensors;
    let parameters = parameters(&checkpoint);
    drop(checkpoint);
    let metadata = Metadata {
        config: config.model,
        source: source.clone(),
        license: options.license.clone().unwrap_or_else(|| "unspecified".into()),
        tool: concat!("edgeqa-quantize ", env!("CARGO_PKG_VERSION")).into(),
        null_threshold: options.null_threshold,
    };
    stage(Stage::Writing, 0, 0);
    let pending = write::write(out, &metadata, &tensors)?;
    drop(tensors);
    // What is published is the file itself, so the file is what gets checked.
    stage(Stage::Checking, 0, 0);
    let artifact = Artifact::open(pending.path())?;
    artifact.verify()?;
    QaTokenizer::from_artifact(&artifact).with_context(|| format!("{} cannot be used", input.tokenizer.display()))?;
    let noise = noise::measure(&float, &ModelWeights::from_artifact(&artifact)?)?;
    if !options.dry_run {
        pending.publish()?;
    }
    Ok(Summary {
        out: out.to_owned(),
        written: !options.dry_run,
        source,
        layers: metadata.config.num_layers,
        parameters,
        source_bytes: files.iter().filter(|f| !is_json(f)).map(|f| size(f)).sum::<anyhow::Result<u64>>()?,
        artifact_bytes: artifact.file_len(),
        data_sha256: artifact.data_sha256().to_owned(),
        proof,
        noise,
    })
}

/// Before any work is done: the target is a possible file and no input.
fn check_target(input: &Input, out: &Path) -> anyhow::Result<()> {
    let same = |path: &Path| fs::canonicalize(path).ok().is_some_and(|p| fs::canonicalize(out).ok() == Some(p));
    for path in [&input.weights, &input.config, &input.tokenizer] {
        ensure!(!same(path), "{} is an input; give another file with --out", out.display());
    }
    ensure!(!out.is_dir(), "{} is a folder; give a file with --out", out.display());
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ensure!(
        folder.is_dir(),
        "the folder {} does not exist; make it first, or give another file with --out",
        folder.display()
    );
    Ok(())
}

fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx"))
}

fn import(input: &Input, config: &SourceConfig) -> anyhow::Result<(Checkpoint, Option<OnnxModel>)> {
    if is_onnx(&input.weights) {
        let model = import::onnx::read(&input.weights)?;
        let checkpoint = import::onnx::import(&model, config)?;
        Ok((checkpoint, Some(model)))
    } else {
        Ok((import::folder::import(&input.weights, config)?, None))
    }
}

fn parameters(c: &Checkpoint) -> usize {
    let tables = [Some(&c.word), c.position.as_ref(), c.token_type.as_ref(), c.relative.as_ref().map(|r| &r.table)];
    let layers = c.layers.iter().flat_map(|l| [&l.query, &l.key, &l.value, &l.output, &l.ffn_in, &l.ffn_out]);
    let dense: usize = layers.chain([&c.head]).map(|d| d.weight.data.len() + d.bias.len()).sum();
    let norms = 2 * c.config.hidden_size * (1 + 2 * c.layers.len());
    tables.into_iter().flatten().map(|t| t.data.len()).sum::<usize>() + dense + norms
}

/// Every file that is read: weights, configuration, tokenizer, and where an ONNX model keeps data outside of itself.
fn files(input: &Input, graph: Option<&OnnxModel>) -> Vec<PathBuf> {
    let external = graph.into_iter().flat_map(|g| &g.external);
    [&input.weights, &input.config, &input.tokenizer].into_iter().chain(external).cloned().collect()
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "json")
}

fn source(input: &Input, files: &[PathBuf], is_graph: bool) -> anyhow::Result<Source> {
    let mut sums = BTreeMap::new();
    for path in files {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let sum = checksum::sha256(path).with_context(|| format!("cannot read {}", path.display()))?;
        sums.insert(name, sum);
    }
    let (repo, revision) = input.hub.clone().unzip();
    let kind = if is_graph { "onnx" } else { "safetensors" };
    Ok(Source { kind: kind.into(), repo, revision, sha256: sums })
}

fn size(path: &Path) -> anyhow::Result<u64> {
    Ok(fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len())
}
