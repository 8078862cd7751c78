//! The imported fp32 model against the original graph, run by tract.

use std::iter::repeat_n;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use edgeqa::model::{Logits, Session};
use edgeqa::qa::Scorer;
use serde::Serialize;

use crate::original::Original;
use crate::random::{Random, Sample};

/// Largest difference allowed, as a share of the range of all logits seen.
pub const TOLERANCE: f32 = 1e-4;
/// Inputs of the one length that a graph accepts; of several lengths there is one each.
const FIXED_INPUTS: usize = 3;

/// What was compared and how far apart it was.
#[derive(Clone, Debug, Serialize)]
pub struct Proof {
    /// Sequence lengths of the random inputs, without repetitions.
    pub lengths: Vec<usize>,
    /// The one length that the graph accepts, if it was exported for one.
    pub fixed_length: Option<usize>,
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

    /// What is left unproven about a model of sequences of up to `max_positions` tokens.
    pub fn warning(&self, max_positions: usize) -> Option<String> {
        let length = self.fixed_length.filter(|length| *length < max_positions)?;
        Some(format!(
            "the graph accepts {length} tokens only, so nothing is proven about tokens further apart than {}, nor is what config.json says \
             about them (position_buckets, max_relative_positions): export it with dynamic axes, for sequences of all lengths",
            length - 1
        ))
    }
}

/// What a graph computes of random inputs. It is kept instead of the graph, which takes several times the memory of its weights.
pub struct Observed {
    path: PathBuf,
    lengths: Vec<usize>,
    fixed_length: Option<usize>,
    cases: Vec<(Sample, Logits)>,
}

impl Observed {
    /// Evaluates the graph on inputs of several lengths, or of the one length that it accepts.
    ///
    /// # Errors
    /// If tract cannot run the graph, or it returns no logits.
    pub fn new(original: &Original) -> anyhow::Result<Self> {
        let (path, config) = (original.path(), original.config());
        let max = config.max_positions;
        if let Some(length) = original.fixed_length() {
            ensure!(
                length <= max,
                "{} was exported for exactly {length} tokens, but config.json says that the model takes {max}",
                path.display()
            );
        }
        let (lengths, inputs) = match original.fixed_length() {
            Some(length) => (vec![length], FIXED_INPUTS),
            None => (lengths(max).into_iter().filter(|length| *length >= original.shortest()).collect(), 1),
        };
        let (mut random, mut cases) = (Random(0x5eed), Vec::new());
        for length in lengths.iter().flat_map(|length| repeat_n(*length, inputs)) {
            let mut sample = Sample::new(config, length, &mut random);
            let want = original.run(&sample.ids, sample.types.as_deref()).with_context(|| {
                format!("tract cannot run {}, so the import cannot be proven; try another exporter", path.display())
            })?;
            for want in [&want.start, &want.end] {
                ensure!(want.len() == length, "the graph returns {} logits for {length} tokens", want.len());
                if let Some(odd) = want.iter().find(|want| !want.is_finite()) {
                    bail!("the graph itself returns {odd} at length {length}");
                }
            }
            if !original.has_types() {
                sample.types.iter_mut().for_each(|types| types.fill(0));
            }
            cases.push((sample, want));
        }
        Ok(Self { path: path.to_owned(), lengths, fixed_length: original.fixed_length(), cases })
    }

    /// Evaluates the imported model on the same inputs.
    ///
    /// # Errors
    /// If it cannot be run, or the logits differ by more than [`TOLERANCE`] of their range.
    pub fn prove(self, imported: &Session) -> anyhow::Result<Proof> {
        let path = self.path.display();
        let (mut low, mut high, mut max_difference) = (f32::INFINITY, f32::NEG_INFINITY, 0.0f32);
        for (sample, want) in &self.cases {
            let got = imported.logits(&sample.ids, sample.types.as_deref())?;
            let (want, got) = (want.start.iter().chain(&want.end), got.start.iter().chain(&got.end));
            for (want, got) in want.zip(got) {
                (low, high) = (low.min(*want), high.max(*want));
                max_difference = max_difference.max((want - got).abs());
            }
        }
        let Self { lengths, fixed_length, .. } = self;
        let proof = Proof { lengths, fixed_length, max_difference, range: high - low };
        ensure!(
            proof.range.is_finite() && proof.range > 0.0,
            "all logits of {path} are {high}: nothing can be proven about it, and nothing could be answered with it"
        );
        ensure!(
            proof.max_difference <= TOLERANCE * proof.range,
            "the imported model is not the graph in {path}: logits differ by up to {:.3e}, {:.1e} of their range (allowed: \
             {TOLERANCE:.0e}). A graph that computes in fp16 cannot be proven: export it in fp32. Otherwise its architecture is not the \
             one in config.json, or its outputs are named the wrong way round",
            proof.max_difference,
            proof.relative()
        );
        Ok(proof)
    }
}

/// Sequence lengths from one token to all that the model takes, or 512 if that is less: attention costs the square.
fn lengths(max: usize) -> Vec<usize> {
    let max = max.min(512);
    let mut lengths: Vec<usize> = [1, 2, 7, 24, max / 3, max].iter().map(|l| (*l).clamp(1, max)).collect();
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_sequences_are_compared() {
        assert_eq!(lengths(512), [1, 2, 7, 24, 170, 512]);
        assert_eq!((lengths(1), lengths(3)), (vec![1], vec![1, 2, 3]));
        assert_eq!(lengths(4096).last(), Some(&512));
    }

    #[test]
    fn a_graph_for_fewer_tokens_than_the_model_takes_proves_less() {
        let warning = |fixed_length: Option<usize>| {
            let lengths = fixed_length.into_iter().collect();
            Proof { lengths, fixed_length, max_difference: 0.0, range: 1.0 }.warning(512)
        };
        assert_eq!((warning(None), warning(Some(512))), (None, None));
        let text = warning(Some(20)).expect("a warning");
        assert!(text.contains("accepts 20 tokens only") && text.contains("further apart than 19"), "{text}");
    }
}
