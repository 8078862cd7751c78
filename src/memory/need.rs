//! What answering needs, as far as that can be known before.

use serde::Serialize;

use super::limit::{Kind, Limit};
use crate::config::ModelConfig;

/// Private memory of a process that has loaded a model and computed nothing yet: heap, relocated data, stacks.
const BASE: u64 = 6_000_000;
/// Pages of the program and its libraries that are in use.
const PROGRAM: u64 = 9_000_000;
/// Pages of files without which hardly anything goes on: below, every page fault drops pages that the next one needs.
const LEAST_FILES: u64 = 8_000_000;
/// Addresses of a thread that count as private memory although few are used: its stack.
const STACK: u64 = 2 << 20;

/// An estimate of the memory that windows of some length need, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// Private memory, which must be there.
    pub private: u64,
    /// Pages of the model and the program that every window reads. The system can drop them, but has to read them again.
    pub files: u64,
    /// Size of the model file.
    pub model: u64,
    /// Threads that share the work.
    pub threads: u64,
    /// Threads that do something else.
    pub other_threads: u64,
}

/// How a limit falls short of a need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Answers come, but parts of the model are read from the disk again and again. Nothing of the like with `needed` bytes.
    Slow {
        /// What would be enough.
        needed: u64,
    },
    /// Memory will run out; at least `needed` bytes are needed.
    Fatal {
        /// What it cannot do without.
        needed: u64,
    },
}

impl Need {
    /// What a model of these shapes, in a file of `model` bytes of which every window reads `encoder`, needs for windows of up to `tokens`
    /// tokens on `threads` threads.
    pub fn estimate(config: &ModelConfig, tokens: usize, threads: usize, encoder: usize, model: usize) -> Self {
        let [hidden, inner] = [config.hidden_size, config.intermediate_size].map(|n| n as u64);
        // Per token, the widest tensors that are alive at the same time, in fp32, and half as much again for their int8 form and
        // the operands of attention. Windows of a long text are computed by a thread each.
        let window = tokens as u64 * (4 * hidden + inner) * 6;
        let threads = threads as u64;
        Self {
            private: BASE + threads * window,
            files: encoder as u64 + PROGRAM,
            model: model as u64,
            threads,
            other_threads: 0,
        }
    }

    /// The same with so many threads that do something else.
    pub fn beside(self, other_threads: usize) -> Self {
        Self { other_threads: other_threads as u64, ..self }
    }

    /// Bytes that the stacks of all threads may have. One thread is the process's first, whose stack grows as it is used.
    pub fn stacks(&self) -> u64 {
        let threads = if self.threads > 1 { self.threads } else { 0 };
        (threads + self.other_threads) * STACK
    }

    /// How `limit` falls short of this; `None` if it is enough.
    pub fn shortage(&self, limit: &Limit) -> Option<Shortage> {
        let stacks = self.stacks();
        let (least, enough) = match limit.kind {
            Kind::Cgroup1 | Kind::Cgroup2 => (self.private + LEAST_FILES, self.private + self.files),
            Kind::Data => (self.private + stacks, self.private + stacks),
            // The program has one heap ([`super::keep_little`]), so none is set aside for every thread.
            Kind::AddressSpace => {
                let all = self.private + stacks + self.model + 3 * PROGRAM;
                (all, all)
            }
        };
        if limit.bytes < least {
            Some(Shortage::Fatal { needed: least })
        } else if limit.bytes < enough {
            Some(Shortage::Slow { needed: enough })
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_enough_slow_or_fatal() {
        let mb = 1_000_000;
        let need = Need { private: 14 * mb, files: 36 * mb, model: 77 * mb, threads: 2, other_threads: 0 };
        let shortage = |bytes: u64, kind| need.shortage(&Limit { bytes: bytes * mb, kind });
        for kind in [Kind::Cgroup1, Kind::Cgroup2] {
            assert_eq!(shortage(50, kind), None);
            assert_eq!(shortage(49, kind), Some(Shortage::Slow { needed: 50 * mb }));
            assert_eq!(shortage(22, kind), Some(Shortage::Slow { needed: 50 * mb }));
            assert_eq!(shortage(21, kind), Some(Shortage::Fatal { needed: 22 * mb }));
        }
        assert_eq!(shortage(19, Kind::Data), None);
        assert_eq!(shortage(18, Kind::Data), Some(Shortage::Fatal { needed: 14 * mb + 2 * STACK }));
        assert_eq!(shortage(300, Kind::AddressSpace), None);
        let limit = Limit { bytes: 19 * mb, kind: Kind::Data };
        assert_eq!(need.beside(3).shortage(&limit), Some(Shortage::Fatal { needed: 14 * mb + 5 * STACK }));
        assert!(matches!(shortage(100, Kind::AddressSpace), Some(Shortage::Fatal { needed }) if needed > 100 * mb));
    }

    #[test]
    fn the_stack_of_one_thread_is_the_process_s_own() {
        let need = Need { private: 14_000_000, files: 0, model: 0, threads: 1, other_threads: 0 };
        let shortage = |bytes| need.shortage(&Limit { bytes, kind: Kind::Data });
        assert_eq!((shortage(14_000_000), shortage(13_999_999)), (None, Some(Shortage::Fatal { needed: 14_000_000 })));
    }

    /// Of the published model, 7.1 MB for every thread that reads a window.
    #[test]
    fn every_thread_and_token_takes_its_share() {
        let config = ModelConfig {
            vocab_size: 128_000,
            hidden_size: 384,
            num_layers: 12,
            num_heads: 6,
            intermediate_size: 1536,
            max_positions: 512,
            type_vocab_size: 0,
            position_biased_input: false,
            layer_norm_eps: 1e-7,
            score_terms: 1,
            relative: None,
        };
        let private = |tokens, threads| Need::estimate(&config, tokens, threads, 0, 0).private - BASE;
        assert_eq!((private(384, 1), private(384, 4), private(96, 4)), (7_077_888, 28_311_552, 7_077_888));
    }
}
