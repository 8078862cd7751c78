//! Unigram with a compiled vocabulary: the most probable way to cut a word into pieces.
//!
//! Results are those of the tokenizers library to the last bit, so everything that could make a difference is as there:
//! scores are added in double precision from left to right, the first of two equal ways stays, unknown characters cost
//! 10 more than the rarest piece, and neighbouring ones make one token.

use serde::{Deserialize, Serialize};
use tokenizers::Token;

use super::model::Problem;
use crate::artifact::View;
use crate::vocabulary::{MAX_PIECE, Start, Trie};

/// What is said of a Unigram model beside its trie and scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnigramSpec {
    /// Number of pieces; their ids are below it.
    pub size: usize,
    /// Length of the longest piece in bytes.
    pub longest: usize,
    /// Id of the token for what is not known.
    pub unk_id: Option<u32>,
    /// The lowest score.
    pub min_score: f64,
    /// Whether an unknown character becomes a token per byte, if there are such tokens.
    pub byte_fallback: bool,
}

/// Logarithms of the probabilities of pieces, by id.
#[derive(Clone, Debug)]
pub enum Scores {
    /// All are 32-bit numbers.
    F32(View<f32>),
    /// Some are not.
    F64(View<f64>),
}

impl Scores {
    /// Number of scores.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(scores) => scores.len(),
            Self::F64(scores) => scores.len(),
        }
    }

    #[inline]
    fn get(&self, id: u32) -> Option<f64> {
        match self {
            Self::F32(scores) => scores.get(id as usize).map(|&score| f64::from(score)),
            Self::F64(scores) => scores.get(id as usize).copied(),
        }
    }
}

/// The model.
#[derive(Clone, Debug)]
pub struct Unigram {
    spec: UnigramSpec,
    trie: View<u8>,
    scores: Scores,
    unknown_score: f64,
    root: Start,
}

/// How much less probable than the rarest piece an unknown character is.
const UNKNOWN_PENALTY: f64 = 10.0;
/// Stands for no place in a word.
const NONE: u32 = u32::MAX;

/// The best way to a place in a word.
#[derive(Clone, Copy)]
struct Best {
    score: f64,
    /// Where its last piece begins; [`NONE`] if there is no way yet.
    start: u32,
    /// The id of its last piece.
    id: u32,
}

impl Unigram {
    /// Puts the parts together.
    ///
    /// # Errors
    /// What does not fit. The trie and the scores themselves are not read.
    pub fn new(spec: UnigramSpec, trie: View<u8>, scores: Scores) -> Result<Self, String> {
        if scores.len() != spec.size {
            return Err(format!("{} scores for {} pieces", scores.len(), spec.size));
        }
        if let Some(id) = spec.unk_id.filter(|&id| id as usize >= spec.size) {
            return Err(format!("the token for unknown text has id {id}, but there are {} pieces", spec.size));
        }
        if !(1..=MAX_PIECE).contains(&spec.longest) {
            return Err(format!("a longest piece of {} bytes", spec.longest));
        }
        let root = Start::new(Trie(&trie), Trie(&trie).root().ok_or("an empty trie")?);
        let unknown_score = spec.min_score - UNKNOWN_PENALTY;
        Ok(Self { spec, trie, scores, unknown_score, root })
    }

    /// Its trie.
    pub fn trie(&self) -> Trie<'_> {
        Trie(&self.trie)
    }

    /// Number of pieces.
    pub fn size(&self) -> usize {
        self.spec.size
    }

    /// The tokens of a word.
    ///
    /// # Errors
    /// If something is not known and there is no token for that, or if the vocabulary is damaged.
    pub fn tokenize(&self, word: &str) -> tokenizers::Result<Vec<Token>> {
        let mut tokens = Vec::new();
        // From the last piece to the first; unknown ones that follow each other are one.
        let mut pieces: Vec<(usize, usize, u32)> = Vec::new();
        let best = self.best(word)?;
        let mut end = word.len();
        while end > 0 {
            let Best { start, id, .. } = best[end];
            let start = start as usize;
            match pieces.last_mut() {
                Some((first, _, last)) if Some(id) == self.spec.unk_id && *last == id => *first = start,
                _ => pieces.push((start, end, id)),
            }
            end = start;
        }
        for (start, end, id) in pieces.into_iter().rev() {
            let text = word.get(start..end).ok_or(Problem::Damaged("a piece ends inside of a character"))?;
            if Some(id) == self.spec.unk_id {
                self.unknown(text, (start, end), id, &mut tokens);
            } else {
                tokens.push(Token::new(id, text.to_owned(), (start, end)));
            }
        }
        Ok(tokens)
    }

    /// The best way to every place in a word.
    fn best(&self, word: &str) -> Result<Vec<Best>, Problem> {
        let bytes = word.as_bytes();
        if bytes.len() >= NONE as usize {
            return Err(Problem::Long(bytes.len()));
        }
        let mut best = vec![Best { score: 0.0, start: NONE, id: 0 }; bytes.len() + 1];
        let trie = self.trie();
        let mut start = 0;
        for c in word.chars() {
            let (here, single) = (best[start].score, start + c.len_utf8());
            let mut known = false;
            let mut reach = |end: usize, score: f64, id: u32| {
                let place = &mut best[end];
                let score = score + here;
                let better = place.start == NONE || score > place.score;
                if better {
                    *place = Best { score, start: start as u32, id };
                }
                better
            };
            let mut found = self.root.step(trie, bytes[start]);
            let last = bytes.len().min(start + self.spec.longest);
            let mut end = start + 1;
            while let Some((id, cursor)) = found {
                if let Some(id) = id {
                    let score = self.scores.get(id).ok_or(Problem::Id { id, limit: self.spec.size })?;
                    reach(end, score, id);
                    known |= end == single;
                }
                if end == last {
                    break;
                }
                found = trie.step(cursor, bytes[end]);
                end += 1;
            }
            if !known {
                let better = reach(single, self.unknown_score, self.spec.unk_id.unwrap_or_default());
                if better && self.spec.unk_id.is_none() {
                    return Err(Problem::NoUnknown);
                }
            }
            start = single;
        }
        Ok(best)
    }

    /// Appends the tokens of a stretch of unknown characters. It may be a piece all the same, one that is less probable.
    fn unknown(&self, text: &str, offsets: (usize, usize), id: u32, tokens: &mut Vec<Token>) {
        let trie = self.trie();
        if let Some(id) = trie.get(text.as_bytes()).filter(|&id| (id as usize) < self.spec.size) {
            tokens.push(Token::new(id, text.to_owned(), offsets));
            return;
        }
        let token = |byte: u8| {
            let name = format!("<0x{byte:02X}>");
            let id = trie.get(name.as_bytes()).filter(|&id| (id as usize) < self.spec.size)?;
            Some(Token::new(id, name, offsets))
        };
        match self.spec.byte_fallback.then(|| text.bytes().map(token).collect::<Option<Vec<_>>>()).flatten() {
            Some(bytes) => tokens.extend(bytes),
            None => tokens.push(Token::new(id, text.to_owned(), offsets)),
        }
    }
}
