//! From scores to spans: the decoder of Hugging Face's SQuAD 2.0 scripts (`utils_qa.py`, `postprocess_qa_predictions`
//! with `version_2_with_negative`), in `f32`.
//!
//! - Per window, the 20 highest starts and the 20 highest ends are taken over *all* positions; a pair of them is a
//!   candidate if both lie in the context, the end is not before the start, and the span is short enough. Its score is
//!   the sum of both logits.
//! - The null score is the lowest `start[0] + end[0]` of all windows (position 0 is `[CLS]`).
//! - The 20 best candidates of all windows and null are kept, and null is added back if it is not among them.
//!   Probabilities are the softmax over these.
//! - The answer is the best candidate with text, or none if `null score - start logit - end logit` of it exceeds a
//!   threshold.
//!
//! Equal logits rank the later position first, as a stable ascending sort read backwards does. Equal scores rank by
//! window, then by rank of the start, then of the end; null comes after them.
//!
//! Where this differs: spans lose white space at both ends, and one without anything else is no answer; if there is no
//! candidate with text there is no answer and no null odds, where the scripts invent the text "empty" with score 0;
//! and the null entry is recognised as such, where the scripts look for offsets (0, 0).

use std::cmp::Ordering;
use std::ops::Range;

use heapless::Vec as FixedVec;

/// How many starts and ends per window, and how many candidates in all, are considered.
pub const N_BEST: usize = 20;
/// Candidates and null.
const MAX_ENTRIES: usize = N_BEST + 1;

/// A pair of positions in one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Index of the window.
    pub window: usize,
    /// First token of the span, as index into the window.
    pub first: usize,
    /// Last token of the span.
    pub last: usize,
    /// Start logit of the first token.
    pub start_logit: f32,
    /// End logit of the last token.
    pub end_logit: f32,
    /// Byte offset in the context where the first token starts.
    start: usize,
    /// Byte offset in the context where the last token ends.
    end: usize,
}

impl Span {
    /// Start logit plus end logit.
    pub fn score(&self) -> f32 {
        self.start_logit + self.end_logit
    }
}

/// One entry of the n-best list.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Where the entry comes from; `None` for the null entry.
    pub span: Option<Span>,
    /// Bytes of the context, without white space at both ends, on character boundaries; empty for the null entry.
    pub bytes: Range<usize>,
    /// Sum of start and end logit.
    pub score: f32,
    /// Softmax of the score over the list.
    pub probability: f32,
}

/// The n-best list of a question and what follows from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// Candidates and null, best first.
    pub n_best: FixedVec<Entry, MAX_ENTRIES>,
    /// Score of "no answer"; infinite if there was no window.
    pub null_score: f32,
    /// Index in `n_best` of the best entry with text.
    pub best: Option<usize>,
    /// Null score minus score of the best entry with text.
    pub null_odds: Option<f32>,
    /// Number of windows that the text was read in.
    pub windows: usize,
}

impl Decoded {
    /// The best entry with text.
    pub fn best(&self) -> Option<&Entry> {
        self.n_best.get(self.best?)
    }

    /// The null entry.
    pub fn null(&self) -> Option<&Entry> {
        self.n_best.iter().find(|entry| entry.span.is_none())
    }

    /// The best entry with text, unless the null odds exceed `threshold`.
    pub fn answer(&self, threshold: f32) -> Option<&Entry> {
        if self.null_odds? > threshold { None } else { self.best() }
    }
}

/// Collects the windows of one question, in order.
#[derive(Clone, Debug)]
pub struct Decoder {
    max_answer_len: usize,
    best: FixedVec<Span, N_BEST>,
    null_score: f32,
    windows: usize,
}

impl Decoder {
    /// A decoder of spans of up to `max_answer_len` tokens.
    pub fn new(max_answer_len: usize) -> Self {
        Self { max_answer_len, best: FixedVec::new(), null_score: f32::INFINITY, windows: 0 }
    }

    /// Adds the next window: logits per token, and per context token its byte offsets. The cost is linear in the tokens.
    pub fn push(&mut self, start: &[f32], end: &[f32], offsets: &[Option<(usize, usize)>]) {
        let window = self.windows;
        self.windows += 1;
        if let (Some(start), Some(end)) = (start.first(), end.first()) {
            let null_score = start + end;
            if null_score < self.null_score {
                self.null_score = null_score;
            }
        }
        let in_context = |position: usize| offsets.get(position).copied().flatten();
        let ends = highest(end);
        for (first, start_logit) in highest(start) {
            let Some((start, _)) = in_context(first) else { continue };
            for &(last, end_logit) in &ends {
                let Some((_, end)) = in_context(last) else { continue };
                if last >= first && last - first < self.max_answer_len {
                    self.insert(Span { window, first, last, start_logit, end_logit, start, end });
                }
            }
        }
    }

    fn insert(&mut self, span: Span) {
        insert_ranked(&mut self.best, span, |kept| descending(kept.score(), span.score()).is_le());
    }

    /// The result for `context`, the text that the offsets of all windows refer to.
    pub fn finish(self, context: &str) -> Decoded {
        let mut n_best: FixedVec<Entry, MAX_ENTRIES> = self
            .best
            .into_iter()
            .map(|span| {
                let bytes = trimmed(context, span.start, span.end);
                Entry { span: Some(span), bytes, score: span.score(), probability: 0.0 }
            })
            .collect();
        if self.windows > 0 {
            let better = n_best.iter().take_while(|e| descending(e.score, self.null_score).is_le()).count();
            if better < N_BEST {
                n_best.truncate(N_BEST - 1);
            }
            let null = Entry { span: None, bytes: 0..0, score: self.null_score, probability: 0.0 };
            // There is room: at most 20 candidates of 21 entries.
            let _ = n_best.insert(better, null);
        }
        softmax(&mut n_best);
        let best = n_best.iter().position(|entry| !entry.bytes.is_empty());
        let span = best.and_then(|best| n_best.get(best)).and_then(|entry| entry.span);
        let null_odds = span.map(|span| self.null_score - span.start_logit - span.end_logit);
        Decoded { n_best, null_score: self.null_score, best, null_odds, windows: self.windows }
    }
}

/// The order of descending values, in which both zeros are equal and NaN has a place.
fn descending(a: f32, b: f32) -> Ordering {
    (b + 0.0).total_cmp(&(a + 0.0))
}

/// The positions and values of the [`N_BEST`] highest values, highest first, of equal ones the later position first.
fn highest(values: &[f32]) -> FixedVec<(usize, f32), N_BEST> {
    let mut best = FixedVec::new();
    for (position, &value) in values.iter().enumerate() {
        insert_ranked(&mut best, (position, value), |&(_, kept)| descending(kept, value).is_lt());
    }
    best
}

/// Inserts `item` into a full or growing list after those for which `stays_before`, dropping the last if there are too
/// many.
fn insert_ranked<T, const N: usize>(list: &mut FixedVec<T, N>, item: T, stays_before: impl Fn(&T) -> bool) {
    if list.is_full() {
        if list.last().is_none_or(&stays_before) {
            return;
        }
        list.pop();
    }
    let place = list.partition_point(stays_before);
    // There is room: a full list lost its last element above.
    let _ = list.insert(place, item);
}

fn softmax(entries: &mut [Entry]) {
    let highest = entries.iter().map(|e| e.score).fold(f32::NEG_INFINITY, f32::max);
    for entry in entries.iter_mut() {
        entry.probability = libm::expf(entry.score - highest);
    }
    let sum: f32 = entries.iter().map(|e| e.probability).sum();
    for entry in entries {
        entry.probability /= sum;
    }
}

/// The bytes `start..end` of `text`, widened to character boundaries, then without white space at both ends.
fn trimmed(text: &str, start: usize, end: usize) -> Range<usize> {
    let start = text.floor_char_boundary(start.min(text.len()));
    let end = text.ceil_char_boundary(end.min(text.len()));
    let slice = text.get(start..end).unwrap_or_default();
    let start = start + (slice.len() - slice.trim_start().len());
    start..start + slice.trim().len()
}

#[cfg(test)]
mod tests;
