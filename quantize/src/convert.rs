//! The whole conversion: import, prove, calibrate, quantise, write, check what was written, publish.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};
use edgeqa::artifact::write::{Pending, write};
use edgeqa::artifact::{Accuracy, Artifact, Metadata, Source, schema};
use edgeqa::model::{ModelWeights, Session};
use edgeqa::tokenizer::{QaTokenizer, Window};
use serde::Serialize;

use crate::calibrate::{Calibration, Texts};
use crate::checkpoint::Checkpoint;
use crate::compare::fp32::Backend;
use crate::config::SourceConfig;
use crate::float;
use crate::gate::{self, Candidate, Gate, Gated};
use crate::input::{Role, checksums, import, size, source};
use crate::linear::Choice;
use crate::noise::{self, Noise};
use crate::proof::{self, Proof};
use crate::quantize::{self, Int8Linears};
use crate::sensitivity::{self, Sensitivity};
use crate::{target, tokens};

pub use crate::input::Input;

/// What to do beside converting.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Licence of the weights, for the metadata.
    pub license: Option<String>,
    /// Recommended null score difference, for the metadata.
    pub null_threshold: Option<f32>,
    /// What to calibrate with.
    pub calibration: CalibrationText,
    /// Linear layers to keep in half precision, by name.
    pub half: BTreeSet<String>,
    /// Measure what each linear layer costs.
    pub sensitivity: bool,
    /// The accuracy that is asked for.
    pub gate: Option<Gate>,
    /// Do everything, but leave no file behind.
    pub dry_run: bool,
}

impl Options {
    /// The files that are read beside the model's.
    fn inputs(&self) -> impl Iterator<Item = &PathBuf> {
        let text = if let CalibrationText::File(path) = &self.calibration { Some(path) } else { None };
        text.into_iter().chain(self.gate.as_ref().map(|gate| &gate.squad))
    }
}

/// The text that shows what the inputs of the layers look like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CalibrationText {
    /// The text that comes with the tool.
    #[default]
    Own,
    /// A file; see [`Texts::read`].
    File(PathBuf),
    /// None: weights are rounded to the nearest step.
    None,
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
    /// Values of all weights; see [`Checkpoint::parameters`].
    pub parameters: usize,
    /// Bytes of the weight file.
    pub source_bytes: u64,
    /// Bytes of the artifact.
    pub artifact_bytes: usize,
    /// Its tokenizer.
    pub tokenizer: TokenizerSummary,
    /// sha256 of its tensor data.
    pub data_sha256: String,
    /// The import against the original graph; `None` for a folder of named weights, which has no graph.
    pub proof: Option<Proof>,
    /// What calibration did; `None` if there was none.
    pub calibration: Option<CalibrationSummary>,
    /// Linear layers in half precision, by name.
    pub half: BTreeSet<String>,
    /// The artifact against the imported fp32 model.
    pub noise: Noise,
    /// What each linear layer costs, the most sensitive first; empty if that was not measured.
    pub sensitivity: Vec<Sensitivity>,
    /// The scores that the metadata carry; `None` if accuracy was not measured.
    pub accuracy: Option<Accuracy>,
    /// How the accuracy gate was passed; `None` if there was none.
    pub gate: Option<Gated>,
}

/// How an artifact holds its tokenizer.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TokenizerSummary {
    /// Whether the vocabulary is compiled, so that it is used in the map; else `tokenizer.json` is unpacked and read at start.
    pub compiled: bool,
    /// Bytes of the artifact.
    pub bytes: usize,
}

/// What calibration did.
#[derive(Clone, Debug, Serialize)]
pub struct CalibrationSummary {
    /// Where the text comes from.
    pub source: String,
    /// Sequences that were run.
    pub sequences: usize,
    /// Tokens of all sequences.
    pub tokens: usize,
    /// What was chosen, by linear layer.
    pub choices: BTreeMap<String, Choice>,
}

/// A stage of a conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Importing the weights.
    Reading,
    /// Comparing the import with the graph.
    Proving,
    /// Running the fp32 model over the calibration text, sequence by sequence.
    Calibrating,
    /// Making int8 weights, layer by layer.
    Quantizing,
    /// Measuring what each layer costs.
    Sensitivity,
    /// Writing the file beside its name.
    Writing,
    /// Verifying the file and measuring its noise.
    Checking,
    /// Asking the fp32 model, question by question.
    Fp32Questions,
    /// Asking the int8 model, question by question.
    Int8Questions,
}

/// All stages, in order.
pub const STAGES: [Stage; 9] = [
    Stage::Reading,
    Stage::Proving,
    Stage::Calibrating,
    Stage::Quantizing,
    Stage::Sensitivity,
    Stage::Writing,
    Stage::Checking,
    Stage::Fp32Questions,
    Stage::Int8Questions,
];

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Stage::Reading => "reading the model",
            Stage::Proving => "proving the import",
            Stage::Calibrating => "calibrating",
            Stage::Quantizing => "quantising",
            Stage::Sensitivity => "measuring sensitivity",
            Stage::Writing => "writing",
            Stage::Checking => "checking what was written",
            Stage::Fp32Questions => "asking the fp32 model",
            Stage::Int8Questions => "asking the int8 model",
        })
    }
}

/// Converts `input` to the artifact `out`. `stage` is called when a stage begins, and inside of one that has steps with the finished
/// and all steps.
///
/// # Errors
/// If anything cannot be read, is not supported, does not prove equal, or misses the accuracy that is asked for; no file is left
/// behind and an existing one is kept.
pub fn convert(
    input: &Input,
    out: &Path,
    options: &Options,
    stage: impl FnMut(Stage, usize, usize) + Send,
) -> anyhow::Result<Summary> {
    let stage = Mutex::new(stage);
    run(input, out, options, &|at, done, all| (stage.lock().unwrap_or_else(PoisonError::into_inner))(at, done, all))
}

/// Called with a stage, its finished steps and all of them, from any thread. No parameter of types: the pipeline is compiled once, not
/// once per caller.
pub(crate) type OnStage<'a> = dyn Fn(Stage, usize, usize) + Sync + 'a;

fn run(input: &Input, out: &Path, options: &Options, stage: &OnStage<'_>) -> anyhow::Result<Summary> {
    target::check_inputs(out, input.files(None).iter().map(|file| &file.path).chain(options.inputs()))?;
    target::check(out)?;
    let gate = options.gate.as_ref().map(gate::Opened::new).transpose()?;
    stage(Stage::Reading, 0, 0);
    let config = SourceConfig::read(&input.config)?;
    check_names(&options.half, &config)?;
    let tokenizer = fs::read_to_string(&input.tokenizer)
        .with_context(|| format!("cannot read {} as UTF-8 text", input.tokenizer.display()))?;
    let (checkpoint, graph) = import(input, &config)?;
    let files = input.files(graph.as_ref());
    target::check_inputs(out, files.iter().map(|file| &file.path))?;
    let float = float::weights(&checkpoint);
    let proof = match &graph {
        Some(graph) => {
            stage(Stage::Proving, 0, 0);
            Some(proof::prove(graph, &Session::new(&float)?)?)
        }
        None => None,
    };
    let checksums = checksums(&files)?;
    let source = source(input, &checksums, graph.is_some());
    // A graph for one length cannot run windows of other lengths; its weights can.
    let graph = graph.filter(|_| gate.is_some() && proof.as_ref().is_some_and(|proof| proof.fixed_length.is_none()));
    let qa = QaTokenizer::from_json(tokenizer.as_bytes(), config.model.vocab_size)
        .with_context(|| format!("{} cannot be used", input.tokenizer.display()))?;
    let texts = match &options.calibration {
        CalibrationText::Own => Some(Texts::own()),
        CalibrationText::File(path) => Some(Texts::read(path)?),
        CalibrationText::None => None,
    };
    let mut calibration = match &texts {
        Some(texts) => Some(Calibration::collect(&float, &qa, texts, |d, a| stage(Stage::Calibrating, d, a))?),
        None => None,
    };
    let int8 = quantize::linears(&checkpoint, calibration.as_ref(), |d, a| stage(Stage::Quantizing, d, a));
    if let Some(calibration) = &mut calibration {
        calibration.inputs.clear(); // the sequences are still needed, the sums are large
    }
    let metadata = Metadata {
        config: config.model,
        source: source.clone(),
        license: options.license.clone().unwrap_or_else(|| "unspecified".into()),
        tool: concat!("edgeqa-quantize ", env!("CARGO_PKG_VERSION")).into(),
        null_threshold: options.null_threshold,
        accuracy: None,
    };
    let mut maker = Maker {
        checkpoint: &checkpoint,
        tokenizer: &tokenizer,
        float: &float,
        int8: &int8,
        windows: calibration.as_ref().map(|calibration| calibration.windows.as_slice()),
        texts: texts.as_ref(),
        qa: &qa,
        metadata,
        out,
        stage,
        pending: None,
        sensitivity: None,
    };
    if options.sensitivity {
        maker.sensitivity()?;
    }
    let mut half = options.half.clone();
    let (artifact, gated) = match &gate {
        None => (maker.make(&half)?, None),
        Some(gate) => {
            let fp32 = gate::Float {
                backend: if graph.is_some() { Backend::Graph } else { Backend::Imported },
                sha256: checksums
                    .iter()
                    .filter(|sum| sum.role != Role::Tokenizer)
                    .map(|sum| sum.sha256.clone())
                    .collect(),
                graph: graph.as_ref(),
                weights: &float,
            };
            let (gated, accuracy, measured) = gate.pass(&fp32, &mut maker, &mut half, stage)?;
            // The scores belong into the header; the tensors are those that were measured.
            maker.metadata.accuracy = Some(accuracy);
            let artifact = maker.make(&half)?;
            ensure!(
                artifact.data_sha256() == measured,
                "the tensors changed after they were measured; please report this"
            );
            (artifact, Some(gated))
        }
    };
    stage(Stage::Checking, 0, 0);
    let noise = noise::measure(&float, &ModelWeights::from_artifact(&artifact)?)
        .with_context(|| format!("{} cannot be used", input.weights.display()))?;
    let Maker { metadata, pending, sensitivity, .. } = maker;
    if let Some(pending) = pending.filter(|_| !options.dry_run) {
        pending.publish()?;
    }
    Ok(Summary {
        out: out.to_owned(),
        written: !options.dry_run,
        source,
        layers: metadata.config.num_layers,
        parameters: checkpoint.parameters(),
        source_bytes: files
            .iter()
            .filter(|file| matches!(file.role, Role::Weights | Role::Data))
            .map(|file| size(&file.path))
            .sum::<anyhow::Result<u64>>()?,
        artifact_bytes: artifact.file_len(),
        tokenizer: TokenizerSummary {
            compiled: artifact.tensors().contains_key(schema::TRIE),
            bytes: schema::TOKENIZER_TENSORS
                .iter()
                .filter_map(|name| artifact.tensors().get(*name))
                .map(|tensor| tensor.bytes.len())
                .sum(),
        },
        data_sha256: artifact.data_sha256().to_owned(),
        proof,
        calibration: calibration.map(|c| CalibrationSummary {
            sequences: c.windows.len(),
            tokens: c.tokens(),
            source: c.source,
            choices: int8.choices,
        }),
        half,
        noise,
        sensitivity: sensitivity.unwrap_or_default(),
        accuracy: metadata.accuracy,
        gate: gated,
    })
}

/// What files are made of.
struct Maker<'a> {
    checkpoint: &'a Checkpoint,
    tokenizer: &'a str,
    float: &'a ModelWeights,
    int8: &'a Int8Linears,
    /// The sequences of the calibration.
    windows: Option<&'a [Window]>,
    /// Their texts.
    texts: Option<&'a Texts>,
    qa: &'a QaTokenizer,
    metadata: Metadata,
    out: &'a Path,
    stage: &'a OnStage<'a>,
    /// The last file that was made.
    pending: Option<Pending>,
    sensitivity: Option<Vec<Sensitivity>>,
}

impl Candidate for Maker<'_> {
    /// Writes the artifact beside its name and checks it. What is published is the file itself, so the file is what gets checked and
    /// measured.
    fn make(&mut self, half: &BTreeSet<String>) -> anyhow::Result<Artifact> {
        (self.stage)(Stage::Writing, 0, 0);
        let tensors = quantize::tensors(self.checkpoint, self.tokenizer, self.int8, half)?;
        let pending = write(self.out, &self.metadata, &tensors)?;
        let artifact = Artifact::open(pending.path())?;
        artifact.verify()?;
        self.prove_tokenizer(&QaTokenizer::from_artifact(&artifact)?)?;
        self.pending = Some(pending);
        Ok(artifact)
    }

    fn sensitivity(&mut self) -> anyhow::Result<&[Sensitivity]> {
        if self.sensitivity.is_none() {
            let step = |done, all| (self.stage)(Stage::Sensitivity, done, all);
            let windows = match self.windows {
                Some(windows) => windows,
                None => &Texts::own().windows(self.qa, self.float.config.max_positions)?,
            };
            self.sensitivity = Some(sensitivity::measure(self.float, self.int8, windows, step)?);
        }
        Ok(self.sensitivity.as_deref().unwrap_or_default())
    }
}

impl Maker<'_> {
    /// The tokenizer of the artifact must make the same sequences as that of `tokenizer.json`, and the tokens of the library.
    fn prove_tokenizer(&self, found: &QaTokenizer) -> anyhow::Result<()> {
        let own = Texts::own();
        let (texts, max) = (self.texts.unwrap_or(&own), self.metadata.config.max_positions);
        ensure!(
            texts.windows(found, max)? == texts.windows(self.qa, max)?,
            "the tokenizer in the file makes other tokens of {} than tokenizer.json; please report this",
            texts.name
        );
        tokens::prove(found, self.tokenizer, texts)
    }
}

/// Layers that are to keep half precision must exist.
fn check_names(half: &BTreeSet<String>, config: &SourceConfig) -> anyhow::Result<()> {
    let known: Vec<String> = (0..config.model.num_layers)
        .flat_map(|layer| schema::linears(&config.model, layer).map(|spec| spec.name))
        .collect();
    for name in half {
        ensure!(known.contains(name), "there is no linear layer {name:?}; there are {}", known.join(", "));
    }
    Ok(())
}
