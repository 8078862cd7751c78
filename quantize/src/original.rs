//! The graph as the exporter wrote it, run by tract: the fp32 model that everything else is compared with.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail, ensure};
use edgeqa::config::ModelConfig;
use edgeqa::guard::guard;
use edgeqa::model::{Logits, ModelError};
use edgeqa::qa::Scorer;
use tract_onnx::pb::{ModelProto, tensor_shape_proto::dimension::Value, type_proto};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;

use crate::import::onnx::OnnxModel;
use crate::import::onnx::inputs::{self, Role};

/// Plans for one length each that are kept. Each has its own copy of the weights.
const MAX_PLANS: usize = 2;

/// A graph, with one plan for all sequence lengths where tract can make one. It cannot for graphs with an `If`, which get one per
/// length when it is needed.
pub struct Original {
    path: PathBuf,
    config: ModelConfig,
    model: InferenceModel,
    inputs: Vec<Role>,
    outputs: [usize; 2],
    fixed_length: Option<usize>,
    batch: usize,
    symbolic: Option<Arc<TypedRunnableModel>>,
    /// The latest plans for one length, oldest first.
    plans: Mutex<Vec<(usize, Arc<TypedRunnableModel>)>>,
}

impl Original {
    /// Makes a runnable graph of `model`, which `config` describes.
    ///
    /// # Errors
    /// If tract cannot read the graph, or its inputs and outputs are not those of a question-answering model.
    pub fn new(model: &OnnxModel, config: &ModelConfig) -> anyhow::Result<Self> {
        Ok(Self::parse(&model.proto, &model.path, config)?.planned())
    }

    /// As [`Original::new`], of a graph that nobody else needs: it is dropped before plans are made.
    ///
    /// # Errors
    /// As [`Original::new`].
    pub fn taking(model: OnnxModel, config: &ModelConfig) -> anyhow::Result<Self> {
        let original = Self::parse(&model.proto, &model.path, config)?;
        drop(model);
        Ok(original.planned())
    }

    /// With the plan for all lengths, if there can be one and tract makes it.
    fn planned(mut self) -> Self {
        if self.fixed_length.is_none() {
            let length = self.model.symbols.sym("S").to_dim();
            match self.make_plan(&length) {
                Ok(plan) => self.symbolic = Some(plan),
                Err(error) => log::info!(
                    "tract makes no plan for all lengths of {}, so there is one per length: {error:#}",
                    self.path.display()
                ),
            }
        }
        self
    }

    fn parse(proto: &ModelProto, path: &Path, config: &ModelConfig) -> anyhow::Result<Self> {
        let graph = proto.graph.as_ref().context("the file holds no graph")?;
        // Shapes noted by exporters are hints, and sometimes wrong for other lengths.
        let onnx = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
        let parsed = call(|| onnx.parse(proto, None)).with_context(|| {
            format!("tract cannot read {}, so nothing can be compared with it; try another exporter", path.display())
        })?;
        let model = parsed.model;
        // In the same order as tract's.
        let inputs = inputs::roles(graph).with_context(|| format!("{} is not supported", path.display()))?;
        let names: Vec<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
        let place = |word: &str, default| names.iter().position(|n| n.contains(word)).unwrap_or(default);
        let outputs = [place("start", 0), place("end", 1)];
        ensure!(names.len() > 1, "{}: the graph must have start and end logits as outputs", path.display());
        let dims = inputs::fed(graph).find(|i| Role::of(&i.name) == Some(Role::Ids)).and_then(|i| {
            match &i.r#type.as_ref()?.value {
                Some(type_proto::Value::TensorType(t)) => t.shape.as_ref(),
                _ => None,
            }
        });
        let fixed = |axis: usize| match dims?.dim.get(axis)?.value {
            Some(Value::DimValue(v)) => usize::try_from(v).ok().filter(|v| *v > 0),
            _ => None,
        };
        let batch = fixed(0).unwrap_or(1);
        ensure!(batch <= 64, "{} was exported for batches of {batch}; export it for 1", path.display());
        Ok(Self {
            path: path.to_owned(),
            config: config.clone(),
            model,
            inputs,
            outputs,
            fixed_length: fixed(1),
            batch,
            symbolic: None,
            plans: Mutex::default(),
        })
    }

    /// The file that the graph was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The one length that the graph accepts, if it was exported for one.
    pub fn fixed_length(&self) -> Option<usize> {
        self.fixed_length
    }

    /// The shortest sequence that tract can run. At the concrete length 1, it merges the two orientations of the mask and then
    /// squares integers, which it cannot.
    pub fn shortest(&self) -> usize {
        if self.symbolic.is_some() { 1 } else { self.config.max_positions.min(2) }
    }

    /// Whether the graph has an input of token types.
    pub fn has_types(&self) -> bool {
        self.inputs.contains(&Role::Types)
    }

    /// Evaluates one sequence, with nothing masked. Token types are 0 if they are needed and not given, and ignored if the graph has
    /// no input for them.
    ///
    /// # Errors
    /// If tract cannot run the graph at this length.
    pub fn run(&self, ids: &[i64], types: Option<&[i64]>) -> anyhow::Result<Logits> {
        if let Some(length) = self.fixed_length {
            ensure!(
                ids.len() == length,
                "{} was exported for exactly {length} tokens and cannot run {}; export it for all lengths",
                self.path.display(),
                ids.len()
            );
        }
        let plan = self.plan(ids.len())?;
        call(|| {
            let (batch, length) = (self.batch, ids.len());
            let mut values = tvec!();
            for (input, role) in self.inputs.iter().enumerate() {
                let row: Vec<i64> = match role {
                    Role::Ids => ids.to_vec(),
                    Role::Mask => vec![1; length],
                    Role::Types => types.map_or_else(|| vec![0; length], <[i64]>::to_vec),
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

    /// The plan for sequences of `length`.
    fn plan(&self, length: usize) -> anyhow::Result<Arc<TypedRunnableModel>> {
        if let Some(plan) = &self.symbolic {
            return Ok(Arc::clone(plan));
        }
        // Kept locked while a plan is made: threads need the same one next. Whoever panicked with the lock left a whole list.
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, plan)) = plans.iter().find(|(of, _)| *of == length) {
            return Ok(Arc::clone(plan));
        }
        let plan = self.make_plan(&length.to_dim())?;
        if plans.len() >= MAX_PLANS {
            plans.remove(0);
        }
        plans.push((length, Arc::clone(&plan)));
        Ok(plan)
    }

    /// Makes a plan for sequences of `length`, which may be a symbol of the model's.
    fn make_plan(&self, length: &TDim) -> anyhow::Result<Arc<TypedRunnableModel>> {
        call(|| {
            let mut model = self.model.clone();
            for input in 0..self.inputs.len() {
                let fact = InferenceFact::dt_shape(self.input_type(input)?, [self.batch.to_dim(), length.clone()]);
                model.set_input_fact(input, fact)?;
            }
            model.into_optimized()?.into_runnable()
        })
    }

    fn input_type(&self, input: usize) -> TractResult<DatumType> {
        Ok(self.model.input_fact(input)?.datum_type.concretize().unwrap_or_else(i64::datum_type))
    }
}

impl Scorer for Original {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn logits(&self, ids: &[i64], types: Option<&[i64]>) -> Result<Logits, ModelError> {
        let max = self.config.max_positions;
        if !(1..=max).contains(&ids.len()) {
            return Err(ModelError::Length { found: ids.len(), max });
        }
        let logits = self.run(ids, types).map_err(ModelError::Evaluation)?;
        if [&logits.start, &logits.end].iter().any(|scores| scores.len() != ids.len()) {
            let (start, end) = (logits.start.len(), logits.end.len());
            let problem = format!("{start} start and {end} end logits for {} tokens", ids.len());
            return Err(ModelError::Evaluation(anyhow::Error::msg(problem)));
        }
        if logits.start.iter().chain(&logits.end).all(|x| x.is_finite()) {
            Ok(logits)
        } else {
            Err(ModelError::NonFinite)
        }
    }
}

/// Calls into tract, which panics on some graphs.
fn call<T>(f: impl FnOnce() -> TractResult<T>) -> anyhow::Result<T> {
    guard(f).unwrap_or_else(|panic| bail!("tract fails on this graph: {panic}"))
}
