//! Answering all questions of a dataset.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use serde::Serialize;

use super::workers::on_threads;
use super::{Dataset, EvalError, Paragraph, Question};
use crate::model::{Logits, ModelError};
use crate::qa::decode::{Decoded, Entry};
use crate::qa::{AskOptions, Context, QaError, Reader, Scorer};
use crate::tokenizer::Window;

/// What a model makes of one question.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The question's id.
    pub id: String,
    /// The answer at the threshold of the evaluation; empty if there is none.
    pub text: String,
    /// Score of "no answer".
    pub null_score: f32,
    /// Null score minus score of the best entry with text. If there is no such entry, the null score: Hugging Face's
    /// scripts invent one that scores 0.
    pub null_odds: f32,
    /// Candidates and null, best first.
    pub n_best: Vec<NBestEntry>,
    /// Number of windows that the text was read in.
    pub windows: usize,
    /// How long it took on its thread, in seconds. The first question of a paragraph on a thread pays for tokenizing it.
    pub seconds: f64,
}

/// One entry of an n-best list, as Hugging Face's scripts write it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NBestEntry {
    /// Start logit plus end logit.
    pub score: f32,
    /// Start logit of the first token; of `[CLS]` for "no answer".
    pub start_logit: f32,
    /// End logit of the last token; of `[CLS]` for "no answer".
    pub end_logit: f32,
    /// The span; empty for "no answer".
    pub text: String,
    /// Softmax of the score over the list.
    pub probability: f32,
}

impl Prediction {
    /// The answer at another threshold: the best entry with text, unless the null odds exceed `null_threshold`. Without
    /// threshold it is the best entry with text in any case. Empty if there is none.
    pub fn text_at(&self, null_threshold: Option<f32>) -> &str {
        if null_threshold.is_some_and(|threshold| self.null_odds > threshold) {
            return "";
        }
        self.n_best.iter().map(|entry| entry.text.as_str()).find(|text| !text.is_empty()).unwrap_or_default()
    }
}

/// Watches an evaluation from all of its threads. `()` does not look.
pub trait Observer: Sync {
    /// Question `question`, counted from 0 in the order of the dataset, has the logits of its next window. The windows of a
    /// question come in order, those of different questions mixed.
    fn window(&self, question: usize, logits: &Logits) {
        let _ = (question, logits);
    }

    /// A question is answered: `done` of `all` are.
    fn answered(&self, done: usize, all: usize) {
        let _ = (done, all);
    }
}

impl Observer for () {}

/// Answers all questions of `dataset` on `threads` threads. The predictions are in the order of the questions and, but for
/// the times, do not depend on the number of threads.
///
/// The threshold is that of `options`, or else the reader's; `top_k` has no effect.
///
/// # Errors
/// [`EvalError::Options`] for an impossible option; [`EvalError::Question`] for the first question that cannot be asked, before any is, or
/// for which the model fails; [`EvalError::Thread`] if the system starts no more threads.
pub fn evaluate<M: Scorer + Sync>(
    reader: &Reader<M>,
    dataset: &Dataset,
    options: &AskOptions,
    threads: NonZeroUsize,
    observer: &impl Observer,
) -> Result<Vec<Prediction>, EvalError> {
    evaluate_with(reader, dataset, options, threads, |_, _, window| reader.model().window(window), observer)
}

/// As [`evaluate`], with logits from elsewhere, of another model or of an earlier run: `logits(question, index, window)`
/// returns one start and one end score per token of window `index` of question `question`, both counted from 0. It is
/// called from all threads; the windows of a question come in order, those of different questions mixed. Tokens, windows,
/// decoder and threshold are those of `reader`.
///
/// # Errors
/// As [`evaluate`]; those of `logits` are errors of their question.
pub fn evaluate_with<M: Scorer + Sync>(
    reader: &Reader<M>,
    dataset: &Dataset,
    options: &AskOptions,
    threads: NonZeroUsize,
    logits: impl Fn(usize, usize, &Window) -> Result<Logits, ModelError> + Sync,
    observer: &impl Observer,
) -> Result<Vec<Prediction>, EvalError> {
    let questions: Vec<_> = dataset
        .paragraphs
        .iter()
        .flat_map(|paragraph| paragraph.questions.iter().map(move |q| (paragraph, q)))
        .collect();
    let threads = threads.get().min(questions.len());
    let job = Job {
        reader,
        dataset,
        options,
        logits: &logits,
        observer,
        questions: &questions,
        next: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
    };
    job.check()?;
    let mut answered = on_threads(threads, &job.stop, || job.work())?;
    // Questions are handed out in order and those handed out are finished, so the first error does not depend on chance.
    answered.sort_unstable_by_key(|&(index, _)| index);
    answered.into_iter().map(|(_, result)| result).collect()
}

/// What the threads share.
struct Job<'a, M, L, O> {
    reader: &'a Reader<M>,
    dataset: &'a Dataset,
    options: &'a AskOptions,
    logits: &'a L,
    observer: &'a O,
    questions: &'a [(&'a Paragraph, &'a Question)],
    /// The next question to hand out.
    next: AtomicUsize,
    done: AtomicUsize,
    /// Whether a question failed.
    stop: AtomicBool,
}

impl<'a, M, L, O> Job<'a, M, L, O>
where
    M: Scorer,
    L: Fn(usize, usize, &Window) -> Result<Logits, ModelError>,
    O: Observer,
{
    /// Sees whether all questions can be asked: answering them can take hours.
    fn check(&self) -> Result<(), EvalError> {
        let mut cache = None;
        for (paragraph, question) in self.questions {
            self.context(paragraph, &mut cache)
                .and_then(|context| self.reader.check_in(context, &question.text, self.options))
                .map_err(|error| self.error(question, error))?;
        }
        Ok(())
    }

    /// The tokens of a paragraph, which are kept for its next question.
    fn context<'c>(
        &self,
        paragraph: &'a Paragraph,
        cache: &'c mut Option<(&'a Paragraph, Context)>,
    ) -> Result<&'c Context, QaError> {
        let context = match cache.take() {
            Some((cached, context)) if std::ptr::eq(cached, paragraph) => context,
            _ => self.reader.context(paragraph.context.as_str())?,
        };
        Ok(&cache.insert((paragraph, context)).1)
    }

    /// Answers questions until there are no more. Keeps the tokens of one paragraph, whose questions follow each other: the
    /// memory does not grow with the dataset, and threads that share a paragraph tokenize it once each, which is nothing
    /// compared with one run of a model.
    fn work(&self) -> Vec<(usize, Result<Prediction, EvalError>)> {
        let mut answered = Vec::new();
        let mut context = None;
        while !self.stop.load(Ordering::Relaxed) {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(&(paragraph, question)) = self.questions.get(index) else { break };
            let result = self.answer(index, paragraph, question, &mut context);
            match &result {
                Ok(_) => {
                    let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
                    self.observer.answered(done, self.questions.len());
                }
                Err(_) => self.stop.store(true, Ordering::Relaxed),
            }
            answered.push((index, result.map_err(|error| self.error(question, error))));
        }
        answered
    }

    fn answer(
        &self,
        index: usize,
        paragraph: &'a Paragraph,
        question: &Question,
        cache: &mut Option<(&'a Paragraph, Context)>,
    ) -> Result<Prediction, QaError> {
        let started = Instant::now();
        let context = self.context(paragraph, cache)?;
        // Those of the window that the null score comes from.
        let mut null = (0.0, 0.0, f32::INFINITY);
        let decoded = self.reader.decode_with(context, &question.text, self.options, |number, _, window| {
            let logits = (self.logits)(index, number, window)?;
            self.observer.window(index, &logits);
            if let (Some(&start), Some(&end)) = (logits.start.first(), logits.end.first())
                && start + end < null.2
            {
                null = (start, end, start + end);
            }
            Ok(logits)
        })?;
        let mut prediction = prediction(&question.id, context.text(), &decoded, (null.0, null.1))?;
        prediction.text = prediction.text_at(self.reader.threshold(self.options)).to_owned();
        prediction.seconds = started.elapsed().as_secs_f64();
        Ok(prediction)
    }

    fn error(&self, question: &Question, source: QaError) -> EvalError {
        match source {
            QaError::Option { .. } => EvalError::Options(source),
            source => EvalError::Question {
                id: question.id.clone(),
                place: question.place,
                file: self.dataset.file.clone(),
                source: source.into(),
            },
        }
    }
}

/// The prediction of a decoded n-best list over `context`, without its answer and time. `null` has the start and end logit
/// of the null entry.
fn prediction(id: &str, context: &str, decoded: &Decoded, null: (f32, f32)) -> Result<Prediction, QaError> {
    let entry = |entry: &Entry| {
        let (start_logit, end_logit) = entry.span.map_or(null, |span| (span.start_logit, span.end_logit));
        let text = context.get(entry.bytes.clone()).unwrap_or_default().to_owned();
        NBestEntry { score: entry.score, start_logit, end_logit, text, probability: entry.probability }
    };
    let n_best: Vec<_> = decoded.n_best.iter().map(entry).collect();
    let null_odds = decoded.null_odds.unwrap_or(decoded.null_score);
    // Finite logits can have sums that are not, which no file of JSON can hold.
    let finite = n_best.iter().all(|entry| entry.score.is_finite() && entry.probability.is_finite());
    if !(finite && decoded.null_score.is_finite() && null_odds.is_finite()) {
        return Err(ModelError::NonFinite.into());
    }
    Ok(Prediction {
        id: id.to_owned(),
        text: String::new(),
        null_score: decoded.null_score,
        null_odds,
        n_best,
        windows: decoded.windows,
        seconds: 0.0,
    })
}
