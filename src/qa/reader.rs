//! Reading a text for an answer.

use std::path::Path;

use super::answer::Answer;
use super::decode::Decoder;
use super::{AskOptions, QaError};
use crate::artifact::Artifact;
use crate::config::ModelConfig;
use crate::model::{ModelWeights, Session};
use crate::tokenizer::{QaTokenizer, Tokens};

/// A model with its tokenizer, ready to be asked. It can be shared between threads.
#[derive(Clone, Debug)]
pub struct Reader {
    tokenizer: QaTokenizer,
    session: Session,
    null_threshold: f32,
}

/// A tokenized text for any number of questions to the [`Reader`] that made it. Another reader's tokenizer may give the
/// tokens other meanings.
#[derive(Clone, Debug)]
pub struct Context {
    text: String,
    tokens: Tokens,
}

impl Context {
    /// The text, to which all offsets refer.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Reader {
    /// Opens the model file at `path`. Its checksum is not compared; see [`Artifact::verify`].
    ///
    /// # Errors
    /// [`QaError::Artifact`] if the file is no valid model; otherwise as [`Reader::from_artifact`].
    pub fn open(path: &Path) -> Result<Self, QaError> {
        let artifact = Artifact::open(path).map_err(|source| QaError::Artifact { path: path.to_owned(), source })?;
        Self::from_artifact(&artifact)
    }

    /// Makes a reader of an opened model file, which it keeps mapped.
    ///
    /// # Errors
    /// [`QaError::Tokenizer`], [`QaError::Weights`] or [`QaError::Model`], for the part that cannot be used.
    pub fn from_artifact(artifact: &Artifact) -> Result<Self, QaError> {
        let tokenizer = QaTokenizer::from_artifact(artifact)?;
        let session = Session::new(&ModelWeights::from_artifact(artifact)?)?;
        Ok(Self { tokenizer, session, null_threshold: artifact.metadata().null_threshold.unwrap_or(0.0) })
    }

    /// The model's shapes.
    pub fn config(&self) -> &ModelConfig {
        self.session.config()
    }

    /// The null odds above which there is no answer, unless options say otherwise: the model's recommendation, or 0.
    pub fn null_threshold(&self) -> f32 {
        self.null_threshold
    }

    /// Tokenizes a text to ask several questions about it.
    ///
    /// # Errors
    /// [`QaError::Tokenizer`] if the text is empty or cannot be tokenized.
    pub fn context(&self, text: impl Into<String>) -> Result<Context, QaError> {
        let text = text.into();
        let tokens = self.tokenizer.context(&text)?;
        Ok(Context { text, tokens })
    }

    /// Answers `question` from `text`.
    ///
    /// # Errors
    /// As [`Reader::context`] and [`Reader::ask_in`].
    pub fn ask(&self, question: &str, text: &str, options: &AskOptions) -> Result<Answer, QaError> {
        options.check(self.config().max_positions)?;
        self.ask_in(&self.context(text)?, question, options)
    }

    /// Answers `question` from a tokenized text.
    ///
    /// # Errors
    /// [`QaError::Option`] for an impossible option; [`QaError::Tokenizer`] if the question is empty, or too long for the
    /// windows that the options describe; [`QaError::Model`] if the model fails.
    pub fn ask_in(&self, context: &Context, question: &str, options: &AskOptions) -> Result<Answer, QaError> {
        self.ask_observed(context, question, options, |_, _| ())
    }

    /// As [`Reader::ask_in`], and calls `observe(done, windows)` before the first window and after each.
    ///
    /// # Errors
    /// As [`Reader::ask_in`].
    pub fn ask_observed(
        &self,
        context: &Context,
        question: &str,
        options: &AskOptions,
        mut observe: impl FnMut(usize, usize),
    ) -> Result<Answer, QaError> {
        let max_seq_len = options.check(self.config().max_positions)?;
        let tokens = self.tokenizer.question(question)?;
        let half = self.tokenizer.room(&tokens, max_seq_len) / 2;
        let stride = options.doc_stride.unwrap_or(AskOptions::DOC_STRIDE.min(half));
        let windows = self.tokenizer.windows(&tokens, &context.tokens, max_seq_len, stride)?;
        let typed = self.config().type_vocab_size > 0;
        let mut decoder = Decoder::new(options.max_answer_len);
        observe(0, windows.len());
        for (index, window) in windows.iter().enumerate() {
            let window = window?;
            let logits = self.session.logits(&window.ids, typed.then_some(window.type_ids.as_slice()))?;
            decoder.push(&logits.start, &logits.end, &window.offsets);
            observe(index + 1, windows.len());
        }
        let threshold = (!options.always_answer).then(|| options.null_threshold.unwrap_or(self.null_threshold));
        let decoded = decoder.finish(&context.text);
        Ok(Answer::new(question, &context.text, &decoded, threshold, options.top_k, windows.len()))
    }
}
