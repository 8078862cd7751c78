//! What can be chosen per question.

use super::QaError;
use super::decode::N_BEST;

/// How to answer a question.
#[derive(Clone, Debug, PartialEq)]
pub struct AskOptions {
    /// Longest window in tokens: question, part of the text and special tokens. `None` for
    /// [`AskOptions::MAX_SEQ_LEN`], or what the model can take if that is less.
    pub max_seq_len: Option<usize>,
    /// Tokens of the text that consecutive windows share. `None` for [`AskOptions::DOC_STRIDE`], or half of what a window
    /// holds of the text if that is less.
    pub doc_stride: Option<usize>,
    /// Refuse windows that share more than half of what they hold of the text: they would read every word more than twice.
    pub overlap_by_half: bool,
    /// Longest answer in tokens.
    pub max_answer_len: usize,
    /// Number of candidates to return, 1 to 20.
    pub top_k: usize,
    /// Null odds above which there is no answer. `None` for the model's recommendation.
    pub null_threshold: Option<f32>,
    /// Return the best candidate whatever the null odds are.
    pub always_answer: bool,
}

impl AskOptions {
    /// Default longest window, in tokens.
    pub const MAX_SEQ_LEN: usize = 384;
    /// Default overlap of windows, in tokens.
    pub const DOC_STRIDE: usize = 128;
    /// Default longest answer, in tokens.
    pub const MAX_ANSWER_LEN: usize = 30;

    /// Tokens of the longest window of a model that takes `max_positions` tokens.
    pub fn longest_window(&self, max_positions: usize) -> usize {
        self.max_seq_len.unwrap_or(Self::MAX_SEQ_LEN.min(max_positions))
    }

    /// Checks the options against each other and a model that takes `max_positions` tokens. Returns the longest window.
    pub(super) fn check(&self, max_positions: usize) -> Result<usize, QaError> {
        let max_seq_len = self.longest_window(max_positions);
        let refuse = |option, value: &dyn ToString, problem: String| {
            Err(QaError::Option { option, value: value.to_string(), problem })
        };
        if max_seq_len == 0 || max_seq_len > max_positions {
            return refuse(
                "max_seq_len",
                &max_seq_len,
                format!("this model takes windows of 1 to {max_positions} tokens"),
            );
        }
        if self.max_answer_len == 0 {
            return refuse("max_answer_len", &0, "an answer has at least 1 token".into());
        }
        if !(1..=N_BEST).contains(&self.top_k) {
            return refuse("top_k", &self.top_k, format!("there are 1 to {N_BEST} candidates"));
        }
        match self.null_threshold {
            Some(threshold) if threshold.is_nan() => refuse("null_threshold", &threshold, "it must be a number".into()),
            _ => Ok(max_seq_len),
        }
    }
}

impl Default for AskOptions {
    fn default() -> Self {
        Self {
            max_seq_len: None,
            doc_stride: None,
            overlap_by_half: false,
            max_answer_len: Self::MAX_ANSWER_LEN,
            top_k: 1,
            null_threshold: None,
            always_answer: false,
        }
    }
}
