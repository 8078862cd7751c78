//! Reading a text for an answer.

use std::path::Path;

use super::answer::Answer;
use super::decode::{Decoded, Decoder};
use super::{AskOptions, QaError};
use crate::artifact::Artifact;
use crate::config::ModelConfig;
use crate::memory;
use crate::model::{Logits, ModelError, ModelWeights, Session, Stop};
use crate::threads::Threads;
use crate::tokenizer::{QaTokenizer, Tokens, Window, Windows};

/// Bytes of a text from which on what tokenizing it took is given back to the system.
const LONG: usize = 64 << 10;

/// What scores the tokens of a window: the runtime's own [`Session`], or another implementation to compare it with.
pub trait Scorer {
    /// The model's shapes.
    fn config(&self) -> &ModelConfig;

    /// Start and end scores of a sequence of token ids. `types` is given if and only if the model has token types.
    ///
    /// # Errors
    /// [`ModelError`]; see its variants.
    fn logits(&self, ids: &[i64], types: Option<&[i64]>) -> Result<Logits, ModelError>;

    /// Start and end scores of a window's tokens.
    ///
    /// # Errors
    /// As [`Scorer::logits`].
    fn window(&self, window: &Window) -> Result<Logits, ModelError> {
        self.logits(&window.ids, window.types_for(self.config()))
    }

    /// How many windows [`Scorer::windows`] scores in less time than one by one; 1 if it makes no difference.
    fn batch(&self) -> usize {
        1
    }

    /// Start and end scores of the tokens of several windows, in order.
    fn windows(&self, windows: &[Window]) -> Vec<Result<Logits, ModelError>> {
        windows.iter().map(|window| self.window(window)).collect()
    }
}

impl Scorer for Session {
    fn config(&self) -> &ModelConfig {
        self.config()
    }

    fn logits(&self, ids: &[i64], types: Option<&[i64]>) -> Result<Logits, ModelError> {
        self.logits(ids, types)
    }

    fn batch(&self) -> usize {
        self.threads().count()
    }

    fn windows(&self, windows: &[Window]) -> Vec<Result<Logits, ModelError>> {
        self.logits_of_each(windows.iter().map(|window| (&window.ids[..], window.types_for(self.config()))))
    }
}

/// A model with its tokenizer, ready to be asked. It can be shared between threads if its model can.
#[derive(Clone, Debug)]
pub struct Reader<M = Session> {
    tokenizer: QaTokenizer,
    model: M,
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
    /// Opens the model file at `path`. Its checksum is not compared; see [`Artifact::verify`]. Nor may it be written into or truncated
    /// while it is in use; see [`Artifact::open`].
    ///
    /// # Errors
    /// [`QaError::Artifact`] if the file is no valid model; otherwise as [`Reader::from_artifact`].
    pub fn open(path: &Path) -> Result<Self, QaError> {
        let artifact = Artifact::open(path).map_err(QaError::of_file(path))?;
        Self::from_artifact(&artifact)
    }

    /// Makes a reader of an opened model file, which it keeps mapped.
    ///
    /// # Errors
    /// [`QaError::Tokenizer`], [`QaError::Weights`] or [`QaError::Model`], for the part that cannot be used.
    pub fn from_artifact(artifact: &Artifact) -> Result<Self, QaError> {
        // First, so that weights are read while the tokenizer is made.
        let weights = ModelWeights::from_artifact(artifact)?;
        let tokenizer = QaTokenizer::from_artifact(artifact)?;
        let session = Session::new(&weights)?;
        Ok(Self::new(tokenizer, session, artifact.metadata().null_threshold.unwrap_or(0.0)))
    }

    /// The same reader on `threads`: they share the windows of a long text, and the work on the last ones. Answers do not
    /// depend on their number.
    pub fn on(self, threads: Threads) -> Self {
        Self { model: self.model.on(threads), ..self }
    }

    /// The same reader, whose questions end with [`ModelError::Stopped`] once `stop` says so.
    pub fn until(&self, stop: Stop) -> Self {
        Self { model: self.model.until(stop), ..self.clone() }
    }
}

impl<M: Scorer> Reader<M> {
    /// A reader of `model`, whose token ids `tokenizer` makes. There is no answer above `null_threshold`, unless options say
    /// otherwise.
    pub fn new(tokenizer: QaTokenizer, model: M, null_threshold: f32) -> Self {
        Self { tokenizer, model, null_threshold }
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The model's shapes.
    pub fn config(&self) -> &ModelConfig {
        self.model.config()
    }

    /// The null odds above which there is no answer, unless options say otherwise: the model's recommendation, or 0.
    pub fn null_threshold(&self) -> f32 {
        self.null_threshold
    }

    /// The null odds above which there is no answer with these options; `None` if there always is one.
    pub fn threshold(&self, options: &AskOptions) -> Option<f32> {
        (!options.always_answer).then(|| options.null_threshold.unwrap_or(self.null_threshold))
    }

    /// Checks `options`, and that `question` is one that leaves room for a text.
    ///
    /// # Errors
    /// [`QaError::Option`] for an impossible option; [`QaError::Tokenizer`] if the question is empty or too long.
    pub(crate) fn check(&self, question: &str, options: &AskOptions) -> Result<(), QaError> {
        let max_seq_len = options.check(self.config().max_positions)?;
        self.tokenizer.needed_room(&self.tokenizer.question(question)?, max_seq_len)?;
        Ok(())
    }

    /// Tokenizes a text to ask several questions about it.
    ///
    /// # Errors
    /// [`QaError::Tokenizer`] if the text is empty or cannot be tokenized.
    pub fn context(&self, text: impl Into<String>) -> Result<Context, QaError> {
        let text = text.into();
        let tokens = self.tokenizer.bare_context(&text)?;
        if text.len() >= LONG {
            memory::trim();
        }
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

    /// Whether `question` could be asked, without running the model.
    ///
    /// # Errors
    /// Those of [`Reader::ask_in`] that are not the model's.
    pub fn check_in(&self, context: &Context, question: &str, options: &AskOptions) -> Result<(), QaError> {
        self.each_window(context, question, options, |_, _| Ok(())).map(drop)
    }

    /// As [`Reader::ask_in`], and calls `observe(done, windows)` after each window.
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
        let decoded = self.decode(context, question, options, |done, all, _| observe(done, all))?;
        Ok(Answer::new(question, &context.text, &decoded, self.threshold(options), options.top_k))
    }

    /// The n-best list of `question`, from which [`Reader::ask_in`] makes the answer. Calls `observe(done, windows, logits)`
    /// after each window.
    ///
    /// # Errors
    /// As [`Reader::ask_in`].
    pub fn decode(
        &self,
        context: &Context,
        question: &str,
        options: &AskOptions,
        mut observe: impl FnMut(usize, usize, &Logits),
    ) -> Result<Decoded, QaError> {
        self.each_window(context, question, options, |windows, decoder| {
            let (all, batch) = (windows.len(), self.model.batch());
            let mut done = 0;
            while done < all {
                // Whole batches first; what is left, one by one.
                let count = if all - done >= batch { batch } else { 1 };
                let next = (done..done + count).map(|index| windows.get(index)).collect::<Result<Vec<_>, _>>()?;
                let logits = match &next[..] {
                    [window] => vec![self.model.window(window)],
                    windows => self.model.windows(windows),
                };
                for (window, logits) in next.iter().zip(logits) {
                    let logits = logits?;
                    done += 1;
                    observe(done, all, &logits);
                    decoder.push(&logits.start, &logits.end, &window.offsets);
                }
            }
            Ok(())
        })
    }

    /// As [`Reader::decode`], with logits from elsewhere: `logits(index, windows, window)` returns one start and one end
    /// score per token of window `index`, counted from 0.
    ///
    /// # Errors
    /// As [`Reader::ask_in`], with [`QaError::Model`] for the errors of `logits`.
    pub fn decode_with(
        &self,
        context: &Context,
        question: &str,
        options: &AskOptions,
        mut logits: impl FnMut(usize, usize, &Window) -> Result<Logits, ModelError>,
    ) -> Result<Decoded, QaError> {
        self.each_window(context, question, options, |windows, decoder| {
            for (index, window) in windows.iter().enumerate() {
                let window = window?;
                let logits = logits(index, windows.len(), &window)?;
                decoder.push(&logits.start, &logits.end, &window.offsets);
            }
            Ok(())
        })
    }

    /// `score` gives the decoder the logits of all windows.
    fn each_window(
        &self,
        context: &Context,
        question: &str,
        options: &AskOptions,
        score: impl FnOnce(&Windows<'_>, &mut Decoder) -> Result<(), QaError>,
    ) -> Result<Decoded, QaError> {
        let max_seq_len = options.check(self.config().max_positions)?;
        let tokens = self.tokenizer.question(question)?;
        let half = self.tokenizer.room(&tokens, max_seq_len) / 2;
        let stride = options.doc_stride.unwrap_or(AskOptions::DOC_STRIDE.min(half));
        if options.overlap_by_half && stride > half {
            let problem = format!(
                "beside this question, windows may share {half} tokens here, half of what they hold of the text"
            );
            return Err(QaError::Option { option: "doc_stride", value: stride.to_string(), problem });
        }
        let windows = self.tokenizer.windows(&tokens, &context.tokens, max_seq_len, stride)?;
        let mut decoder = Decoder::new(options.max_answer_len);
        score(&windows, &mut decoder)?;
        Ok(decoder.finish(&context.text))
    }
}
