//! A long text, tokenized piece by piece, which takes a fraction of the memory.
//!
//! The library's pipeline takes about 140 bytes per byte of text. Where its words are tokenized each by itself, a text may be cut
//! between two of them, of scripts that have upper and lower case; a text without such words, Chinese or a table of numbers, stays whole.
//! Whether it was right is seen at every cut: pieces overlap by a few words, whose tokens and offsets must be the same in both. They are
//! not where a normaliser of the library lets them depend on characters long before.

use tokenizers::Encoding;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;

use super::compile::Pipeline;
use super::normalizers::Normalizers;
use super::windows::bare;
use super::{TokenizerError, encode};

/// Bytes of a piece, at least.
const PIECE: usize = 16 << 10;

/// Bytes that two pieces share, at least.
const SHARED: usize = 64;

/// Words that two pieces share, at least; so many tokens must be the same in both.
const AGREED: usize = 3;

/// Whether texts of this pipeline can be cut: no normalizer reaches far, words are tokenized each by itself, and no added token holds
/// or touches a space between two letters.
pub(super) fn can_be_cut(pipeline: &Pipeline) -> bool {
    let added = pipeline.get_added_tokens_decoder();
    let touches = |c: Option<char>| c.is_none_or(|c| c.is_alphanumeric());
    pipeline.get_normalizer().is_none_or(Normalizers::are_local)
        && pipeline.get_pre_tokenizer().is_some_and(finds_words)
        && added.values().map(|token| &token.content).all(|text| {
            !text.contains(char::is_whitespace) && !touches(text.chars().next()) && !touches(text.chars().next_back())
        })
}

fn finds_words(pre_tokenizer: &PreTokenizerWrapper) -> bool {
    match pre_tokenizer {
        PreTokenizerWrapper::BertPreTokenizer(_)
        | PreTokenizerWrapper::Whitespace(_)
        | PreTokenizerWrapper::WhitespaceSplit(_) => true,
        PreTokenizerWrapper::Metaspace(metaspace) => metaspace.get_split(),
        PreTokenizerWrapper::Sequence(parts) => parts.as_ref().iter().any(finds_words),
        _ => false,
    }
}

/// Ids and offsets of the tokens of `text`. `None` if it is short, if it has too few places to cut, or if the tokens at one of them
/// depend on the cut.
///
/// # Errors
/// Those of [`QaTokenizer::question`](super::QaTokenizer::question).
pub(super) fn tokenize(pipeline: &Pipeline, text: &str) -> Result<Option<Encoding>, TokenizerError> {
    let (mut ids, mut offsets) = (Vec::new(), Vec::new());
    let mut last: Option<Cut> = None;
    loop {
        let start = last.as_ref().map_or(0, |cut| cut.start);
        let next = Cut::after(text, start + PIECE);
        if last.is_none() && next.is_none() {
            return Ok(None);
        }
        let end = next.as_ref().map_or(text.len(), |cut| cut.end);
        let piece = encode(pipeline, &text[start..end]).map_err(|failure| failure.of("context"))?;
        let ranges: Vec<_> = piece.get_offsets().iter().map(|&(from, to)| (start + from, start + to)).collect();
        let mut new = 0;
        if let Some(cut) = &last {
            let first = ranges.partition_point(|&(from, _)| from < cut.agree);
            new = ranges.partition_point(|&(from, _)| from < cut.end);
            let old = offsets.partition_point(|&(from, _): &(usize, usize)| from < cut.agree);
            let same = new >= first + AGREED
                && offsets[old..] == ranges[first..new]
                && ids[old..] == piece.get_ids()[first..new]
                && ranges[first..new].iter().all(|&(_, to)| to <= cut.end);
            if !same {
                return Ok(None);
            }
        }
        ids.extend_from_slice(&piece.get_ids()[new..]);
        offsets.extend_from_slice(&ranges[new..]);
        if next.is_none() {
            return Ok(Some(bare(ids, offsets)));
        }
        last = next;
    }
}

/// Where one piece ends, and the next, which overlaps it, begins. All are places in the text, in bytes.
struct Cut {
    /// Where the next piece begins: with a word.
    start: usize,
    /// The space after that word, from which on the tokens of both pieces have to agree.
    agree: usize,
    /// The space that this piece ends before.
    end: usize,
}

impl Cut {
    /// The first possible cut whose next piece begins at `from` or later.
    fn after(text: &str, from: usize) -> Option<Self> {
        let mut spaces = spaces(text, from);
        let start = spaces.next()? + 1;
        let agree = spaces.next()?;
        let end = spaces.skip(AGREED - 1).find(|&space| space >= start + SHARED)?;
        Some(Self { start, agree, end })
    }
}

/// The single spaces between letters of scripts that have upper and lower case, from `from` on.
fn spaces(text: &str, from: usize) -> impl Iterator<Item = usize> {
    let letter = |c: Option<char>| c.is_some_and(|c| c.is_lowercase() || c.is_uppercase());
    let bytes = text.as_bytes();
    (from.max(1)..text.len()).filter(move |&at| {
        // A space is no part of another character.
        bytes[at] == b' ' && letter(text[..at].chars().next_back()) && letter(text[at + 1..].chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_made_between_letters_alone() {
        let found = |text: &str| spaces(text, 0).collect::<Vec<_>>();
        assert_eq!(found("a b"), [1]);
        assert_eq!(found("Été À Я б"), [5, 8, 11]);
        for none in [
            "",
            " ",
            "a",
            "a ",
            " a",
            "a  b",
            "a, b",
            "1 b",
            "a 1",
            "a\u{301} b",
            "a\nb",
            "北 京",
            "a [SEP] b",
            "ᾭ\u{a0}b",
        ] {
            assert!(found(none).is_empty(), "{none:?}");
        }
        let words = "ab ".repeat(100);
        let cut = Cut::after(&words, 30).expect("a cut");
        assert_eq!((cut.start, cut.agree, cut.end), (33, 35, 98));
        let long = format!("x ab {} c d e f", "y".repeat(80));
        let cut = Cut::after(&long, 0).expect("a cut");
        assert_eq!(&long[cut.agree..cut.end], format!(" {} c d", "y".repeat(80)), "a long word is one of three");
        assert!(
            Cut::after(&words, 250).is_none()
                && Cut::after("", 0).is_none()
                && Cut::after(&words, usize::MAX).is_none()
        );
    }
}
