//! What a question gets: a span of the text, or the honest statement that there is none.

use std::ops::Range;

use serde::Serialize;

use super::decode::{Decoded, Entry};

/// The answer to one question; `C` is what a candidate is described by.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer<C = Candidate> {
    /// The question as it was asked.
    pub question: String,
    /// The answer, exactly as it stands in the text; empty if there is none.
    #[serde(rename = "answer")]
    pub text: String,
    /// Whether there is an answer.
    pub answered: bool,
    /// Start logit plus end logit of the answer; the null score if there is none.
    pub score: f32,
    /// Softmax of `score` over the 20 best candidates and null; of null if there is no answer.
    pub probability: f32,
    /// Where the answer stands in the text, in bytes.
    pub bytes: Option<Range<usize>>,
    /// Where the answer stands in the text, in characters (Unicode scalar values).
    pub chars: Option<Range<usize>>,
    /// Score of "no answer".
    pub null_score: f32,
    /// Null score minus score of the best candidate; `None` if there is no candidate.
    pub null_odds: Option<f32>,
    /// Null odds above which there is no answer; `None` if the best candidate was to be returned in any case.
    pub null_threshold: Option<f32>,
    /// Number of windows that the text was read in.
    pub windows: usize,
    /// The best spans, best first, each place in the text once. The first is the answer, if there is one. There can be
    /// fewer than were asked for, down to none.
    pub candidates: Vec<C>,
}

/// A span of the text that may be the answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// The span, exactly as it stands in the text.
    pub text: String,
    /// Start logit plus end logit.
    pub score: f32,
    /// Softmax of `score` over the 20 best candidates and null.
    pub probability: f32,
    /// Where the span stands in the text, in bytes.
    pub bytes: Range<usize>,
    /// Where the span stands in the text, in characters (Unicode scalar values).
    pub chars: Range<usize>,
    /// The window in which it was found, counted from 0.
    pub window: usize,
}

impl Answer {
    /// Makes the answer to `question` of a decoded n-best list over `context`. Without `threshold` the best candidate is
    /// the answer.
    pub(super) fn new(question: &str, context: &str, decoded: &Decoded, threshold: Option<f32>, top_k: usize) -> Self {
        let mut candidates = Candidate::distinct(decoded, context);
        candidates.truncate(top_k);
        let answer = match threshold {
            Some(threshold) if decoded.answer(threshold).is_none() => None,
            _ => candidates.first(),
        };
        let null_probability = decoded.null().map_or(0.0, |null| null.probability);
        Self {
            question: question.to_owned(),
            text: answer.map(|a| a.text.clone()).unwrap_or_default(),
            answered: answer.is_some(),
            score: answer.map_or(decoded.null_score, |a| a.score),
            probability: answer.map_or(null_probability, |a| a.probability),
            bytes: answer.map(|a| a.bytes.clone()),
            chars: answer.map(|a| a.chars.clone()),
            null_score: decoded.null_score,
            null_odds: decoded.null_odds,
            null_threshold: threshold,
            windows: decoded.windows,
            candidates,
        }
    }
}

impl Candidate {
    /// The spans of an n-best list over `context`, best first, each place once.
    pub(crate) fn distinct(decoded: &Decoded, context: &str) -> Vec<Self> {
        let mut candidates: Vec<Self> = Vec::with_capacity(decoded.n_best.len());
        for candidate in decoded.n_best.iter().filter_map(|entry| Self::new(entry, context)) {
            if candidates.iter().all(|seen| seen.bytes != candidate.bytes) {
                candidates.push(candidate);
            }
        }
        candidates
    }

    /// `None` for null and for a span without text.
    fn new(entry: &Entry, context: &str) -> Option<Self> {
        let span = entry.span?;
        let text = context.get(entry.bytes.clone()).filter(|text| !text.is_empty())?;
        let first_char = context.get(..entry.bytes.start)?.chars().count();
        Some(Self {
            text: text.to_owned(),
            score: entry.score,
            probability: entry.probability,
            bytes: entry.bytes.clone(),
            chars: first_char..first_char + text.chars().count(),
            window: span.window,
        })
    }
}
