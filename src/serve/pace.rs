//! How long questions take, as the latest ones tell: for clients that are to come back later.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A moving mean of nanoseconds, in which the latest time counts for a quarter. One thread writes it.
#[derive(Debug)]
struct Mean(AtomicU64);

impl Mean {
    fn add(&self, nanoseconds: u64) {
        let old = self.0.load(Relaxed);
        self.0.store(old - old / 4 + nanoseconds / 4, Relaxed);
    }
}

/// The latest times: of texts by their bytes, as these vary, and of questions to the documents, which read about the same each time.
#[derive(Debug)]
pub struct Pace {
    per_byte: Mean,
    per_search: Mean,
}

impl Default for Pace {
    /// Guesses until there is something to know.
    fn default() -> Self {
        Self { per_byte: Mean(AtomicU64::new(100_000)), per_search: Mean(AtomicU64::new(500_000_000)) }
    }
}

impl Pace {
    /// Learns from a question to a text of so many bytes, or to the documents.
    pub fn learn(&self, text: Option<usize>, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4);
        match text {
            Some(bytes) => self.per_byte.add(nanoseconds / (bytes as u64).max(1)),
            None => self.per_search.add(nanoseconds),
        }
    }

    /// How long such a question is likely to take.
    pub fn expect(&self, text: Option<usize>) -> Duration {
        Duration::from_nanos(match text {
            Some(bytes) => self.per_byte.0.load(Relaxed).saturating_mul(bytes as u64),
            None => self.per_search.0.load(Relaxed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_follows_the_latest_questions_and_the_length_of_texts() {
        let pace = Pace::default();
        for _ in 0..40 {
            pace.learn(Some(100), Duration::from_millis(1));
            pace.learn(None, Duration::from_millis(80));
        }
        let near = |found: Duration, seconds: f64| (found.as_secs_f64() / seconds - 1.0).abs() < 0.01;
        assert!(near(pace.expect(Some(100)), 1e-3) && near(pace.expect(Some(65_000)), 0.65));
        assert!(near(pace.expect(None), 0.08));
        for _ in 0..8 {
            pace.learn(None, Duration::from_secs(2));
        }
        assert!(pace.expect(None) > Duration::from_millis(1500));
        // Of no bytes, and longer than can be counted.
        pace.learn(Some(0), Duration::MAX);
        assert!(pace.expect(Some(usize::MAX)) > Duration::from_secs(1 << 30));
    }
}
