//! From text to token ids and byte offsets, with what the model's own `tokenizer.json` says.
//!
//! The pipeline is that of the tokenizers library: normalisers, words, special tokens, offsets. Its models and the map
//! of characters, where the memory goes, are replaced by ones that read a compiled vocabulary in the mapped model file
//! ([`compile()`]).
//!
//! Question and context are tokenized once each ([`QaTokenizer::question`], [`QaTokenizer::context`]); [`windows`] puts
//! the question and one part of the context into each sequence that the model sees.

mod charsmap;
mod compile;
mod error;
mod limits;
mod model;
mod normalizers;
mod pieces;
mod unigram;
pub mod windows;
mod word_piece;

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokenizers::{Encoding, Model, ModelWrapper, PostProcessor, PostProcessorWrapper};

use self::compile::Pipeline;
use self::model::{AnyModel, Problem};
use self::normalizers::Unheard;
use crate::artifact::Artifact;
use crate::artifact::schema::TOKENIZER_TENSORS;
use crate::checksum::hex;
use crate::guard::guard;

pub use self::compile::compile;
pub use error::TokenizerError;
pub use windows::{Window, Windows};

/// A tokenized text without special tokens.
#[derive(Clone, Debug)]
pub struct Tokens(Encoding);

impl Tokens {
    /// Number of tokens; at least 1.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Their ids.
    pub fn ids(&self) -> &[u32] {
        self.0.get_ids()
    }

    /// Their texts, as the vocabulary has them.
    pub fn pieces(&self) -> &[String] {
        self.0.get_tokens()
    }

    /// Their byte ranges (start, end) in the text.
    pub fn offsets(&self) -> &[(usize, usize)] {
        self.0.get_offsets()
    }
}

/// The tokenizer of a question-answering model. Clones share the vocabulary.
#[derive(Clone, Debug)]
pub struct QaTokenizer {
    /// Without post-processor, truncation and padding: those are applied per window.
    tokenizer: Arc<Pipeline>,
    /// Adds the special tokens.
    processor: PostProcessorWrapper,
    /// Whether a long text may be tokenized in pieces.
    can_be_cut: bool,
}

impl QaTokenizer {
    /// Checks and uses the tokenizer of a model file. A compiled vocabulary is not read but searched in the map.
    ///
    /// # Errors
    /// [`TokenizerError::Artifact`] if it does not unpack; otherwise as [`QaTokenizer::from_json`].
    pub fn from_artifact(artifact: &Artifact) -> Result<Self, TokenizerError> {
        let config = &artifact.metadata().config;
        let tokenizer = Self::new(compile::open(artifact)?, config.vocab_size)?;
        match (config.type_vocab_size, probe(&tokenizer.processor)?.get_type_ids().iter().max()) {
            (types @ 1.., Some(&id)) if id as usize >= types => Err(TokenizerError::TokenType { id, types }),
            _ => Ok(tokenizer),
        }
    }

    /// Reads a `tokenizer.json`. Its own truncation and padding are ignored.
    ///
    /// # Errors
    /// [`TokenizerError::Invalid`] if it is no tokenizer or does not frame question and context with special tokens;
    /// [`TokenizerError::Vocabulary`] if it has a token whose id is not below `vocab_size`; [`TokenizerError::Excess`] if
    /// it asks for more memory than any real one, or has more steps.
    pub fn from_json(json: &[u8], vocab_size: usize) -> Result<Self, TokenizerError> {
        Self::new(compile::from_json(json, vocab_size)?, vocab_size)
    }

    /// A checksum of everything that the tokenizer of a model file is made of.
    ///
    /// # Errors
    /// [`TokenizerError::Artifact`] if a tensor is missing.
    pub fn sha256(artifact: &Artifact) -> Result<String, TokenizerError> {
        let mut digest = Sha256::new();
        for name in TOKENIZER_TENSORS.iter().filter(|name| artifact.tensors().contains_key(**name)) {
            let bytes = artifact.view::<u8>(name)?;
            digest.update(format!("{name} {}\n", bytes.len()));
            digest.update(&*bytes);
        }
        Ok(hex(&digest.finalize()))
    }

    fn new(mut tokenizer: Pipeline, vocab_size: usize) -> Result<Self, TokenizerError> {
        if let Some(id) = first_foreign_id(&tokenizer, vocab_size) {
            let token = tokenizer.id_to_token(id).unwrap_or_default();
            return Err(TokenizerError::Vocabulary { token, id, vocab_size });
        }
        let processor = tokenizer
            .get_post_processor()
            .cloned()
            .ok_or_else(|| TokenizerError::Invalid("it has no post-processor that adds special tokens".into()))?;
        tokenizer.with_padding(None).with_post_processor(None::<PostProcessorWrapper>);
        tokenizer.with_truncation(None).map_err(|e| TokenizerError::Invalid(e.to_string()))?;
        limits::check_pre_tokenizer(tokenizer.get_pre_tokenizer())?;
        check_processor(&processor, vocab_size)?;
        encode(&tokenizer, PROBE).map_err(|failure| TokenizerError::Invalid(failure.problem))?;
        let can_be_cut = pieces::can_be_cut(&tokenizer);
        Ok(Self { tokenizer: Arc::new(tokenizer), processor, can_be_cut })
    }

    /// Tokenizes a question.
    ///
    /// # Errors
    /// [`TokenizerError::Empty`] if it has no token, [`TokenizerError::Text`] if it holds what the tokenizer cannot take,
    /// [`TokenizerError::Tokenize`] if that fails by a fault of its own.
    pub fn question(&self, text: &str) -> Result<Tokens, TokenizerError> {
        self.tokenize(text, "question")
    }

    /// Tokenizes a context. The tokens can be used with any number of questions.
    ///
    /// # Errors
    /// As [`QaTokenizer::question`].
    pub fn context(&self, text: &str) -> Result<Tokens, TokenizerError> {
        self.tokenize(text, "context")
    }

    fn tokenize(&self, text: &str, what: &'static str) -> Result<Tokens, TokenizerError> {
        if text.trim().is_empty() {
            return Err(TokenizerError::Empty { what });
        }
        let tokens = encode(&self.tokenizer, text).map_err(|failure| failure.of(what))?;
        if tokens.is_empty() { Err(TokenizerError::Empty { what }) } else { Ok(Tokens(tokens)) }
    }

    /// As [`QaTokenizer::context`], for windows alone: in less memory where that can be, without the texts of the tokens. A long text
    /// is tokenized piece by piece, with the same result.
    ///
    /// # Errors
    /// As [`QaTokenizer::question`].
    pub fn bare_context(&self, text: &str) -> Result<Tokens, TokenizerError> {
        if !windows::takes_bare(&self.processor) {
            return self.context(text);
        }
        if self.can_be_cut
            && let Some(tokens) = pieces::tokenize(&self.tokenizer, text)?
        {
            return Ok(Tokens(tokens));
        }
        let tokens = self.context(text)?.0;
        Ok(Tokens(windows::bare(tokens.get_ids().to_vec(), tokens.get_offsets().to_vec())))
    }

    /// How many tokens of a context a window of `max_seq_len` tokens holds beside `question`.
    pub fn room(&self, question: &Tokens, max_seq_len: usize) -> usize {
        self.needed_room(question, max_seq_len).unwrap_or(0)
    }

    /// As [`QaTokenizer::room`], where there has to be some.
    ///
    /// # Errors
    /// [`TokenizerError::QuestionTooLong`] if no context token fits.
    pub fn needed_room(&self, question: &Tokens, max_seq_len: usize) -> Result<usize, TokenizerError> {
        windows::room(&self.processor, &question.0, max_seq_len)
    }

    /// The windows over `context` for `question`: at most `max_seq_len` tokens each, special tokens included, where
    /// consecutive ones share `stride` tokens of the context.
    ///
    /// # Errors
    /// [`TokenizerError::QuestionTooLong`] if no context token fits; [`TokenizerError::Stride`] if the context needs more
    /// than one window and `stride` leaves no room for new tokens.
    pub fn windows<'a>(
        &'a self,
        question: &'a Tokens,
        context: &'a Tokens,
        max_seq_len: usize,
        stride: usize,
    ) -> Result<Windows<'a>, TokenizerError> {
        Windows::new(&self.processor, &question.0, &context.0, max_seq_len, stride)
    }
}

/// A tokenizer that cannot encode this is broken: words, digits, punctuation, accents, other scripts, an emoji.
const PROBE: &str = "Who's there? \u{fb01} \u{c9} \u{5317}\u{4eac} 1,234 \u{1f989}\n";

/// Calls into the tokenizers library, which panics on some files and texts.
fn call<T>(f: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    guard(f).and_then(|result| result.map_err(|e| e.to_string()))
}

/// Why a text has no tokens.
struct Failure {
    problem: String,
    /// Whether it is for what the text holds.
    of_text: bool,
}

impl Failure {
    /// The error for a `question` or `context`.
    fn of(self, what: &'static str) -> TokenizerError {
        let Self { problem, of_text } = self;
        if of_text { TokenizerError::Text { what, problem } } else { TokenizerError::Tokenize { what, problem } }
    }
}

/// The tokens of a text without special tokens around it.
fn encode(tokenizer: &Pipeline, text: &str) -> Result<Encoding, Failure> {
    let failed = |problem| Failure { problem, of_text: false };
    guard(|| normalizers::heard(|| tokenizer.encode(text, false))).map_err(failed)?.map_err(|error| Failure {
        problem: error.to_string(),
        of_text: error.downcast_ref().is_some_and(Problem::is_of_text) || error.is::<Unheard>(),
    })
}

/// The lowest token id that is not below `vocab_size`. Those of a mapped vocabulary are compared when they are found.
fn first_foreign_id(tokenizer: &Pipeline, vocab_size: usize) -> Option<u32> {
    // The ids of a Unigram model's pieces are their places in a list, which is large: no copy of it is made.
    let in_order = |size: usize| (size > vocab_size).then_some(vocab_size as u32);
    let model = match tokenizer.get_model() {
        AnyModel::Unigram(model) => in_order(model.size()),
        AnyModel::WordPiece(_) => None,
        AnyModel::Library(model) => match &**model {
            ModelWrapper::Unigram(unigram) => in_order(unigram.get_vocab_size()),
            model => model.get_vocab().into_values().filter(|&id| id as usize >= vocab_size).min(),
        },
    };
    let added = tokenizer.get_added_tokens_decoder().into_keys().filter(|&id| id as usize >= vocab_size).min();
    model.into_iter().chain(added).min()
}

/// A framed question and context of one token each.
fn probe(processor: &PostProcessorWrapper) -> Result<Encoding, TokenizerError> {
    let token = || Encoding::from_tokens(vec![tokenizers::Token::new(0, "a".into(), (0, 1))], 0);
    call(|| processor.process(token(), Some(token()), true))
        .map_err(|_| TokenizerError::Invalid("its post-processor fails".into()))
}

/// Frames a question and context, and checks that the result is what decoding relies on.
fn check_processor(processor: &PostProcessorWrapper, vocab_size: usize) -> Result<(), TokenizerError> {
    let invalid = |problem: &str| Err(TokenizerError::Invalid(problem.into()));
    if !templates_are_closed(&serde_json::to_value(processor).unwrap_or_default()) {
        return invalid("its post-processor names a special token that it does not define");
    }
    limits::check_special(processor.added_tokens(true))?;
    let framed = probe(processor)?;
    if framed.len() != processor.added_tokens(true) + 2 {
        return invalid("its post-processor adds another number of special tokens than it states");
    }
    let sequences = framed.get_sequence_ids();
    if sequences.first() != Some(&None) {
        return invalid("its post-processor puts no special token in front, whose scores would say \"no answer\"");
    }
    if [0, 1].iter().any(|&s| sequences.iter().filter(|&&found| found == Some(s)).count() != 1) {
        return invalid("its post-processor does not keep question and context apart");
    }
    match framed.get_ids().iter().zip(framed.get_tokens()).find(|&(&id, _)| id as usize >= vocab_size) {
        Some((&id, token)) => Err(TokenizerError::Vocabulary { token: token.clone(), id, vocab_size }),
        None => Ok(()),
    }
}

/// Whether every special token that a template of this serialized post-processor names is defined by it. The library
/// checks that only when it uses the template, with a panic.
fn templates_are_closed(processor: &serde_json::Value) -> bool {
    if let Some(nested) = processor["processors"].as_array() {
        return nested.iter().all(templates_are_closed);
    }
    let pieces = ["single", "pair"].iter().filter_map(|template| processor[*template].as_array()).flatten();
    let mut named = pieces.filter_map(|piece| piece["SpecialToken"]["id"].as_str());
    named.all(|id| processor["special_tokens"].get(id).is_some())
}

#[cfg(test)]
mod tests;
