//! Running a model.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tract_core::internal::*;

use super::graph::{Taps, build};
use super::weights::ModelWeights;
use crate::config::ModelConfig;
use crate::ops::Workspace;
use crate::threads::Threads;

/// Scores of every token as the first and as the last of the answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logits {
    /// Start scores, one per token.
    pub start: Vec<f32>,
    /// End scores, one per token.
    pub end: Vec<f32>,
}

/// Why a sequence could not be evaluated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No token, or more than the model can take.
    #[error("{found} tokens, but the model takes 1 to {max}")]
    Length {
        /// Tokens given.
        found: usize,
        /// The model's maximum.
        max: usize,
    },
    /// Token types were needed and not given, given and not needed, or of another length than the tokens.
    #[error("{found} token types for {tokens} tokens of a model with {types} token types")]
    TokenTypes {
        /// Token types given.
        found: usize,
        /// Tokens given.
        tokens: usize,
        /// Rows of the model's token type table.
        types: usize,
    },
    /// The outputs are infinite, not a number, or too large to be added.
    #[error(
        "the model's logits are not finite or too large to compare: its weights are damaged or absurdly large; copy or convert it again"
    )]
    NonFinite,
    /// The run was told to stop; see [`Session::until`].
    #[error("stopped before the answer was found")]
    Stopped,
    /// tract failed; for a valid model this is a token id outside the vocabulary.
    #[error("cannot evaluate the model: {0:#}")]
    Evaluation(TractError),
}

/// Tells runs to end early. Clones are one flag.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Runs that look at this end before their next operator.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody has called [`Stop::stop`].
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A model ready to run, for every sequence length. Clones share weights, threads and memory; any number of runs can go on
/// at the same time.
#[derive(Clone, Debug)]
pub struct Session {
    plan: Arc<TypedSimplePlan>,
    config: Arc<ModelConfig>,
    threads: Threads,
    /// States of runs that are over, for the next ones to use the memory again.
    idle: Arc<Mutex<Vec<TypedSimpleState>>>,
    stop: Stop,
}

impl Session {
    /// Builds the model and its plan.
    ///
    /// # Errors
    /// [`ModelError::Evaluation`] if tract refuses the graph.
    pub fn new(weights: &ModelWeights) -> Result<Self, ModelError> {
        Self::with_taps(weights, Taps::None)
    }

    /// As [`Session::new`], for a model that returns more than the logits.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn with_taps(weights: &ModelWeights, taps: Taps) -> Result<Self, ModelError> {
        let plan = build(weights, taps).and_then(TypedSimplePlan::new).map_err(ModelError::Evaluation)?;
        let (threads, idle) = (Threads::one(), Arc::default());
        Ok(Self { plan, config: Arc::new(weights.config.clone()), threads, idle, stop: Stop::default() })
    }

    /// The same model, every run of which is shared between `threads`. Results do not depend on their number.
    pub fn on(&self, threads: Threads) -> Self {
        Self { threads, ..self.clone() }
    }

    /// The same model, whose runs fail with [`ModelError::Stopped`] once `stop` says so; an operator that has begun is finished.
    pub fn until(&self, stop: Stop) -> Self {
        Self { stop, ..self.clone() }
    }

    /// Who computes a run.
    pub fn threads(&self) -> &Threads {
        &self.threads
    }

    /// The model's shapes.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Evaluates one sequence of token ids, run at its exact length. `types` must be given if and only if the model has token
    /// types.
    ///
    /// # Errors
    /// [`ModelError`]; see its variants.
    pub fn logits(&self, ids: &[i64], types: Option<&[i64]>) -> Result<Logits, ModelError> {
        let mut outputs = self.run(ids, types)?.into_iter();
        let logits = Logits { start: outputs.next().unwrap_or_default(), end: outputs.next().unwrap_or_default() };
        // Null odds are the difference of two sums of two.
        if logits.start.iter().chain(&logits.end).all(|x| x.abs() < f32::MAX / 4.0) {
            Ok(logits)
        } else {
            Err(ModelError::NonFinite)
        }
    }

    /// All outputs of the model, flattened: start logits, end logits, then what the taps add.
    ///
    /// # Errors
    /// [`ModelError`], except that outputs may be non-finite.
    pub fn run(&self, ids: &[i64], types: Option<&[i64]>) -> Result<Vec<Vec<f32>>, ModelError> {
        self.check(ids, types)?;
        self.threads.run(|| self.evaluate(ids, types, |_, _| ())).map_err(|error| self.failure(error))
    }

    /// What became of a run that ended with `error`.
    fn failure(&self, error: TractError) -> ModelError {
        if self.stop.is_stopped() { ModelError::Stopped } else { ModelError::Evaluation(error) }
    }

    /// The logits of several sequences with their types, each computed by one thread, as many at a time as there are threads.
    /// Each takes longer than alone, all together less time.
    pub fn logits_of_each<'a>(
        &self,
        sequences: impl IntoIterator<Item = (&'a [i64], Option<&'a [i64]>)>,
    ) -> Vec<Result<Logits, ModelError>> {
        let alone = Self { threads: Threads::one(), ..self.clone() };
        let mut parts: Vec<_> = sequences.into_iter().map(|sequence| (sequence, None)).collect();
        self.threads.for_each(&mut parts, |((ids, types), logits)| *logits = Some(alone.logits(ids, *types)));
        parts.into_iter().filter_map(|(_, logits)| logits).collect()
    }

    /// How long every kind of operator takes in one run, by its name.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn profile(&self, ids: &[i64], types: Option<&[i64]>) -> Result<BTreeMap<String, Duration>, ModelError> {
        let mut times = BTreeMap::new();
        self.check(ids, types)?;
        let record = |name: &str, time| *times.entry(name.to_owned()).or_default() += time;
        self.threads.run(|| self.evaluate(ids, types, record)).map_err(|error| self.failure(error))?;
        Ok(times)
    }

    /// `observe` is told the name of every operator's kind and how long it took.
    fn evaluate(
        &self,
        ids: &[i64],
        types: Option<&[i64]>,
        mut observe: impl FnMut(&str, Duration),
    ) -> TractResult<Vec<Vec<f32>>> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut state = match idle {
            Some(state) => state,
            None => self.plan.spawn()?,
        };
        Workspace::prepare(&mut state, &self.threads);
        let inputs = std::iter::once(ids).chain(types).map(|values| tensor1(values).into_tvalue()).collect();
        // The state of a failed run is dropped.
        let outputs = state.run_plan_with_eval(inputs, |context, op_state, node, inputs| {
            ensure!(!self.stop.is_stopped(), "stopped");
            let started = Instant::now();
            let outputs = tract_core::plan::eval(context, op_state, node, inputs);
            observe(&node.op.name(), started.elapsed());
            outputs
        })?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(state);
        outputs.iter().map(|output| Ok(output.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())).collect()
    }

    fn check(&self, ids: &[i64], types: Option<&[i64]>) -> Result<(), ModelError> {
        let max = self.config.max_positions;
        if !(1..=max).contains(&ids.len()) {
            return Err(ModelError::Length { found: ids.len(), max });
        }
        let expected = (self.config.type_vocab_size > 0).then_some(ids.len());
        if types.map(<[i64]>::len) != expected {
            let (found, types) = (types.map_or(0, <[i64]>::len), self.config.type_vocab_size);
            return Err(ModelError::TokenTypes { found, tokens: ids.len(), types });
        }
        Ok(())
    }
}
