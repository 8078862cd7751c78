//! Which passages to read: BM25 over their words.
//!
//! The score of a passage is the sum over the distinct telling words of the question (see [`super::words`]) of
//! `idf * tf * (K1 + 1) / (tf + K1 * (1 - B + B * length / mean length))`, where `tf` counts the word in the passage and
//! `idf = ln(1 + (N - n + 0.5) / (n + 0.5))` with `n` of `N` passages that hold it (Robertson and Zaragoza 2009, with Lucene's
//! `idf`, which is never negative).
//!
//! Memory: mostly 1 to 3 bytes per distinct word of each passage, 4 per passage, and every word of the dictionary once with 9 bytes or
//! more.

use std::collections::HashMap;

use super::words::{each_word, question_words};

/// How fast more of the same word counts less.
const K1: f32 = 1.2;
/// How much a long passage counts less.
const B: f32 = 0.75;

/// The words of all passages, and where they occur.
#[derive(Debug)]
pub struct Index {
    /// All different words in ascending order, without anything between them.
    words: Box<str>,
    /// Per word, where it ends in `words`.
    word_ends: Box<[u32]>,
    /// Per word, where its postings end.
    posting_ends: Box<[u32]>,
    /// Per word, how many passages hold it, and these in ascending order; see [`Postings`].
    postings: Box<[u8]>,
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
#[derive(Debug)]
pub struct Builder {
    numbers: HashMap<Box<str>, u32>,
    /// Per word number.
    postings: Vec<NewPostings>,
    lengths: Vec<u32>,
    /// Word numbers of the passage that is being added.
    current: Vec<u32>,
    /// Different words at most.
    most: usize,
    full: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self::of_at_most(Self::MOST)
    }
}

impl Builder {
    /// Different words of an index at most, if nothing else is said. They take about 160 bytes each while it is made. English text of 64
    /// MiB has about half as many; a list of checksums of that size would have seven times as many.
    pub const MOST: usize = 1_000_000;

    /// For an index of at most `most` different words.
    pub fn of_at_most(most: usize) -> Self {
        let (numbers, postings, lengths, current) = Default::default();
        Self { numbers, postings, lengths, current, most, full: false }
    }

    /// Whether there were more words than there may be; those that came after these are not in the index.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Adds the next passage, made of several texts.
    pub fn add<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>) {
        let Self { numbers, postings, current, most, full, .. } = self;
        current.clear();
        for text in texts {
            each_word(text, |word| {
                let known = numbers.get(word).copied();
                if known.is_none() && postings.len() >= *most {
                    *full = true;
                    return;
                }
                current.push(known.unwrap_or_else(|| {
                    let number = postings.len() as u32;
                    numbers.insert(word.into(), number);
                    postings.push(NewPostings::default());
                    number
                }));
            });
        }
        let passage = self.lengths.len() as u32;
        self.lengths.push(current.len() as u32);
        current.sort_unstable();
        for same in current.chunk_by(|a, b| a == b) {
            postings[same[0] as usize].push(passage, u16::try_from(same.len()).unwrap_or(u16::MAX));
        }
    }

    /// The index of all passages.
    pub fn finish(self) -> Index {
        let mut sorted: Vec<(Box<str>, u32)> = self.numbers.into_iter().collect();
        sorted.sort_unstable();
        let mut words = String::with_capacity(sorted.iter().map(|(word, _)| word.len()).sum());
        let (mut word_ends, mut posting_ends) = (Vec::with_capacity(sorted.len()), Vec::with_capacity(sorted.len()));
        let mut postings = Vec::with_capacity(self.postings.iter().map(|new| 1 + new.bytes.len()).sum());
        for (word, number) in &sorted {
            words.push_str(word);
            word_ends.push(words.len() as u32);
            let new = &self.postings[*number as usize];
            write_number(new.passages.into(), &mut postings);
            postings.extend_from_slice(&new.bytes);
            posting_ends.push(postings.len() as u32);
        }
        let all: u64 = self.lengths.iter().map(|&length| u64::from(length)).sum();
        Index {
            words: words.into(),
            word_ends: word_ends.into(),
            posting_ends: posting_ends.into(),
            postings: postings.into(),
            mean_length: (all as f32 / self.lengths.len().max(1) as f32).max(1.0),
            lengths: self.lengths.into(),
        }
    }
}

impl Index {
    /// The passages that share a word with `question`, best first; of equal ones the first.
    pub fn search(&self, question: &str) -> Vec<Hit> {
        let words = question_words(question);
        let mut scores = vec![0.0_f32; self.lengths.len()];
        for word in words.iter().filter_map(|word| self.find(word)) {
            let postings = Postings::new(&self.postings[range(&self.posting_ends, word)]);
            let (all, with) = (self.lengths.len() as f32, postings.left as f32);
            let idf = (1.0 + (all - with + 0.5) / (with + 0.5)).ln();
            for (passage, count) in postings {
                let length = self.lengths[passage as usize] as f32 / self.mean_length;
                let count = f32::from(count);
                scores[passage as usize] += idf * count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length));
            }
        }
        let mut hits: Vec<Hit> =
            scores.into_iter().enumerate().map(|(passage, score)| Hit { passage, score }).collect();
        hits.retain(|hit| hit.score > 0.0);
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
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

/// The passages that hold a word, and how often each does. Numbers are written seven bits per byte, low ones first: how many passages
/// there are, and for each twice its distance to the one before, plus 1 if the count is not 1 and follows.
#[derive(Debug)]
struct Postings<'a> {
    bytes: std::slice::Iter<'a, u8>,
    left: u32,
    passage: u32,
}

impl<'a> Postings<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut postings = Self { bytes: bytes.iter(), left: 0, passage: 0 };
        postings.left = postings.number() as u32;
        postings
    }

    fn number(&mut self) -> u64 {
        let mut number = 0;
        for (&byte, shift) in self.bytes.by_ref().zip((0..).step_by(7)) {
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        number
    }
}

impl Iterator for Postings<'_> {
    type Item = (u32, u16);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let step = self.number();
        self.passage += (step >> 1) as u32;
        let count = if step & 1 == 0 { 1 } else { self.number() as u16 };
        Some((self.passage, count))
    }
}

/// [`Postings`] that grow, without their number.
#[derive(Debug, Default)]
struct NewPostings {
    bytes: Vec<u8>,
    passages: u32,
    last: u32,
}

impl NewPostings {
    /// Adds a passage after the last one.
    fn push(&mut self, passage: u32, count: u16) {
        write_number(u64::from(passage - self.last) << 1 | u64::from(count != 1), &mut self.bytes);
        if count != 1 {
            write_number(count.into(), &mut self.bytes);
        }
        self.passages += 1;
        self.last = passage;
    }
}

fn write_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Range `n` of consecutive ones that end at `ends`.
fn range(ends: &[u32], n: usize) -> std::ops::Range<usize> {
    let start = n.checked_sub(1).map_or(0, |before| ends[before]);
    start as usize..ends[n] as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postings_are_read_as_they_were_written() {
        let lists: [&[(u32, u16)]; 5] = [
            &[],
            &[(0, 1)],
            &[(0, 2), (1, 1), (63, 127), (64, 128), (191, u16::MAX)],
            &[(u32::MAX, u16::MAX)],
            &[(0, 1), (u32::MAX, 1)],
        ];
        let mut bytes = Vec::new();
        let ends = lists.map(|list| {
            let mut new = NewPostings::default();
            list.iter().for_each(|&(passage, count)| new.push(passage, count));
            write_number(new.passages.into(), &mut bytes);
            bytes.extend(new.bytes);
            bytes.len() as u32
        });
        for (n, list) in lists.iter().enumerate() {
            let postings = Postings::new(&bytes[range(&ends, n)]);
            assert_eq!(postings.left as usize, list.len());
            assert!(postings.eq(list.iter().copied()), "{list:?}");
        }
        assert_eq!(ends[1] - ends[0], 2, "a passage that holds a word once takes a byte");
    }
}
