//! Numbers without pattern, the same on every machine; `ort_worker.py` draws the same token ids.

/// A linear congruential generator modulo 2^31.
#[derive(Clone, Copy, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator that is a function of `seed`.
    pub fn new(seed: u32) -> Self {
        Self(u64::from(seed))
    }

    /// A number in `0..bound`, for bounds up to 2^23.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = (self.0 * 1_103_515_245 + 12_345) % (1 << 31);
        (self.0 >> 8) % bound
    }

    /// `len` weights in `[-126, 126]`, spread as those of models are: four uniform values make a bell. Kernels may take another way for
    /// others.
    pub fn bell(&mut self, len: usize) -> Vec<i8> {
        (0..len).map(|_| ((0..4).map(|_| self.below(64)).sum::<u64>() as i16 - 126) as i8).collect()
    }

    /// `len` values in `[-127, 127]`.
    pub fn int8(&mut self, len: usize) -> Vec<i8> {
        (0..len).map(|_| (self.below(255) as i16 - 127) as i8).collect()
    }
}

/// `len` token ids below `vocabulary`, without the first few, which tend to be special tokens.
///
/// # Panics
/// If the vocabulary has no more than [`SPECIAL`] tokens.
pub fn token_ids(len: usize, vocabulary: usize) -> Vec<i64> {
    let ordinary = vocabulary.checked_sub(SPECIAL).filter(|n| *n > 0).expect("a vocabulary with ordinary tokens");
    let mut random = Random::new(1);
    (0..len).map(|_| SPECIAL as i64 + random.below(ordinary as u64) as i64).collect()
}

/// Ids below this are not drawn.
pub const SPECIAL: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ordinary_tokens_and_weights_reach_both_ends() {
        let ids = token_ids(4000, 105);
        assert_eq!((ids.iter().min(), ids.iter().max()), (Some(&5), Some(&104)));
        let bytes = Random::new(2).int8(4000);
        assert_eq!((bytes.iter().min(), bytes.iter().max()), (Some(&-127), Some(&127)));
        let bell = Random::new(2).bell(4000);
        let small = bell.iter().filter(|w| w.unsigned_abs() < 64).count();
        assert!((3200..3800).contains(&small) && bell.iter().all(|w| w.unsigned_abs() <= 126), "{small}");
    }

    #[test]
    fn the_first_ids_are_those_of_the_python_worker() {
        assert_eq!(token_ids(4, 30_000), [21_374, 4_474, 9_591, 14_745]);
    }
}
