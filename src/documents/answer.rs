//! What a question to documents gets: a plain answer, and the passage that it is from.

use std::ops::Range;

use serde::Serialize;

use super::text::Passage;
use crate::qa::{Answer, Candidate};

/// The answer to one question. Offsets of the answer and of candidates count from the beginning of their files, a byte order
/// mark included. The null score is that of the passage of the best candidate; null odds are those of [`super`]; probabilities
/// are the softmax of their negatives over the 20 best candidates of all passages, and of 0 for null. Where no passage was read, because
/// none shares a word with the question or all that do were left out, there is no answer: score and null score are 0, and the probability
/// of null is 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DocumentAnswer {
    /// The answer, as to a question about one text; `windows` counts those of all passages that were read.
    #[serde(flatten)]
    pub answer: Answer<Found>,
    /// The passage of the answer; `None` if there is none.
    pub source: Option<Source>,
    /// If there is no answer, the passage of the best candidate; `None` if no passage was read.
    pub nearest: Option<Source>,
    /// Passages that were to be read, but that the tokenizer can make no tokens of: they hold nothing but signs that the model does
    /// not know, say.
    pub left_out: usize,
}

/// A candidate in a document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    /// The candidate.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// The file, as its path in the folder, with `/`.
    pub file: String,
    /// The passage of the file, counted from 1.
    pub passage: usize,
    /// Null score of the passage minus score, plus what is added for a worse match; see [`super`].
    pub null_odds: f32,
}

/// A passage, and where the answer stands in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The file, as its path in the folder, with `/`.
    pub file: String,
    /// The passage of the file, counted from 1.
    pub passage: usize,
    /// The heading that it stands under.
    pub title: Option<String>,
    /// The passage, exactly as it stands in the file.
    pub text: String,
    /// Where the passage stands in the file, in bytes.
    pub bytes: Range<usize>,
    /// Where the passage stands in the file, in characters (Unicode scalar values).
    pub chars: Range<usize>,
    /// Where the answer stands in `text`, in characters.
    pub highlight: Option<Range<usize>>,
}

impl Source {
    /// `passage`, in which the answer stands at the characters `answer` of the file.
    pub(super) fn new(passage: &Passage<'_>, answer: Option<&Range<usize>>) -> Self {
        let start = passage.chars.start;
        Self {
            file: passage.file.to_owned(),
            passage: passage.number,
            title: passage.title.map(str::to_owned),
            text: passage.text.to_owned(),
            bytes: passage.bytes.clone(),
            chars: passage.chars.clone(),
            highlight: answer.map(|chars| chars.start.saturating_sub(start)..chars.end.saturating_sub(start)),
        }
    }
}
