//! Random token sequences for proofs and measurements.

use edgeqa::config::ModelConfig;

/// splitmix64: enough for sample inputs, and the same everywhere.
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0..bound`, up to a bias of `bound / 2^64`.
    pub(crate) fn below(&mut self, bound: usize) -> i64 {
        (self.next() % bound.max(1) as u64) as i64
    }
}

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
        let ids = (0..length).map(|_| random.below(config.vocab_size)).collect();
        let types = (config.type_vocab_size > 0)
            .then(|| (0..length).map(|i| i64::from(config.type_vocab_size > 1 && i > length / 3)).collect());
        Self { ids, types }
    }
}
