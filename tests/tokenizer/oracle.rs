//! A compiled tokenizer beside the library's.

use edgeqa::guard::guard;
use edgeqa::tokenizer::{QaTokenizer, TokenizerError, Window};
use serde::Deserialize;
use tokenizers::normalizers::Precompiled;
use tokenizers::{
    DecoderWrapper, Encoding, ModelWrapper, NormalizedString, Normalizer, NormalizerWrapper, PostProcessorWrapper,
    PreTokenizerWrapper, TokenizerImpl,
};

/// The library's tokenizer, but for one fault of it.
type Library = TokenizerImpl<ModelWrapper, Normalizers, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// The library's normalizers. Characters that its map of characters removes from the beginning of a text are removed before: it forgets
/// them in the offsets of all that follows.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "NormalizerWrapper")]
struct Normalizers(Vec<NormalizerWrapper>);

impl From<NormalizerWrapper> for Normalizers {
    fn from(normalizer: NormalizerWrapper) -> Self {
        match normalizer {
            NormalizerWrapper::Sequence(steps) => Self(steps.into_iter().collect()),
            one => Self(vec![one]),
        }
    }
}

impl Normalizer for Normalizers {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        self.0.iter().try_for_each(|step| {
            if let NormalizerWrapper::Precompiled(map) = step {
                remove_first(map, text);
            }
            step.normalize(text)
        })
    }
}

/// Removes the characters from the beginning of `text` in whose place `map` puts nothing. They are control characters: each is a grapheme.
fn remove_first(map: &Precompiled, text: &mut NormalizedString) {
    let is_removed = |c: &char| map.transform(c.encode_utf8(&mut [0; 4])) == Some("");
    let removed = text.get().chars().take_while(is_removed).count();
    if removed > 0 {
        let rest: Vec<(char, isize)> = text.get().chars().skip(removed).map(|c| (c, 0)).collect();
        text.transform(rest, removed);
    }
}

/// The oracle and what must equal it.
pub struct Pair {
    library: Library,
    compiled: QaTokenizer,
}

impl Pair {
    pub fn new(json: &[u8]) -> Self {
        let mut library = Library::from_bytes(json).expect("a tokenizer");
        library.with_padding(None).with_truncation(None).expect("no truncation");
        let size = library.get_vocab_size(true);
        let folder = tempfile::tempdir().expect("temporary folder");
        // The map outlives the name of its file.
        let artifact = crate::common::open_with_tokenizer(folder.path(), json, size);
        artifact.verify().expect("sound");
        Self { library, compiled: QaTokenizer::from_artifact(&artifact).expect("a tokenizer") }
    }

    /// The texts of all pieces, in the order of ids.
    pub fn pieces(&self) -> Vec<String> {
        let mut all: Vec<(u32, String)> =
            self.library.get_vocab(true).into_iter().map(|(piece, id)| (id, piece)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, piece)| piece).collect()
    }

    /// Compares ids, pieces and offsets of every text, and of some as sequences with special tokens. What one refuses,
    /// both must.
    pub fn compare(&self, texts: impl IntoIterator<Item = String>) {
        let (mut count, mut tokens, mut empty, mut refused) = (0, 0, 0, 0);
        for text in texts {
            count += 1;
            let expected = self.encode(text.as_str());
            match self.compiled.context(&text) {
                Ok(found) => {
                    let expected = expected.unwrap_or_else(|e| panic!("{text:?}: the library fails with {e}"));
                    assert_eq!(found.ids(), expected.get_ids(), "{text:?}");
                    assert_eq!(found.pieces(), expected.get_tokens(), "{text:?}");
                    assert_eq!(found.offsets(), expected.get_offsets(), "{text:?}");
                    tokens += found.len();
                    if count % 8 == 0 {
                        self.compare_framed(&text);
                    }
                }
                Err(TokenizerError::Empty { .. }) => {
                    let is_empty = expected.as_ref().is_ok_and(Encoding::is_empty);
                    assert!(text.trim().is_empty() || is_empty, "{text:?} is said to be empty");
                    empty += 1;
                }
                Err(error) => {
                    assert!(expected.is_err(), "{text:?}: {error}");
                    refused += 1;
                }
            }
        }
        println!("{count} texts, {tokens} tokens, {empty} empty, {refused} that both refuse");
        assert!(tokens > 10 * count / 4, "the texts have too few tokens to tell anything");
        assert!(refused < 1 + count / 100, "too many texts are refused");
    }

    /// Compares ids and offsets of a text that is long enough to be tokenized in pieces.
    pub fn compare_long(&self, text: &str) {
        let expected = self.encode(text).expect("encodes");
        let found = self.compiled.bare_context(text).expect("tokens");
        let pair = |ids: &[u32], offsets: &[(usize, usize)]| -> Vec<_> {
            ids.iter().copied().zip(offsets.iter().copied()).collect()
        };
        let (expected, found) = (pair(expected.get_ids(), expected.get_offsets()), pair(found.ids(), found.offsets()));
        let differs = expected.iter().zip(&found).position(|(expected, found)| expected != found);
        assert_eq!(differs, None, "first difference in tokens");
        assert_eq!(found.len(), expected.len());
        println!("{} bytes, {} tokens", text.len(), found.len());
    }

    fn encode(&self, text: &str) -> Result<Encoding, String> {
        guard(|| self.library.encode(text, false)).and_then(|result| result.map_err(|e| e.to_string()))
    }

    /// The text as question and context of one sequence.
    fn compare_framed(&self, text: &str) {
        let expected = self.library.encode((text, text), true).expect("encodes");
        let (question, context) = (self.compiled.question(text).unwrap(), self.compiled.context(text).unwrap());
        let windows = self.compiled.windows(&question, &context, 1 << 20, 0).expect("there is room");
        let found: Window = windows.get(0).expect("the first");
        assert_eq!(windows.len(), 1);
        assert_eq!(found.ids, expected.get_ids().iter().map(|&id| i64::from(id)).collect::<Vec<_>>(), "{text:?}");
        assert_eq!(found.type_ids, expected.get_type_ids().iter().map(|&id| i64::from(id)).collect::<Vec<_>>());
        let offsets = expected.get_offsets().iter().zip(expected.get_sequence_ids());
        let offsets: Vec<_> = offsets.map(|(&range, sequence)| (sequence == Some(1)).then_some(range)).collect();
        assert_eq!(found.offsets, offsets, "{text:?}");
    }
}
