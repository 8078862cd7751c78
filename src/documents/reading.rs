//! What a reader finds in several passages, ranked by one score; see [`super`].

use super::answer::{DocumentAnswer, Found, Source};
use super::text::Passage;
use crate::qa::decode::N_BEST;
use crate::qa::{Answer, AskOptions, Candidate, QaError, Reader, Scorer};
use crate::tokenizer::TokenizerError;

/// What the null odds of a passage grow by if it matches the question not at all; in proportion to how much worse than the best
/// it does.
const MISMATCH: f32 = 4.0;

/// Passages that were read for one question, the best match first.
#[derive(Debug, Default)]
pub(super) struct Reading<'a> {
    passages: Vec<Read<'a>>,
    windows: usize,
    left_out: usize,
    /// BM25 score of the first.
    best: Option<f32>,
}

#[derive(Debug)]
struct Read<'a> {
    passage: Passage<'a>,
    /// Null score, and what is added for a worse match.
    null_score: f32,
    handicap: f32,
    /// With offsets into the file.
    candidates: Vec<Candidate>,
}

impl<'a> Reading<'a> {
    /// Reads the next passage, whose BM25 score is `score`. One that the tokenizer cannot make tokens of, because it holds nothing
    /// but signs that the model does not know, say, is left out, for it must not stop the others; why is returned.
    pub fn add<M: Scorer>(
        &mut self,
        reader: &Reader<M>,
        (passage, score): (Passage<'a>, f32),
        question: &str,
        options: &AskOptions,
    ) -> Result<Option<QaError>, QaError> {
        let best = *self.best.get_or_insert(score);
        let handicap = if best > 0.0 { MISMATCH * (1.0 - score / best) } else { 0.0 };
        let context = match reader.context(passage.text) {
            Ok(context) => context,
            Err(
                error @ QaError::Tokenizer(
                    TokenizerError::Empty { .. } | TokenizerError::Text { .. } | TokenizerError::Tokenize { .. },
                ),
            ) => {
                self.left_out += 1;
                return Ok(Some(error));
            }
            Err(error) => return Err(error),
        };
        let decoded = reader.decode(&context, question, options, |_, _, _| ())?;
        let mut candidates = Candidate::distinct(&decoded, passage.text);
        for Candidate { bytes, chars, .. } in &mut candidates {
            for (range, start) in [(bytes, passage.bytes.start), (chars, passage.chars.start)] {
                *range = range.start + start..range.end + start;
            }
        }
        self.windows += decoded.windows;
        self.passages.push(Read { passage, null_score: decoded.null_score, handicap, candidates });
        Ok(None)
    }

    /// The answer to `question`, which was read for.
    pub fn answer<M: Scorer>(self, reader: &Reader<M>, question: &str, options: &AskOptions) -> DocumentAnswer {
        let threshold = reader.threshold(options);
        let mut ranked: Vec<(&Read<'_>, Found)> = self.passages.iter().flat_map(Read::found).collect();
        // Stable: of equal ones, that of the better match.
        ranked.sort_by(|(_, a), (_, b)| a.null_odds.total_cmp(&b.null_odds));
        ranked.truncate(N_BEST);
        let null_probability = softmax(&mut ranked);
        let best = ranked.first();
        let answer = best.filter(|(_, found)| threshold.is_none_or(|threshold| found.null_odds <= threshold));
        let null_score = match best {
            Some((read, _)) => read.null_score,
            None => self.passages.first().map_or(0.0, |read| read.null_score),
        };
        let candidate = answer.map(|(_, found)| &found.candidate);
        let source = answer.map(|(read, found)| Source::new(&read.passage, Some(&found.candidate.chars)));
        let nearest = best.map(|(read, _)| *read).or(self.passages.first()).filter(|_| answer.is_none());
        let nearest = nearest.map(|read| Source::new(&read.passage, None));
        let answer = Answer {
            question: question.to_owned(),
            text: candidate.map(|found| found.text.clone()).unwrap_or_default(),
            answered: candidate.is_some(),
            score: candidate.map_or(null_score, |found| found.score),
            probability: candidate.map_or(null_probability, |found| found.probability),
            bytes: candidate.map(|found| found.bytes.clone()),
            chars: candidate.map(|found| found.chars.clone()),
            null_score,
            null_odds: best.map(|(_, found)| found.null_odds),
            null_threshold: threshold,
            windows: self.windows,
            candidates: ranked.into_iter().take(options.top_k).map(|(_, found)| found).collect(),
        };
        DocumentAnswer { answer, source, nearest, left_out: self.left_out }
    }
}

impl Read<'_> {
    fn found(&self) -> impl Iterator<Item = (&Self, Found)> {
        self.candidates.iter().map(move |candidate| {
            let found = Found {
                candidate: candidate.clone(),
                file: self.passage.file.to_owned(),
                passage: self.passage.number,
                null_odds: self.null_score - candidate.score + self.handicap,
            };
            (self, found)
        })
    }
}

/// Gives each candidate its probability and returns that of null, whose odds are 0.
fn softmax(ranked: &mut [(&Read<'_>, Found)]) -> f32 {
    let lowest = ranked.iter().map(|(_, found)| found.null_odds).fold(0.0, f32::min);
    let weight = |null_odds: f32| libm::expf(lowest - null_odds);
    let sum = ranked.iter().map(|(_, found)| weight(found.null_odds)).sum::<f32>() + weight(0.0);
    for (_, found) in ranked {
        found.candidate.probability = weight(found.null_odds) / sum;
    }
    weight(0.0) / sum
}
