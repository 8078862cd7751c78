//! The imported fp32 model against the original graph, run by tract.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use edgeqa::guard::guard;
use edgeqa::model::{Logits, Session};
use serde::Serialize;
use tract_onnx::pb::{ModelProto, tensor_shape_proto::dimension::Value, type_proto};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;

use crate::import::onnx::OnnxModel;
use crate::random::{Random, Sample};

/// Largest difference allowed, as a share of the range of all logits seen.
pub const TOLERANCE: f32 = 1e-4;

/// What was compared and how far apart it was.
#[derive(Clone, Debug, Serialize)]
pub struct Proof {
    /// Sequence lengths of the random inputs.
    pub lengths: Vec<usize>,
    /// Largest absolute difference of two logits.
    pub max_difference: f32,
    /// Largest minus smallest logit.
    pub range: f32,
}

impl Proof {
    /// Largest difference as a share of the range.
    pub fn relative(&self) -> f32 {
        self.max_difference / self.range
    }
}

/// Evaluates both models on random inputs of several lengths, or of the one length the graph accepts.
///
/// # Errors
/// If tract cannot run the graph, or the logits differ by more than [`TOLERANCE`] of their range.
pub fn prove(model: &OnnxModel, imported: &Session) -> anyhow::Result<Proof> {
    let path = &model.path;
    let original = Original::new(&model.proto, path)?;
    let max = imported.config().max_positions;
    if let Some(length) = original.fixed_length {
        ensure!(
            length <= max,
            "{} was exported for exactly {length} tokens, but config.json says that the model takes {max}",
            path.display()
        );
    }
    let unproven = |e: anyhow::Error| {
        e.context(format!("tract cannot run {}, so the import cannot be proven; try another exporter", path.display()))
    };
    // One plan for all lengths where tract can make one; it cannot for graphs with an `If`, which get one per length.
    let (symbolic, lengths) = match original.fixed_length {
        Some(length) => (Some(original.plan(&length.to_dim()).map_err(unproven)?), vec![length; 3]),
        None => (original.plan(&original.model.symbols.sym("S").to_dim()).ok(), lengths(max)),
    };
    // At the concrete length 1, tract merges the two orientations of the mask and then squares integers, which it cannot.
    let first = if symbolic.is_none() { max.min(2) } else { 1 };
    let lengths: Vec<usize> = lengths.into_iter().filter(|l| *l >= first).collect();
    let mut random = Random(0x5eed);
    let (mut low, mut high, mut max_difference) = (f32::INFINITY, f32::NEG_INFINITY, 0.0f32);
    for &length in &lengths {
        let sample = Sample::new(imported.config(), length, &mut random);
        let plan = match &symbolic {
            Some(plan) => Arc::clone(plan),
            None => original.plan(&length.to_dim()).map_err(unproven)?,
        };
        let want = original.logits(&plan, &sample).map_err(unproven)?;
        let types = sample.types.as_deref().filter(|_| original.has_types);
        let zeros = sample.types.as_ref().map(|t| vec![0; t.len()]);
        let got = imported.logits(&sample.ids, types.or(zeros.as_deref()))?;
        for (want, got) in [(&want.start, &got.start), (&want.end, &got.end)] {
            ensure!(want.len() == got.len(), "the graph returns {} logits for {length} tokens", want.len());
            for (want, got) in want.iter().zip(got) {
                ensure!(want.is_finite(), "the graph itself returns {want} at length {length}");
                (low, high) = (low.min(*want), high.max(*want));
                max_difference = max_difference.max((want - got).abs());
            }
        }
    }
    let proof = Proof { lengths, max_difference, range: high - low };
    ensure!(
        proof.range.is_finite() && proof.range > 0.0,
        "all logits of {} are {high}: nothing can be proven about it, and nothing could be answered with it",
        path.display()
    );
    if proof.max_difference <= TOLERANCE * proof.range {
        return Ok(proof);
    }
    bail!(
        "the imported model is not the graph in {}: logits differ by up to {:.3e}, {:.1e} of their range (allowed: {TOLERANCE:.0e}). \
         A graph that computes in fp16 cannot be proven: export it in fp32. Otherwise its architecture is not the one in \
         config.json, or its outputs are named the wrong way round",
        path.display(),
        proof.max_difference,
        proof.relative()
    );
}

/// Sequence lengths from one token to most of what the model takes, or 512 if that is less: attention costs the square.
fn lengths(max: usize) -> Vec<usize> {
    let max = max.min(512);
    let mut lengths: Vec<usize> = [1, 2, 7, 24, max / 3, max * 2 / 3].iter().map(|l| (*l).clamp(1, max)).collect();
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

/// The graph as the exporter wrote it.
struct Original {
    model: InferenceModel,
    inputs: Vec<Role>,
    outputs: [usize; 2],
    fixed_length: Option<usize>,
    batch: usize,
    has_types: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Ids,
    Mask,
    Types,
}

impl Original {
    fn new(proto: &ModelProto, path: &Path) -> anyhow::Result<Self> {
        let graph = proto.graph.as_ref().context("the file holds no graph")?;
        // Shapes noted by exporters are hints, and sometimes wrong for other lengths.
        let onnx = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
        let parsed = call(|| onnx.parse(proto, None)).with_context(|| {
            format!("tract cannot read {}, so the import could not be proven; try another exporter", path.display())
        })?;
        let model = parsed.model;
        let mut inputs = Vec::new();
        for outlet in model.input_outlets()? {
            let name = model.node(outlet.node).name.as_str();
            inputs.push(match name {
                n if n.contains("mask") => Role::Mask,
                n if n.contains("type") || n.contains("segment") => Role::Types,
                n if n.contains("input") || n.contains("ids") => Role::Ids,
                other => bail!("{}: unknown graph input {other:?}", path.display()),
            });
        }
        ensure!(
            inputs.iter().filter(|r| **r == Role::Ids).count() == 1,
            "{}: the graph must have exactly one input of token ids",
            path.display()
        );
        let names: Vec<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
        let place = |word: &str, default| names.iter().position(|n| n.contains(word)).unwrap_or(default);
        let outputs = [place("start", 0), place("end", 1)];
        ensure!(names.len() > 1, "{}: the graph must have start and end logits as outputs", path.display());
        let dims =
            graph.input.iter().find(|i| !i.name.contains("mask")).and_then(|i| match &i.r#type.as_ref()?.value {
                Some(type_proto::Value::TensorType(t)) => t.shape.as_ref(),
                _ => None,
            });
        let fixed = |axis: usize| match dims?.dim.get(axis)?.value {
            Some(Value::DimValue(v)) => usize::try_from(v).ok().filter(|v| *v > 0),
            _ => None,
        };
        let batch = fixed(0).unwrap_or(1);
        ensure!(batch <= 64, "{} was exported for batches of {batch}; export it for 1", path.display());
        let has_types = inputs.contains(&Role::Types);
        Ok(Self { model, inputs, outputs, fixed_length: fixed(1), batch, has_types })
    }

    fn input_type(&self, input: usize) -> TractResult<DatumType> {
        Ok(self.model.input_fact(input)?.datum_type.concretize().unwrap_or_else(i64::datum_type))
    }

    /// A plan for sequences of `length`, which may be a symbol of the model's.
    fn plan(&self, length: &TDim) -> anyhow::Result<Arc<TypedRunnableModel>> {
        call(|| {
            let mut model = self.model.clone();
            for input in 0..self.inputs.len() {
                let fact = InferenceFact::dt_shape(self.input_type(input)?, [self.batch.to_dim(), length.clone()]);
                model.set_input_fact(input, fact)?;
            }
            model.into_optimized()?.into_runnable()
        })
    }

    fn logits(&self, plan: &Arc<TypedRunnableModel>, sample: &Sample) -> anyhow::Result<Logits> {
        call(|| {
            let (batch, length) = (self.batch, sample.ids.len());
            let mut values = tvec!();
            for (input, role) in self.inputs.iter().enumerate() {
                let row: Vec<i64> = match role {
                    Role::Ids => sample.ids.clone(),
                    Role::Mask => vec![1; length],
                    Role::Types => sample.types.clone().unwrap_or_else(|| vec![0; length]),
                };
                let rows: Vec<i64> = row.iter().copied().cycle().take(batch * length).collect();
                let tensor = Tensor::from_shape(&[batch, length], &rows)?;
                values.push(tensor.cast_to_dt(self.input_type(input)?)?.into_owned().into_tvalue());
            }
            let outputs = plan.run(values)?;
            let column = |i: usize| -> TractResult<Vec<f32>> {
                let output = outputs[self.outputs[i]].cast_to::<f32>()?.into_owned();
                let all = output.try_as_plain_ram()?.as_slice::<f32>()?;
                Ok(all[..all.len() / batch].to_vec())
            };
            Ok(Logits { start: column(0)?, end: column(1)? })
        })
    }
}

/// Calls into tract, which panics on some graphs.
fn call<T>(f: impl FnOnce() -> TractResult<T>) -> anyhow::Result<T> {
    guard(f).unwrap_or_else(|panic| bail!("tract fails on this graph: {panic}"))
}
