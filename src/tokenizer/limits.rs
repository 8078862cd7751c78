//! How much a tokenizer may ask for. A model file is untrusted, and the tokenizers library takes as much memory and time as a
//! `tokenizer.json` says, so its parts are looked at, as text, before the library sees them.
//!
//! A made-up `tokenizer.json` of DeBERTa-v3's size, 128,100 pieces, has 9 MB, 384,000 values in its model and 450,000 nodes in the
//! library's trie, and takes 170 MB to read; one of mDeBERTa's, 250,100 pieces, has 17 MB, 750,000 values and 820,000 nodes. What is at
//! a limit takes 350 MB at most.

use std::borrow::Cow;
use std::fmt;

use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine, alphabet};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::{AddedToken, NormalizedString, Normalizer};

use super::TokenizerError;
use super::normalizers::{MAP, Normalizers};

/// The largest `tokenizer.json` that is unpacked, in bytes.
pub(super) const MAX_JSON: usize = 32 << 20;

/// Values in the model: pieces, scores, merges, keys. The library takes up to 200 bytes for each while it reads them.
const MAX_VALUES: usize = 1 << 20;
/// Objects among them, of which each takes some 600 bytes: a model and its vocabulary are 2.
const MAX_OBJECTS: usize = 16;
/// Nodes of the trie that the library makes of a Unigram model, of 340 bytes each.
const MAX_NODES: usize = 1 << 20;

/// Bytes of each other part; a map of characters in base64 has 0.3 MB.
const MAX_PART: usize = 4 << 20;
/// Values in it.
const MAX_PART_VALUES: usize = 1024;
/// Bytes of each text in it but that map: what is looked for, put in its place, or put in front.
const MAX_TEXT: usize = 1024;
/// Steps of its sequences, all together.
const MAX_STEPS: usize = 32;
/// Patterns in it: each can take 10 MB when it is compiled.
const MAX_PATTERNS: usize = 8;

/// Bytes of the description of an added token.
const MAX_ADDED_TOKEN: usize = 4 << 10;
/// Bytes of all added tokens, as they are looked for: the library takes 80 for each.
const MAX_ADDED_TEXT: usize = 1 << 20;

/// Steps of the pre-tokenizer that lengthen a text, each up to fourfold.
const MAX_LENGTHENING: usize = 2;
/// Special tokens around question and context: BERT has 3, RoBERTa 4.
pub(super) const MAX_SPECIAL: usize = 64;

/// The parts of a `tokenizer.json`, or of the description in a model file, which has some of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parts<'a> {
    #[serde(rename = "version")]
    _version: Option<IgnoredAny>,
    #[serde(borrow)]
    truncation: Option<&'a RawValue>,
    #[serde(borrow)]
    padding: Option<&'a RawValue>,
    #[serde(borrow)]
    added_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    normalizer: Option<&'a RawValue>,
    #[serde(borrow)]
    pre_tokenizer: Option<&'a RawValue>,
    #[serde(borrow)]
    post_processor: Option<&'a RawValue>,
    #[serde(borrow)]
    decoder: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
}

impl<'a> Parts<'a> {
    /// Finds the parts in `json`, and sees that none asks for too much; the model has `vocab_size` tokens.
    ///
    /// # Errors
    /// [`TokenizerError::Excess`] if one does, [`TokenizerError::Invalid`] if they cannot be told apart.
    pub fn read(json: &'a [u8], vocab_size: usize) -> Result<Self, TokenizerError> {
        let parts: Self = serde_json::from_slice(json).map_err(invalid)?;
        for (name, part) in [
            ("truncation", parts.truncation),
            ("padding", parts.padding),
            ("normalizer", parts.normalizer),
            ("pre_tokenizer", parts.pre_tokenizer),
            ("post_processor", parts.post_processor),
            ("decoder", parts.decoder),
        ] {
            part.map_or(Ok(()), |part| check_part(name, part.get()))?;
        }
        parts.model.map_or(Ok(()), |model| check_model(model.get()))?;
        if let Some(tokens) = parts.added_tokens {
            let mut excess = None;
            let read = AddedTokens { limit: vocab_size, excess: &mut excess };
            let done = read.deserialize(&mut serde_json::Deserializer::from_str(tokens.get()));
            excess.map_or(Ok(()), Err)?;
            done.map_err(invalid)?;
        }
        Ok(parts)
    }

    /// Sees what becomes of the added tokens, as [`check_added`] does, where the library does both in one.
    ///
    /// # Errors
    /// As [`check_added`]; also if the library does not know them or the normalizer.
    pub fn check_added(&self) -> Result<(), TokenizerError> {
        let Some(tokens) = self.added_tokens else { return Ok(()) };
        let tokens: Vec<AddedToken> = serde_json::from_str(tokens.get()).map_err(invalid)?;
        let normalizer = self.normalizer.filter(|_| tokens.iter().any(|token| token.normalized));
        let normalizer = normalizer.map(|part| serde_json::from_str::<Normalizers>(part.get())).transpose();
        check_added(&tokens, normalizer.map_err(invalid)?.as_ref())
    }
}

fn invalid(error: serde_json::Error) -> TokenizerError {
    TokenizerError::Invalid(error.to_string())
}

fn check(part: &'static str, what: &'static str, found: usize, limit: usize) -> Result<(), TokenizerError> {
    if found > limit { Err(TokenizerError::Excess { part, what, found, limit }) } else { Ok(()) }
}

/// What a text of JSON is made of.
#[derive(Default)]
struct Census {
    /// Values, keys and one or two too many.
    values: usize,
    /// Objects among them.
    objects: usize,
}

impl Census {
    fn of(json: &str) -> Self {
        let mut census = Self::default();
        let mut bytes = json.bytes();
        let mut inside = false;
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' => inside = !inside,
                b'\\' if inside => drop(bytes.next()),
                b'{' | b'[' | b',' | b':' if !inside => {
                    census.values += 1;
                    census.objects += usize::from(byte == b'{');
                }
                _ => {}
            }
        }
        census
    }
}

/// Checks a part that is neither model nor added tokens.
fn check_part(part: &'static str, json: &str) -> Result<(), TokenizerError> {
    check(part, "bytes", json.len(), MAX_PART)?;
    check(part, "values", Census::of(json).values, MAX_PART_VALUES)?;
    let mut sums = Sums::default();
    sums.add(&serde_json::from_str(json).map_err(invalid)?);
    if sums.map_is_cut {
        return Err(TokenizerError::Invalid(format!("its {part} has a map of characters that is cut off")));
    }
    check(part, "bytes in one text", sums.longest, MAX_TEXT)?;
    check(part, "steps", sums.steps, MAX_STEPS)?;
    check(part, "patterns", sums.patterns, MAX_PATTERNS)
}

/// What a part holds.
#[derive(Default)]
struct Sums {
    /// Bytes of its longest text.
    longest: usize,
    steps: usize,
    patterns: usize,
    /// Whether a map of characters has fewer bytes than its first ones say, for which the library asks for memory.
    map_is_cut: bool,
}

impl Sums {
    fn add(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.longest = self.longest.max(text.len()),
            Value::Array(values) => values.iter().for_each(|value| self.add(value)),
            Value::Object(entries) => {
                for (key, value) in entries {
                    match (key.as_str(), value) {
                        (MAP, Value::String(map)) => {
                            self.map_is_cut |= array_len(map).is_some_and(|len| len > map.len());
                            continue;
                        }
                        ("normalizers" | "pretokenizers" | "processors" | "decoders", Value::Array(steps)) => {
                            self.steps += steps.len();
                        }
                        ("pattern", _) => self.patterns += 1,
                        _ => {}
                    }
                    self.add(value);
                }
            }
            _ => {}
        }
    }
}

/// How many bytes the array of a map of characters is said to have, as the first four bytes do; `None` if there are none. Of six characters
/// in base64, four bytes and some bits that nobody looks at.
fn array_len(map: &str) -> Option<usize> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let head = LENIENT.decode(map.as_bytes().get(..6)?).ok()?;
    usize::try_from(u32::from_le_bytes(*head.first_chunk::<4>()?)).ok()
}

fn check_model(json: &str) -> Result<(), TokenizerError> {
    #[derive(Deserialize)]
    struct Vocabulary<'a> {
        #[serde(borrow)]
        vocab: Option<&'a RawValue>,
    }
    let Census { values, objects } = Census::of(json);
    check("model", "objects", objects, MAX_OBJECTS)?;
    check("model", "values", values, MAX_VALUES)?;
    let Vocabulary { vocab } = serde_json::from_str(json).map_err(invalid)?;
    match vocab.map(RawValue::get).filter(|vocab| vocab.starts_with('[')) {
        Some(pieces) => check("model", "nodes in the trie of its vocabulary", nodes(pieces)?, MAX_NODES),
        None => Ok(()),
    }
}

/// Nodes of the trie of Unigram's pieces.
fn nodes<'a>(pieces: &'a str) -> Result<usize, TokenizerError> {
    let pieces: Vec<(&'a RawValue, IgnoredAny)> = serde_json::from_str(pieces).map_err(invalid)?;
    // As many programs write them, all but ASCII is escaped.
    let plain = |piece: &'a RawValue| -> Result<Cow<'a, str>, serde_json::Error> {
        let text = piece.get();
        if text.contains('\\') { serde_json::from_str(text).map(Cow::Owned) } else { Ok(text.trim_matches('"').into()) }
    };
    let pieces = pieces.into_iter().map(|(piece, _)| plain(piece));
    let mut pieces = pieces.collect::<Result<Vec<_>, _>>().map_err(invalid)?;
    pieces.sort_unstable();
    let mut last: &[u8] = &[];
    let mut sum = 1;
    for piece in &pieces {
        let shared = last.iter().zip(piece.as_bytes()).take_while(|(a, b)| a == b).count();
        last = piece.as_bytes();
        sum += piece.len() - shared;
    }
    Ok(sum)
}

/// Reads a list of added tokens, one at a time, and keeps none.
struct AddedTokens<'a> {
    /// Tokens of the model.
    limit: usize,
    /// What was found.
    excess: &'a mut Option<TokenizerError>,
}

impl<'de> DeserializeSeed<'de> for AddedTokens<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for AddedTokens<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of added tokens")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tokens: A) -> Result<(), A::Error> {
        let mut count = 0;
        while let Some(token) = tokens.next_element::<&RawValue>()? {
            count += 1;
            let checked = check("added_tokens", "tokens", count, self.limit)
                .and_then(|()| check("added_tokens", "bytes in one token", token.get().len(), MAX_ADDED_TOKEN));
            if let Err(excess) = checked {
                *self.excess = Some(excess);
                return Err(serde::de::Error::custom("too much"));
            }
        }
        Ok(())
    }
}

/// Checks how long added tokens are after `normalizer`.
///
/// # Errors
/// [`TokenizerError::Excess`] if all together are too long, [`TokenizerError::Invalid`] if one cannot be normalized.
pub(super) fn check_added(tokens: &[AddedToken], normalizer: Option<&Normalizers>) -> Result<(), TokenizerError> {
    let mut sum = 0;
    for token in tokens {
        sum += match normalizer.filter(|_| token.normalized) {
            None => token.content.len(),
            Some(normalizer) => {
                let mut text = NormalizedString::from(token.content.as_str());
                normalizer.normalize(&mut text).map_err(|e| TokenizerError::Invalid(e.to_string()))?;
                text.len()
            }
        };
        check("added_tokens", "bytes in all", sum, MAX_ADDED_TEXT)?;
    }
    Ok(())
}

/// Checks how many steps of a pre-tokenizer lengthen a text: of several, one makes long what another has made long.
///
/// # Errors
/// [`TokenizerError::Excess`] if they are too many.
pub(super) fn check_pre_tokenizer(pre_tokenizer: Option<&PreTokenizerWrapper>) -> Result<(), TokenizerError> {
    fn lengthening(pre_tokenizer: &PreTokenizerWrapper) -> usize {
        match pre_tokenizer {
            PreTokenizerWrapper::ByteLevel(_) | PreTokenizerWrapper::Metaspace(_) => 1,
            PreTokenizerWrapper::Sequence(parts) => parts.as_ref().iter().map(lengthening).sum(),
            _ => 0,
        }
    }
    check("pre_tokenizer", "steps that lengthen a text", pre_tokenizer.map_or(0, lengthening), MAX_LENGTHENING)
}

/// Checks how many special tokens a post-processor puts around question and context.
///
/// # Errors
/// [`TokenizerError::Excess`] if they are too many.
pub(super) fn check_special(count: usize) -> Result<(), TokenizerError> {
    check("post_processor", "special tokens around question and context", count, MAX_SPECIAL)
}

/// How many bytes normalizers may make of `original` bytes: a ligature becomes 11 times as long (U+FDFA, compatibility
/// decomposition), Hangul 3 times (decomposition).
pub(super) fn most_normalized(original: usize) -> usize {
    4 * original + 8 * original.min(4 << 10) + 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_count_alike_however_they_are_written() {
        for pieces in [
            r#"[["\u2581ab",-1.5],["\u2581a",0],["b\"",0]]"#,
            "[[\"\u{2581}ab\",-1.5],[\"\u{2581}a\",0],[\"b\\u0022\",0]]",
        ] {
            // The root, three bytes of the sign, a and b; b and the mark.
            assert_eq!(nodes(pieces).expect("pieces"), 8, "{pieces}");
        }
    }
}
