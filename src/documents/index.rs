//! Which passages to read: BM25 over their words.
//!
//! The score of a passage is the sum over the distinct telling words of the question (see [`super::words`]) of
//! `idf * tf * (K1 + 1) / (tf + K1 * (1 - B + B * length / mean length))`, where `tf` counts the word in the passage and
//! `idf = ln(1 + (N - n + 0.5) / (n + 0.5))` with `n` of `N` passages that hold it (Robertson and Zaragoza 2009, with Lucene's
//! `idf`, which is never negative).
//!
//! Memory: 6 bytes per distinct word of each passage, 4 per passage, and every word of the dictionary once with 8 bytes.

use std::collections::HashMap;

use super::words::{each_word, question_words};

/// How fast more of the same word counts less.
pub const K1: f32 = 1.2;
/// How much a long passage counts less.
pub const B: f32 = 0.75;

/// The words of all passages, and where they occur.
#[derive(Debug)]
pub struct Index {
    /// All different words in ascending order, without anything between them.
    words: Box<str>,
    /// Per word, where it ends in `words`.
    word_ends: Box<[u32]>,
    /// Per word, where its postings end.
    posting_ends: Box<[u32]>,
    /// Passages, ascending per word.
    passages: Box<[u32]>,
    /// How often the word occurs in the passage.
    counts: Box<[u16]>,
    /// Words per passage.
    lengths: Box<[u32]>,
    mean_length: f32,
}

/// A passage that shares words with a question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Number of the passage, in the order in which they were added, from 0.
    pub passage: usize,
    /// BM25 score, above 0.
    pub score: f32,
}

/// Collects passages.
#[derive(Debug, Default)]
pub struct Builder {
    numbers: HashMap<Box<str>, u32>,
    /// Per word number, in how many passages it occurs.
    frequencies: Vec<u32>,
    /// Word numbers and counts of one passage after the other.
    entries: Vec<(u32, u16)>,
    /// Per passage, where its entries end.
    ends: Vec<usize>,
    lengths: Vec<u32>,
    /// Word numbers of the passage that is being added.
    current: Vec<u32>,
}

impl Builder {
    /// Adds the next passage, made of several texts.
    pub fn add<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>) {
        let Self { numbers, frequencies, current, .. } = self;
        current.clear();
        for text in texts {
            each_word(text, |word| {
                let number = numbers.get(word).copied().unwrap_or_else(|| {
                    let number = frequencies.len() as u32;
                    numbers.insert(word.into(), number);
                    frequencies.push(0);
                    number
                });
                current.push(number);
            });
        }
        self.lengths.push(current.len() as u32);
        current.sort_unstable();
        for same in current.chunk_by(|a, b| a == b) {
            self.entries.push((same[0], u16::try_from(same.len()).unwrap_or(u16::MAX)));
            frequencies[same[0] as usize] += 1;
        }
        self.ends.push(self.entries.len());
    }

    /// The index of all passages.
    pub fn finish(self) -> Index {
        let mut sorted: Vec<(Box<str>, u32)> = self.numbers.into_iter().collect();
        sorted.sort_unstable();
        let mut words = String::with_capacity(sorted.iter().map(|(word, _)| word.len()).sum());
        let (mut word_ends, mut posting_ends) = (Vec::with_capacity(sorted.len()), Vec::with_capacity(sorted.len()));
        // Per word number, where its next posting goes.
        let mut next = vec![0; sorted.len()];
        let mut end = 0;
        for (word, number) in &sorted {
            words.push_str(word);
            word_ends.push(words.len() as u32);
            next[*number as usize] = end;
            end += self.frequencies[*number as usize];
            posting_ends.push(end);
        }
        drop(sorted);
        let mut passages = vec![0; self.entries.len()];
        let mut counts = vec![0; self.entries.len()];
        let mut start = 0;
        for (passage, &end) in self.ends.iter().enumerate() {
            for &(number, count) in &self.entries[start..end] {
                let place = &mut next[number as usize];
                passages[*place as usize] = passage as u32;
                counts[*place as usize] = count;
                *place += 1;
            }
            start = end;
        }
        let all: u64 = self.lengths.iter().map(|&length| u64::from(length)).sum();
        Index {
            words: words.into(),
            word_ends: word_ends.into(),
            posting_ends: posting_ends.into(),
            passages: passages.into(),
            counts: counts.into(),
            mean_length: (all as f32 / self.lengths.len().max(1) as f32).max(1.0),
            lengths: self.lengths.into(),
        }
    }
}

impl Index {
    /// The `count` best passages for `question`, best first; of equal ones the first. Passages that share no word with it
    /// are never among them.
    pub fn search(&self, question: &str, count: usize) -> Vec<Hit> {
        let words = question_words(question);
        let mut scores = vec![0.0_f32; self.lengths.len()];
        for word in words.iter().filter_map(|word| self.find(word)) {
            let postings = range(&self.posting_ends, word);
            let (passages, counts) = (&self.passages[postings.clone()], &self.counts[postings]);
            let (all, with) = (self.lengths.len() as f32, passages.len() as f32);
            let idf = (1.0 + (all - with + 0.5) / (with + 0.5)).ln();
            for (&passage, &count) in passages.iter().zip(counts) {
                let length = self.lengths[passage as usize] as f32 / self.mean_length;
                let count = f32::from(count);
                scores[passage as usize] += idf * count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length));
            }
        }
        let mut hits: Vec<Hit> =
            scores.into_iter().enumerate().map(|(passage, score)| Hit { passage, score }).collect();
        hits.retain(|hit| hit.score > 0.0);
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        hits.truncate(count);
        hits
    }

    /// The place of `word` in the dictionary.
    fn find(&self, word: &str) -> Option<usize> {
        let (mut low, mut high) = (0, self.word_ends.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.words[range(&self.word_ends, middle)].cmp(word) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

/// Range `n` of consecutive ones that end at `ends`.
fn range(ends: &[u32], n: usize) -> std::ops::Range<usize> {
    let start = n.checked_sub(1).map_or(0, |before| ends[before]);
    start as usize..ends[n] as usize
}
