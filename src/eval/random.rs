//! Random numbers that are the same on every machine.

/// splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators"), whose state is the seed.
pub struct Random(pub u64);

impl Random {
    /// The next number, uniform over all.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// As [`Random::below`], for places in memory.
    pub fn index(&mut self, bound: usize) -> usize {
        self.below(bound as u64) as usize
    }

    /// Uniform in `0..bound`, without bias: numbers beyond the last multiple of `bound` are drawn again. 0 if `bound` is.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        let excess = (u64::MAX % bound + 1) % bound;
        loop {
            let number = self.number();
            if number <= u64::MAX - excess {
                return number % bound;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_published_ones() {
        let mut random = Random(1234567);
        let numbers: [u64; 3] = std::array::from_fn(|_| random.number());
        assert_eq!(numbers, [6457827717110365317, 3203168211198807973, 9817491932198370423]);
    }

    #[test]
    fn every_number_below_the_bound_is_drawn_and_no_other() {
        let mut random = Random(0);
        for bound in [1, 2, 3, 7, 64] {
            let mut seen = vec![0; bound as usize];
            (0..100 * bound).for_each(|_| seen[random.below(bound) as usize] += 1);
            assert!(seen.iter().all(|&count| (60..=140).contains(&count)), "{seen:?}");
        }
        assert_eq!(random.below(0), 0);
        assert!(random.below(u64::MAX) < u64::MAX);
    }
}
