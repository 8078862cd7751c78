//! The whole conversion: import, prove, calibrate, quantise, write, check what was written, publish.

mod maker;
mod prepared;
mod stage;
mod summary;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use edgeqa::artifact::{Metadata, schema};
use edgeqa::model::{ModelWeights, Session};
use edgeqa::tokenizer::{QaTokenizer, TokenizerError};

use self::maker::Maker;
pub use self::prepared::Prepared;
pub(crate) use self::stage::OnStage;
pub use self::stage::{STAGES, Stage};
pub use self::summary::{CalibrationSummary, Summary, TokenizerSummary};
use crate::calibrate::Calibration;
use crate::compare::fp32::Backend;
use crate::config::SourceConfig;
use crate::float;
use crate::gate::{self, Candidate, Gate};
use crate::import::onnx::OnnxModel;
use crate::input::{Role, checksums, import, size, source};
use crate::noise;
use crate::original::Original;
use crate::proof::Observed;
use crate::quantize;
use crate::target;

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
    /// A file; see [`Texts::read`](crate::calibrate::Texts::read).
    File(PathBuf),
    /// None: weights are rounded to the nearest step.
    None,
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
    Prepared::new(out, options)?.convert(input, stage)
}

fn run(input: &Input, prepared: &Prepared<'_>, stage: &OnStage<'_>) -> anyhow::Result<Summary> {
    let Prepared { out, options, gate, texts } = prepared;
    target::check_inputs(out, input.files(None).iter().map(|file| &file.path))?;
    stage(Stage::Reading, 0, 0);
    let config = SourceConfig::read(&input.config)?;
    check_names(&options.half, &config)?;
    let tokenizer = fs::read_to_string(&input.tokenizer)
        .with_context(|| format!("cannot read {} as UTF-8 text", input.tokenizer.display()))?;
    let qa = QaTokenizer::from_json(tokenizer.as_bytes(), config.model.vocab_size)
        .map_err(|error| unusable(&input.tokenizer, error))?;
    let windows = match texts {
        Some(texts) => Some(texts.calibration_windows(&qa, config.model.max_positions)?),
        None => None,
    };
    let (checkpoint, graph) = import(input, &config)?;
    let files = input.files(graph.as_ref());
    target::check_inputs(out, files.iter().map(|file| &file.path))?;
    let (observed, graph) = match graph {
        Some(graph) => {
            stage(Stage::Proving, 0, 0);
            observe(graph, &config, gate.is_some())?
        }
        None => (None, None),
    };
    // Not before tract has given back what it needs.
    let float = float::weights(&checkpoint);
    let proof = observed.map(|observed| observed.prove(&Session::new(&float)?)).transpose()?;
    let checksums = checksums(&files)?;
    let source = source(input, &checksums, proof.is_some());
    let mut calibration = match windows {
        Some(windows) => Some(Calibration::collect(&float, windows, |d, a| stage(Stage::Calibrating, d, a))?),
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
    let (artifact, gated) = match gate {
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
    let max_positions = maker.metadata.config.max_positions;
    let warnings = proof.iter().filter_map(|proof| proof.warning(max_positions)).chain(noise.warning()).collect();
    let Maker { metadata, pending, sensitivity, .. } = maker;
    if let Some(pending) = pending.filter(|_| !options.dry_run) {
        pending.publish()?;
    }
    Ok(Summary {
        out: out.to_path_buf(),
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
        warnings,
        calibration: calibration.map(|c| CalibrationSummary {
            sequences: c.windows.len(),
            tokens: c.tokens(),
            source: texts.as_ref().map(|texts| texts.name.clone()).unwrap_or_default(),
            choices: int8.choices,
        }),
        half,
        noise,
        sensitivity: sensitivity.unwrap_or_default(),
        accuracy: metadata.accuracy,
        gate: gated,
    })
}

/// What `graph` computes, and the graph itself if there are `questions` that it can answer.
fn observe(
    graph: OnnxModel,
    config: &SourceConfig,
    questions: bool,
) -> anyhow::Result<(Option<Observed>, Option<OnnxModel>)> {
    if !questions {
        return Ok((Some(Observed::new(&Original::taking(graph, &config.model)?)?), None));
    }
    let original = Original::new(&graph, &config.model)?;
    // A graph for one length cannot run windows of other lengths; its weights can.
    let graph = original.fixed_length().is_none().then_some(graph);
    Ok((Some(Observed::new(&original)?), graph))
}

/// Says what is wrong with the tokenizer that was given.
fn unusable(file: &Path, error: TokenizerError) -> anyhow::Error {
    let file = file.display();
    match error {
        TokenizerError::Invalid(reason) => anyhow!(
            "{file} is no tokenizer that edgeqa can use: {reason}; give the tokenizer.json that was saved with the model (--tokenizer)"
        ),
        error => anyhow::Error::new(error).context(format!("{file} cannot be used")),
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
