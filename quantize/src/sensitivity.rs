//! What each linear layer costs: the error of the logits if only that layer is in int8.

use std::sync::{Mutex, PoisonError};

use edgeqa::artifact::schema;
use edgeqa::model::{ModelError, ModelWeights, Session};
use edgeqa::ops::LinearWeights;
use edgeqa::tokenizer::Window;
use serde::Serialize;

use crate::noise::relative_rms;
use crate::parallel;
use crate::quantize::Int8Linears;

/// The error that one layer adds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sensitivity {
    /// Name of the linear layer, as in [`schema::linears`].
    pub layer: String,
    /// RMS difference of the logits with only this layer in int8, as a share of the standard deviation of the fp32 logits.
    pub logit_error: f64,
}

/// Sequences that the errors are measured on.
const WINDOWS: usize = 4;

/// Measures every linear layer of the fp32 model on some of `windows`, the most sensitive first. `step` is called with the number
/// of finished and all layers.
///
/// # Errors
/// Those of [`Session::run`].
pub fn measure(
    float: &ModelWeights,
    int8: &Int8Linears,
    windows: &[Window],
    step: impl Fn(usize, usize) + Sync,
) -> Result<Vec<Sensitivity>, ModelError> {
    let config = &float.config;
    let windows: Vec<&Window> = windows.iter().step_by(windows.len().div_ceil(WINDOWS).max(1)).collect();
    let logits = |weights: &ModelWeights| -> Result<Vec<f64>, ModelError> {
        let session = Session::new(weights)?;
        let mut all = Vec::new();
        for window in &windows {
            let types = window.types_for(config);
            let outputs = session.run(&window.ids, types)?;
            all.extend(outputs.iter().flatten().map(|x| f64::from(*x)));
        }
        Ok(all)
    };
    let want = logits(float)?;
    let error = |weights: &ModelWeights| -> Result<f64, ModelError> {
        let differences: Vec<f64> = logits(weights)?.iter().zip(&want).map(|(got, want)| got - want).collect();
        // Outputs that are not finite are as bad as can be.
        Ok(relative_rms(&differences, &want).filter(|error| error.is_finite()).unwrap_or(f64::MAX))
    };
    let jobs: Vec<_> = (0..config.num_layers)
        .flat_map(|l| schema::linears(config, l).into_iter().enumerate().map(move |(part, spec)| (l, part, spec.name)))
        .filter(|(.., name)| int8.linears.contains_key(name))
        .collect();
    let (all, results) = (jobs.len(), Mutex::new(Vec::new()));
    parallel::for_each(jobs, |(layer, part, name)| {
        let mut weights = float.clone();
        if let (Some(slot), Some(linear)) = (linear(&mut weights, layer, part), int8.linears.get(&name)) {
            *slot = linear.weights();
        }
        let result = error(&weights).map(|logit_error| Sensitivity { layer: name, logit_error });
        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
        results.push(result);
        step(results.len(), all);
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut results = results.into_iter().collect::<Result<Vec<_>, _>>()?;
    results.sort_by(|a, b| b.logit_error.total_cmp(&a.logit_error).then_with(|| a.layer.cmp(&b.layer)));
    Ok(results)
}

/// Linear layer `part` of encoder layer `layer`, in the order of [`schema::linears`].
fn linear(weights: &mut ModelWeights, layer: usize, part: usize) -> Option<&mut LinearWeights> {
    let layer = weights.layers.get_mut(layer)?;
    [&mut layer.qkv, &mut layer.attention_output, &mut layer.ffn_in, &mut layer.ffn_out].into_iter().nth(part)
}
