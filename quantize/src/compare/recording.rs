//! The logits of all windows of all questions, in memory, and answers made of them again.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};
use edgeqa::eval::{Observer, Prediction, evaluate_with};
use edgeqa::model::{Logits, ModelError};
use edgeqa::qa::Scorer;
use edgeqa::tokenizer::Window;

use super::Task;

/// The logits of every window of a selection of questions, in order, and how long each question took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    start: Vec<f32>,
    end: Vec<f32>,
    window_len: Vec<u32>,
    windows: Vec<u32>,
    seconds: Vec<f64>,
    /// Per question the index of its first window.
    first_window: Vec<usize>,
    /// Per window the index of its first token.
    first_token: Vec<usize>,
}

impl Recording {
    /// A recording of the logits `start` and `end` of all windows one after the other, `window_len` tokens each, of which each
    /// question has `windows`; a question took `seconds`.
    ///
    /// # Errors
    /// If these do not fit together, a question has no window, a window no token, or a number is not finite.
    pub fn new(
        start: Vec<f32>,
        end: Vec<f32>,
        window_len: Vec<u32>,
        windows: Vec<u32>,
        seconds: Vec<f64>,
    ) -> anyhow::Result<Self> {
        let (first_window, window_count) = offsets(&windows).context("a question without windows")?;
        let (first_token, tokens) = offsets(&window_len).context("a window without tokens")?;
        let counts = [("windows", window_len.len(), window_count), ("seconds", seconds.len(), windows.len())];
        let counts = counts.into_iter().chain([("start", start.len(), tokens), ("end", end.len(), tokens)]);
        for (name, found, expected) in counts {
            ensure!(found == expected, "{found} entries of {name} instead of {expected}");
        }
        ensure!(start.iter().chain(&end).all(|logit| logit.is_finite()), "a logit is not finite");
        ensure!(seconds.iter().all(|s| s.is_finite() && *s >= 0.0), "a time is negative or not finite");
        Ok(Self { start, end, window_len, windows, seconds, first_window, first_token })
    }

    /// Lets `model` score the questions of `task`, and returns the predictions and the logits that they were made of.
    ///
    /// # Errors
    /// Those of [`evaluate_with`], and if the model returns another number of logits than there are tokens.
    pub fn make<M: Scorer + Sync>(
        model: &(impl Scorer + Sync),
        task: &Task<'_, M>,
        observer: &impl Observer,
    ) -> anyhow::Result<(Vec<Prediction>, Self)> {
        let recorder = Recorder { observer, seen: Mutex::new(vec![Vec::new(); task.dataset.question_count()]) };
        let score = |_, _, window: &Window| {
            let logits = model.window(window)?;
            checked(logits, window)
        };
        let predictions = evaluate_with(task.reader, task.dataset, task.options, task.threads, score, &recorder)?;
        let seen = recorder.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        let windows = || seen.iter().flatten();
        let recording = Self::new(
            windows().flat_map(|logits| &logits.start).copied().collect(),
            windows().flat_map(|logits| &logits.end).copied().collect(),
            windows().map(|logits| logits.start.len() as u32).collect(),
            seen.iter().map(|windows| windows.len() as u32).collect(),
            predictions.iter().map(|prediction| prediction.seconds).collect(),
        )?;
        Ok((predictions, recording))
    }

    /// The predictions that these logits give, with the recorded times. Threshold and longest answer may be others than those of
    /// the recording; tokens and windows may not.
    ///
    /// # Errors
    /// Those of [`evaluate_with`], and if this is a recording of other windows.
    pub fn replay<M: Scorer + Sync>(&self, task: &Task<'_, M>) -> anyhow::Result<Vec<Prediction>> {
        let questions = task.dataset.question_count();
        ensure!(self.windows.len() == questions, "a recording of {} questions, not of {questions}", self.windows.len());
        let score = |question, index, window: &Window| {
            let (start, end) = self.window(question, index).unwrap_or_default();
            checked(Logits { start: start.to_vec(), end: end.to_vec() }, window)
        };
        let mut predictions = evaluate_with(task.reader, task.dataset, task.options, task.threads, score, &())?;
        for ((prediction, &windows), &seconds) in predictions.iter_mut().zip(&self.windows).zip(&self.seconds) {
            let (id, found) = (&prediction.id, prediction.windows);
            ensure!(found == windows as usize, "a recording of {windows} windows of question {id:?}, not of {found}");
            prediction.seconds = seconds;
        }
        Ok(predictions)
    }

    /// Start and end logits of a window of a question, both counted from 0.
    pub fn window(&self, question: usize, index: usize) -> Option<(&[f32], &[f32])> {
        if index >= *self.windows.get(question)? as usize {
            return None;
        }
        let window = self.first_window.get(question)? + index;
        let first = *self.first_token.get(window)?;
        let tokens = first..first + *self.window_len.get(window)? as usize;
        Some((self.start.get(tokens.clone())?, self.end.get(tokens)?))
    }

    /// Start logits of all windows.
    pub fn start(&self) -> &[f32] {
        &self.start
    }

    /// End logits of all windows.
    pub fn end(&self) -> &[f32] {
        &self.end
    }

    /// Tokens per window.
    pub fn window_len(&self) -> &[u32] {
        &self.window_len
    }

    /// Windows per question.
    pub fn windows(&self) -> &[u32] {
        &self.windows
    }

    /// Seconds per question, each on one thread.
    pub fn seconds(&self) -> &[f64] {
        &self.seconds
    }
}

/// Where parts of these lengths begin, and where the last ends. `None` if a part is empty.
fn offsets(lengths: &[u32]) -> Option<(Vec<usize>, usize)> {
    let (mut starts, mut end) = (Vec::with_capacity(lengths.len()), 0usize);
    for &length in lengths {
        starts.push(end);
        end = end.checked_add(usize::try_from(length).ok().filter(|length| *length > 0)?)?;
    }
    Some((starts, end))
}

/// These logits, if there is one start and one end logit per token of `window`.
pub(super) fn checked(logits: Logits, window: &Window) -> Result<Logits, ModelError> {
    let (tokens, start, end) = (window.ids.len(), logits.start.len(), logits.end.len());
    if start == tokens && end == tokens {
        return Ok(logits);
    }
    let problem = format!("{start} start and {end} end logits for a window of {tokens} tokens");
    Err(ModelError::Evaluation(anyhow::Error::msg(problem)))
}

/// Keeps the logits per question.
struct Recorder<'a, O> {
    observer: &'a O,
    seen: Mutex<Vec<Vec<Logits>>>,
}

impl<O: Observer> Observer for Recorder<'_, O> {
    fn window(&self, question: usize, logits: &Logits) {
        self.observer.window(question, logits);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(windows) = seen.get_mut(question) {
            windows.push(logits.clone());
        }
    }

    fn answered(&self, done: usize, all: usize) {
        self.observer.answered(done, all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_found_and_no_others() {
        let logits: Vec<f32> = (0..6).map(|x| x as f32).collect();
        let negated: Vec<f32> = logits.iter().map(|x| -x).collect();
        let recording = Recording::new(logits, negated, vec![3, 1, 2], vec![1, 2], vec![0.5; 2]).expect("fits");
        assert_eq!(recording.window(0, 0), Some((&[0.0, 1.0, 2.0][..], &[-0.0, -1.0, -2.0][..])));
        assert_eq!(recording.window(1, 0), Some((&[3.0][..], &[-3.0][..])));
        assert_eq!(recording.window(1, 1), Some((&[4.0, 5.0][..], &[-4.0, -5.0][..])));
        assert_eq!((recording.window(0, 1), recording.window(1, 2), recording.window(2, 0)), (None, None, None));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let new = |tokens: usize, window_len: &[u32], windows: &[u32], seconds: &[f64]| {
            let logits = vec![0.0; tokens];
            Recording::new(logits.clone(), logits, window_len.into(), windows.into(), seconds.into())
                .map_or_else(|error| format!("{error:#}"), |_| String::new())
        };
        assert_eq!(new(3, &[1, 2], &[2], &[0.1]), "");
        assert!(new(4, &[1, 2], &[2], &[0.1]).contains("4 entries of start instead of 3"));
        assert!(new(3, &[1, 2], &[1], &[0.1]).contains("2 entries of windows instead of 1"));
        assert!(new(3, &[1, 2], &[2], &[]).contains("0 entries of seconds instead of 1"));
        assert!(new(3, &[3, 0], &[2], &[0.1]).contains("without tokens"));
        assert!(new(3, &[3], &[1, 0], &[0.1; 2]).contains("without windows"));
        assert!(new(3, &[3], &[1], &[f64::NAN]).contains("a time"));
        assert!(new(3, &[u32::MAX; 2], &[2], &[0.1]).contains("start"));
        let error = Recording::new(vec![f32::INFINITY], vec![0.0], vec![1], vec![1], vec![0.0]).expect_err("infinite");
        assert!(error.to_string().contains("finite"));
    }
}
