//! How far the int8 model is from the fp32 one, layer by layer.

use anyhow::ensure;
use edgeqa::model::graph::Taps;
use edgeqa::model::{ModelWeights, Session};
use edgeqa::stats::{deviation, rms};
use serde::Serialize;

use crate::random::{Random, Sample};

/// [`Noise::logit_error`] above which answers are expected to be lost; healthy models have 0.006 to 0.035.
pub const HIGH_LOGIT_ERROR: f64 = 0.1;

/// Noise of the quantised model on random inputs.
#[derive(Clone, Debug, Serialize)]
pub struct Noise {
    /// Sequence lengths of the inputs.
    pub lengths: Vec<usize>,
    /// Signal-to-noise ratio of every encoder layer's output in decibels, noise of the layers before included:
    /// `10 log10(sum y^2 / sum (y - y_int8)^2)`; `None` if there is no noise at all.
    pub layer_snr_db: Vec<Option<f64>>,
    /// RMS difference of the logits, as a share of the standard deviation of the fp32 logits; `None` if these are all equal.
    pub logit_error: Option<f64>,
}

impl Noise {
    /// What to do if int8 is plainly bad.
    pub fn warning(&self) -> Option<String> {
        let error = self.logit_error.filter(|error| *error > HIGH_LOGIT_ERROR)?;
        Some(format!(
            "the logits of int8 have a relative RMS error of {error:.3}, above {HIGH_LOGIT_ERROR} (healthy models have 0.006 to 0.035): \
             --sensitivity lists what each layer costs, --half LAYER keeps one in half precision, and --squad FILE measures what that \
             does to answers"
        ))
    }
}

/// Evaluates both models on random inputs.
///
/// # Errors
/// Those of [`Session::run`], if a logit or an output of a layer is infinite or not a number, and if all starts or all ends have one logit
/// in fp32, which answers nothing.
pub fn measure(float: &ModelWeights, int8: &ModelWeights) -> anyhow::Result<Noise> {
    let max = float.config.max_positions;
    let mut lengths: Vec<usize> = [24, 64, 128].iter().map(|l| (*l).min(max)).collect();
    lengths.dedup();
    let (float, int8) = (Session::with_taps(float, Taps::Layers)?, Session::with_taps(int8, Taps::Layers)?);
    let mut random = Random(0x0150);
    let mut layers: Vec<(f64, f64)> = Vec::new();
    let (mut logits, mut differences) = ([Vec::new(), Vec::new()], Vec::new());
    for &length in &lengths {
        let sample = Sample::new(float.config(), length, &mut random);
        let want = float.run(&sample.ids, sample.types.as_deref())?;
        check(&want, "the fp32 model", "its weights are damaged or too large to compute with; copy or train it again")?;
        let got = int8.run(&sample.ids, sample.types.as_deref())?;
        check(&got, "the int8 model", "in fp32 they are; keep layers in half precision with --half")?;
        layers.resize(want.len() - 2, (0.0, 0.0));
        for (i, (want, got)) in want.iter().zip(&got).enumerate() {
            if let Some(layer) = i.checked_sub(2).and_then(|l| layers.get_mut(l)) {
                let (signal, noise) = energies(want, got);
                layer.0 += signal;
                layer.1 += noise;
            } else if let Some(logits) = logits.get_mut(i) {
                logits.extend(want.iter().map(|x| f64::from(*x)));
                differences.extend(want.iter().zip(got).map(|(want, got)| f64::from(*want) - f64::from(*got)));
            }
        }
    }
    for (logits, what) in logits.iter().zip(["starts", "ends"]) {
        ensure!(
            deviation(logits).is_some_and(|spread| spread > 0.0),
            "the logits of all {what} are {} on random tokens, so nothing was written: the weights are damaged; copy or download them again",
            logits.first().copied().unwrap_or_default()
        );
    }
    Ok(Noise {
        lengths,
        layer_snr_db: layers.iter().map(|(signal, noise)| 10.0 * (signal / noise).log10()).map(finite).collect(),
        logit_error: relative_rms(&differences, &logits.concat()),
    })
}

/// RMS of `differences` from the fp32 logits, as a share of the standard deviation of these; `None` if they are all equal.
pub(crate) fn relative_rms(differences: &[f64], fp32: &[f64]) -> Option<f64> {
    let spread = deviation(fp32).filter(|spread| *spread > 0.0)?;
    Some(rms(differences)? / spread)
}

/// Refuses outputs of `model` (both logits, then layers) that are not finite, and tells what `advice` there is.
fn check(outputs: &[Vec<f32>], model: &str, advice: &str) -> anyhow::Result<()> {
    // Layers first: what is wrong with one is wrong with all that follows.
    for (i, output) in outputs.iter().enumerate().skip(2).chain(outputs.iter().enumerate().take(2)) {
        let what = i.checked_sub(2).map_or_else(|| "logits".into(), |layer| format!("outputs of layer {layer}"));
        ensure!(
            output.iter().all(|x| x.is_finite()),
            "the {what} of {model} are not finite on random tokens, so nothing was written: {advice}"
        );
    }
    Ok(())
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

fn energies(want: &[f32], got: &[f32]) -> (f64, f64) {
    want.iter().zip(got).fold((0.0, 0.0), |(signal, noise), (want, got)| {
        (signal + f64::from(*want).powi(2), noise + (f64::from(*want) - f64::from(*got)).powi(2))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::SourceConfig;
    use crate::{float, import};

    fn fixture() -> ModelWeights {
        let exports = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/exports/base-hf");
        let config = SourceConfig::read(&exports.join("config.json")).expect("a configuration");
        float::weights(&import::folder::import(&exports.join("model.safetensors"), &config).expect("weights"))
    }

    /// Outputs that are one percent too large have a hundred times less noise than signal, of amplitude.
    #[test]
    fn noise_is_in_decibels_of_power() {
        let (float, mut other) = (fixture(), fixture());
        let norm = &mut other.layers.last_mut().expect("a layer").ffn_norm;
        for values in [&mut norm.weight, &mut norm.bias] {
            *values = values.iter().map(|x| 1.01 * x).collect::<Vec<_>>().into();
        }
        let noise = measure(&float, &other).expect("finite");
        let (last, others) = noise.layer_snr_db.split_last().expect("layers");
        assert!(last.is_some_and(|db| (db - 40.0).abs() < 0.01), "{last:?}");
        assert!(others.iter().all(Option::is_none), "{others:?}");
    }

    #[test]
    fn a_model_whose_starts_or_ends_are_all_alike_is_refused() {
        let width = fixture().config.hidden_size;
        for (row, what) in [(0, "starts"), (1, "ends")] {
            let mut damaged = fixture();
            let mut weight = damaged.head.weight.to_vec();
            weight[row * width..][..width].fill(0.0);
            (damaged.head.weight, damaged.head.bias) = (weight.into(), vec![0.5, 0.5].into());
            let error = measure(&damaged, &damaged).expect_err("nothing can be answered").to_string();
            assert!(error.starts_with(&format!("the logits of all {what} are 0.5 on random tokens")), "{error}");
        }
    }

    #[test]
    fn the_first_layer_that_is_not_finite_is_named() {
        let (float, mut other) = (fixture(), fixture());
        let bias = &mut other.layers[0].ffn_norm.bias;
        *bias = vec![f32::NAN; bias.len()].into();
        let error = measure(&float, &other).expect_err("not finite").to_string();
        assert!(error.starts_with("the outputs of layer 0 of the int8 model are not finite"), "{error}");
    }
}
