//! WordPiece with a compiled vocabulary: the longest piece that fits, again and again.

use serde::{Deserialize, Serialize};
use tokenizers::Token;

use super::model::Problem;
use crate::artifact::View;
use crate::vocabulary::{MAX_PIECE, Start, Trie};

/// What is said of a WordPiece model beside its trie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WordPieceSpec {
    /// Number of pieces.
    pub size: usize,
    /// Length of the longest piece in bytes.
    pub longest: usize,
    /// The token for a word that cannot be cut into pieces.
    pub unk_token: String,
    /// How pieces begin that begin inside of a word.
    pub continuing_subword_prefix: String,
    /// Longer words are not cut.
    pub max_input_chars_per_word: usize,
}

/// The model.
#[derive(Clone, Debug)]
pub struct WordPiece {
    spec: WordPieceSpec,
    trie: View<u8>,
    unk_id: Option<u32>,
    root: Start,
    /// Behind the prefix of pieces inside of a word, if there are any.
    inside: Option<Start>,
    /// Ids are below it.
    limit: usize,
}

impl WordPiece {
    /// Puts the parts together; the model has `limit` tokens.
    ///
    /// # Errors
    /// What does not fit. Only the part of the trie is read that holds the token for unknown words and the prefix.
    pub fn new(spec: WordPieceSpec, trie: View<u8>, limit: usize) -> Result<Self, String> {
        if !(1..=MAX_PIECE).contains(&spec.longest) {
            return Err(format!("a longest piece of {} bytes", spec.longest));
        }
        let view = Trie(&trie);
        let root = view.root().ok_or("an empty trie")?;
        let unk_id = view.get(spec.unk_token.as_bytes());
        let mut prefix = spec.continuing_subword_prefix.bytes();
        let inside = prefix.try_fold(root, |cursor, byte| view.step(cursor, byte).map(|(_, next)| next));
        let (root, inside) = (Start::new(view, root), inside.map(|inside| Start::new(view, inside)));
        Ok(Self { spec, trie, unk_id, root, inside, limit })
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
    /// If the word cannot be cut and there is no token for that, or if the vocabulary is damaged.
    pub fn tokenize(&self, word: &str) -> tokenizers::Result<Vec<Token>> {
        // A character has at least one byte, so most words need not be counted.
        let max = self.spec.max_input_chars_per_word;
        let known = if word.len() > max && word.chars().count() > max { None } else { self.pieces(word)? };
        if let Some(tokens) = known {
            return Ok(tokens);
        }
        let id = self.unk_id.ok_or(Problem::NoUnknown)?;
        Ok(vec![Token::new(self.checked(id)?, self.spec.unk_token.clone(), (0, word.len()))])
    }

    /// The tokens of a word; `None` if no piece fits somewhere.
    fn pieces(&self, word: &str) -> Result<Option<Vec<Token>>, Problem> {
        let mut tokens = Vec::new();
        let mut start = 0;
        while start < word.len() {
            let Some((end, id)) = self.longest(&word.as_bytes()[start..], start > 0) else { return Ok(None) };
            let end = start + end;
            let text = word.get(start..end).ok_or(Problem::Damaged("a piece ends inside of a character"))?;
            let text = if start > 0 { [&self.spec.continuing_subword_prefix, text].concat() } else { text.to_owned() };
            tokens.push(Token::new(self.checked(id)?, text, (start, end)));
            start = end;
        }
        Ok(Some(tokens))
    }

    /// Length and id of the longest piece that `bytes` begin with, at the beginning of a word or inside of one.
    fn longest(&self, bytes: &[u8], inside: bool) -> Option<(usize, u32)> {
        let trie = self.trie();
        let start = if inside { self.inside.as_ref()? } else { &self.root };
        let (first, rest) = bytes.split_first()?;
        let (id, mut cursor) = start.step(trie, *first)?;
        let mut longest = id.map(|id| (1, id));
        for (len, &byte) in (2..=self.spec.longest).zip(rest) {
            let Some((id, next)) = trie.step(cursor, byte) else { break };
            longest = id.map(|id| (len, id)).or(longest);
            cursor = next;
        }
        longest
    }

    fn checked(&self, id: u32) -> Result<u32, Problem> {
        if (id as usize) < self.limit { Ok(id) } else { Err(Problem::Id { id, limit: self.limit }) }
    }
}
