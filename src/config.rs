//! The architecture of a model: every number the graph builder needs, and nothing about where weights lie.
//!
//! The source is a Hugging Face `config.json` (resolved by the quantiser); an artifact carries the resolved form.

use serde::{Deserialize, Serialize};

use crate::kernels::layout::MAX_K;

/// The largest vocabulary; real ones are below a tenth of it.
const MAX_VOCABULARY: usize = 1 << 22;
/// Upper bound of all other sizes but the number of layers.
const MAX_INNER: usize = MAX_K;
const MAX_LAYERS: usize = 1024;
/// The most values of a layer for a whole sequence: their bytes can be counted in 32 bits, with a sign.
const MAX_VALUES: usize = (i32::MAX as usize) / size_of::<f32>();
/// The largest `layer_norm_eps`; models have 1e-12 to 1e-5.
const MAX_EPS: f32 = 0.01;

// Fields whose entries in `config.json` have other names.
const NUM_LAYERS: &str = "num_layers (num_hidden_layers in config.json)";
const NUM_HEADS: &str = "num_heads (num_attention_heads in config.json)";
const MAX_POSITIONS: &str = "max_positions (max_position_embeddings in config.json)";

/// The shapes of a DeBERTa-v2/v3 question-answering model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Rows of the word embedding table.
    pub vocab_size: usize,
    /// Width of the hidden state.
    pub hidden_size: usize,
    /// Number of encoder layers.
    pub num_layers: usize,
    /// Attention heads per layer; divides `hidden_size`.
    pub num_heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// The longest sequence, in tokens.
    pub max_positions: usize,
    /// Rows of the token type table; 0 when the model has none.
    pub type_vocab_size: usize,
    /// Whether absolute positions are added to the embeddings.
    pub position_biased_input: bool,
    /// Added to the variance in every LayerNorm.
    pub layer_norm_eps: f32,
    /// Terms that the divisor of attention scores counts: 1 + those that the configuration names, used or not.
    pub score_terms: usize,
    /// Disentangled attention; `None` for plain attention.
    pub relative: Option<RelativeConfig>,
}

/// The relative-position part of disentangled attention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelativeConfig {
    /// Number of logarithmic buckets per direction; 0 when distances are used as they are.
    pub position_buckets: usize,
    /// The distance at which bucketing saturates.
    pub max_relative_positions: usize,
    /// Whether scores have the content-to-position term.
    pub content_to_position: bool,
    /// Whether scores have the position-to-content term.
    pub position_to_content: bool,
}

impl RelativeConfig {
    /// Half the number of rows of the relative-position tables.
    pub fn span(&self) -> usize {
        if self.position_buckets > 0 { self.position_buckets } else { self.max_relative_positions }
    }

    /// Rows of the relative-position tables.
    pub fn rows(&self) -> usize {
        2 * self.span()
    }
}

impl ModelConfig {
    /// Width of one attention head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_heads
    }

    /// The divisor of attention scores: `sqrt(head_dim * score_terms)`.
    pub fn score_scale(&self) -> f32 {
        ((self.head_dim() * self.score_terms) as f32).sqrt()
    }

    /// Checks that the sizes are possible and consistent.
    ///
    /// # Errors
    /// A sentence that names the field at fault.
    pub fn validate(&self) -> Result<(), String> {
        let bounded = [
            ("vocab_size", self.vocab_size, 1, MAX_VOCABULARY),
            ("hidden_size", self.hidden_size, 1, MAX_INNER),
            (NUM_LAYERS, self.num_layers, 1, MAX_LAYERS),
            (NUM_HEADS, self.num_heads, 1, MAX_INNER),
            ("intermediate_size", self.intermediate_size, 1, MAX_INNER),
            (MAX_POSITIONS, self.max_positions, 1, MAX_INNER),
            ("type_vocab_size", self.type_vocab_size, 0, MAX_INNER),
            ("score_terms", self.score_terms, 1, 3),
        ];
        for (name, value, low, high) in bounded {
            if !(low..=high).contains(&value) {
                return Err(format!("{name} is {value}, outside {low}..={high}"));
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_heads) {
            return Err(format!(
                "hidden_size {} is not divisible by {}, {NUM_HEADS}",
                self.hidden_size, self.num_heads
            ));
        }
        // A variance is near 1; more than this would flatten what is normalised. NaN is in no range.
        if !(0.0..=MAX_EPS).contains(&self.layer_norm_eps) {
            return Err(format!("layer_norm_eps is {}, outside 0..={MAX_EPS}", self.layer_norm_eps));
        }
        let widest = self.intermediate_size.max(3 * self.hidden_size);
        if self.max_positions.saturating_mul(widest) > MAX_VALUES {
            return Err(format!("{} positions of {widest} values are more than {MAX_VALUES}", self.max_positions));
        }
        if let Some(relative) = &self.relative {
            if relative.position_buckets > MAX_INNER || relative.max_relative_positions > MAX_INNER {
                return Err(format!("relative positions span more than {MAX_INNER}"));
            }
            if relative.max_relative_positions == 0 {
                return Err("max_relative_positions is 0".into());
            }
            let half = relative.position_buckets / 2;
            if relative.position_buckets == 1 {
                return Err(
                    "position_buckets is 1, but must be 0, for none (in config.json also -1), or at least 2".into()
                );
            }
            if half > 0 && relative.max_relative_positions <= half + 1 {
                return Err(format!(
                    "position_buckets {} needs max_relative_positions (in config.json, max_position_embeddings where that is not given or \
                     -1) of at least {}, but it is {}",
                    relative.position_buckets,
                    half + 2,
                    relative.max_relative_positions
                ));
            }
            let terms = usize::from(relative.content_to_position) + usize::from(relative.position_to_content);
            if terms == 0 {
                return Err("relative attention without any relative term".into());
            }
            if self.score_terms < 1 + terms {
                return Err(format!("score_terms is {}, but scores have {} terms", self.score_terms, 1 + terms));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_a_sequence_can_be_counted_in_32_bits() {
        let config = |hidden_size, intermediate_size, max_positions| ModelConfig {
            vocab_size: 10,
            hidden_size,
            num_layers: 1,
            num_heads: 1,
            intermediate_size,
            max_positions,
            type_vocab_size: 0,
            position_biased_input: false,
            layer_norm_eps: 1e-7,
            score_terms: 1,
            relative: None,
        };
        // The largest DeBERTa with the longest sequences.
        assert_eq!(config(1536, 6144, 1 << 16).validate(), Ok(()));
        for (hidden, intermediate, positions) in [(16, 1 << 16, 1 << 13), (1 << 16, 16, 1 << 12)] {
            let problem = config(hidden, intermediate, positions).validate().expect_err("too many");
            assert!(problem.contains(&format!("{positions} positions of ")), "{problem}");
            assert_eq!(config(hidden, intermediate, positions / 2).validate(), Ok(()));
        }
    }
}
