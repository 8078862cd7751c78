//! The sequences that the model sees: `[CLS] question [SEP] part of the context [SEP]`.
//!
//! Only the context is cut. The parts are those of Hugging Face's `truncation="only_second"` with `stride`: each but the
//! last is as long as fits, and starts `room - stride` tokens after the one before; the last ends with the context.
//!
//! Windows are made one at a time, so a long context costs one window of memory beside its tokens.

use tokenizers::{Encoding, PostProcessor, PostProcessorWrapper};

use super::{TokenizerError, call};
use crate::config::ModelConfig;

/// One sequence for the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Token ids.
    pub ids: Vec<i64>,
    /// Token types: 0 and 1 for the question's and the context's part, as the tokenizer assigns them.
    pub type_ids: Vec<i64>,
    /// For every token of the context its byte range (start, end) in the text; `None` for all others. Ranges start and
    /// end where the tokenizer says, which need not be a character boundary.
    pub offsets: Vec<Option<(usize, usize)>>,
}

impl Window {
    /// What a model of these shapes takes as token types: these if it has any, else none.
    pub fn types_for(&self, config: &ModelConfig) -> Option<&[i64]> {
        (config.type_vocab_size > 0).then_some(&self.type_ids)
    }
}

/// All windows of a question over a context, made on demand.
#[derive(Clone, Debug)]
pub struct Windows<'a> {
    processor: &'a PostProcessorWrapper,
    question: &'a Encoding,
    context: &'a Encoding,
    room: usize,
    step: usize,
    count: usize,
}

impl<'a> Windows<'a> {
    pub(super) fn new(
        processor: &'a PostProcessorWrapper,
        question: &'a Encoding,
        context: &'a Encoding,
        max_seq_len: usize,
        stride: usize,
    ) -> Result<Self, TokenizerError> {
        let room = room(processor, question, max_seq_len)?;
        let excess = context.len().saturating_sub(room);
        if excess > 0 && stride >= room {
            return Err(TokenizerError::Stride { question: question.len(), room, stride, max_seq_len });
        }
        let step = room.saturating_sub(stride).max(1);
        Ok(Self { processor, question, context, room, step, count: 1 + excess.div_ceil(step) })
    }

    /// Number of windows; at least 1.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Makes window `index`.
    ///
    /// # Errors
    /// [`TokenizerError::Tokenize`] if there is no such window, or if the library fails.
    pub fn get(&self, index: usize) -> Result<Window, TokenizerError> {
        let failed = |problem: String| TokenizerError::Tokenize { what: "context", problem };
        if index >= self.count {
            return Err(failed(format!("window {index} of {}", self.count)));
        }
        let start = index * self.step;
        let part = part(self.context, start, (start + self.room).min(self.context.len()));
        let framed = call(|| self.processor.process(self.question.clone(), Some(part), true)).map_err(failed)?;
        Ok(Window::from_encoding(&framed))
    }

    /// Makes all windows in order, one at a time.
    pub fn iter(&self) -> impl Iterator<Item = Result<Window, TokenizerError>> {
        (0..self.count).map(|index| self.get(index))
    }
}

impl Window {
    pub(super) fn from_encoding(encoding: &Encoding) -> Self {
        let sequences = encoding.get_sequence_ids();
        let offsets = encoding.get_offsets().iter().zip(sequences);
        Self {
            ids: encoding.get_ids().iter().map(|&id| i64::from(id)).collect(),
            type_ids: encoding.get_type_ids().iter().map(|&id| i64::from(id)).collect(),
            offsets: offsets.map(|(&range, sequence)| (sequence == Some(1)).then_some(range)).collect(),
        }
    }
}

/// How many tokens of a context a window of `max_seq_len` tokens holds beside `question`; at least 1.
///
/// # Errors
/// [`TokenizerError::QuestionTooLong`] if there is room for none.
pub(super) fn room(
    processor: &PostProcessorWrapper,
    question: &Encoding,
    max_seq_len: usize,
) -> Result<usize, TokenizerError> {
    let special = processor.added_tokens(true);
    match max_seq_len.saturating_sub(question.len() + special) {
        0 => Err(TokenizerError::QuestionTooLong { question: question.len(), special, max_seq_len }),
        room => Ok(room),
    }
}

/// Tokens `start..end` of `whole`.
fn part(whole: &Encoding, start: usize, end: usize) -> Encoding {
    /// `missing` stands for each value that [`bare`] tokens are without.
    fn cut<T: Clone>(values: &[T], start: usize, end: usize, missing: T) -> Vec<T> {
        match values.get(start..end) {
            Some(values) => values.to_vec(),
            None => vec![missing; end - start],
        }
    }
    Encoding::new(
        cut(whole.get_ids(), start, end, 0),
        cut(whole.get_type_ids(), start, end, 0),
        cut(whole.get_tokens(), start, end, String::new()),
        cut(whole.get_word_ids(), start, end, None),
        cut(whole.get_offsets(), start, end, (0, 0)),
        cut(whole.get_special_tokens_mask(), start, end, 0),
        cut(whole.get_attention_mask(), start, end, 1),
        Vec::new(),
        Default::default(),
    )
}

/// The tokens with ids and offsets alone, a quarter of the memory.
pub(super) fn bare(ids: Vec<u32>, offsets: Vec<(usize, usize)>) -> Encoding {
    let (types, texts, words, special, attention) = Default::default();
    Encoding::new(ids, types, texts, words, offsets, special, attention, Vec::new(), Default::default())
}

/// Whether `processor` makes windows from ids and offsets alone: others look at the texts of tokens.
pub(super) fn takes_bare(processor: &PostProcessorWrapper) -> bool {
    matches!(processor, PostProcessorWrapper::Template(_) | PostProcessorWrapper::Bert(_))
}
