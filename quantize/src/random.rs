//! Random token sequences for proofs and measurements.

use edgeqa::config::ModelConfig;
pub(crate) use edgeqa::eval::random::Random;

/// One input of a model.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub ids: Vec<i64>,
    /// Present if the model has token types: zeros, then ones, as for a question and a text.
    pub types: Option<Vec<i64>>,
}

impl Sample {
    /// `length` random tokens.
    pub(crate) fn new(config: &ModelConfig, length: usize, random: &mut Random) -> Self {
        let ids = (0..length).map(|_| random.below(config.vocab_size as u64) as i64).collect();
        let types = (config.type_vocab_size > 0)
            .then(|| (0..length).map(|i| i64::from(config.type_vocab_size > 1 && i > length / 3)).collect());
        Self { ids, types }
    }
}
