//! Scoring all windows of a task in the order of their lengths.
//!
//! tract needs a plan per length for some graphs, and making one takes longer than using it: in this order each is made once.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, anyhow, ensure};
use edgeqa::eval::workers::on_threads;
use edgeqa::eval::{EvalError, Observer, evaluate_with};
use edgeqa::model::{Logits, ModelError};
use edgeqa::qa::{QaError, Scorer};
use edgeqa::tokenizer::{TokenizerError, Window};

use super::recording::checked;
use super::{Recording, Task};

/// A window of a question, both counted from 0. Its offsets are not kept.
struct Piece {
    question: usize,
    index: usize,
    window: Window,
}

/// The logits of one piece and the time they took.
type Scored = Result<(Logits, f64), ModelError>;

/// Lets `model` score all windows of `task`, the longest first. A question's time is that of its windows, without tokenizing.
///
/// # Errors
/// If a question has no windows, the model fails, or the system starts no more threads.
pub fn record<M: Scorer + Sync>(
    model: &(impl Scorer + Sync),
    task: &Task<'_, M>,
    observer: &impl Observer,
) -> anyhow::Result<Recording> {
    let pieces = pieces(task)?;
    let mut scored: BTreeMap<(usize, usize), Scored> = BTreeMap::new();
    for (position, result) in score(model, &pieces, task, observer)? {
        if let Some(piece) = pieces.get(position) {
            scored.insert((piece.question, piece.index), result);
        }
    }
    let questions: Vec<&str> = task.dataset.questions().map(|question| question.id.as_str()).collect();
    let (mut windows, mut seconds) = (vec![0u32; questions.len()], vec![0.0; questions.len()]);
    let (mut start, mut end, mut window_len) = (Vec::new(), Vec::new(), Vec::new());
    for ((question, _), result) in scored {
        let id = questions.get(question).copied().unwrap_or_default();
        let (logits, time) = result.with_context(|| format!("question {id:?}"))?;
        if let (Some(windows), Some(seconds)) = (windows.get_mut(question), seconds.get_mut(question)) {
            *windows += 1;
            *seconds += time;
        }
        window_len.push(logits.start.len() as u32);
        start.extend(logits.start);
        end.extend(logits.end);
    }
    ensure!(window_len.len() == pieces.len(), "{} of {} windows were scored", window_len.len(), pieces.len());
    Recording::new(start, end, window_len, windows, seconds)
}

/// All windows, the longest first.
fn pieces<M: Scorer + Sync>(task: &Task<'_, M>) -> anyhow::Result<Vec<Piece>> {
    let pieces = Mutex::new(Vec::new());
    let collect = |question, index, window: &Window| {
        let tokens = window.ids.len();
        let window = Window { ids: window.ids.clone(), type_ids: window.type_ids.clone(), offsets: Vec::new() };
        pieces.lock().unwrap_or_else(PoisonError::into_inner).push(Piece { question, index, window });
        Ok(Logits { start: vec![0.0; tokens], end: vec![0.0; tokens] })
    };
    evaluate_with(task.reader, task.dataset, task.options, task.threads, collect, &()).map_err(advised)?;
    let mut pieces = pieces.into_inner().unwrap_or_else(PoisonError::into_inner);
    pieces.sort_unstable_by_key(|piece| (usize::MAX - piece.window.ids.len(), piece.question, piece.index));
    Ok(pieces)
}

/// The error with what can be done here, where windows are as long as they get.
fn advised(error: EvalError) -> anyhow::Error {
    if let EvalError::Question { id, place, file, source } = &error
        && let QaError::Tokenizer(TokenizerError::QuestionTooLong { question, special, max_seq_len }) = source.as_ref()
    {
        return anyhow!(
            "cannot answer question {id:?} ({place} of {file}): it has {question} tokens, which with {special} special tokens leaves no room \
             for the text in a window of {max_seq_len} tokens; shorten it, or leave it out of the file"
        );
    }
    error.into()
}

/// Scores pieces in order, until one fails. Returns each with its position.
fn score<M>(
    model: &(impl Scorer + Sync),
    pieces: &[Piece],
    task: &Task<'_, M>,
    observer: &impl Observer,
) -> anyhow::Result<Vec<(usize, Scored)>> {
    let questions = task.dataset.question_count();
    let left: Vec<AtomicUsize> = (0..questions).map(|_| AtomicUsize::new(0)).collect();
    for piece in pieces {
        left.get(piece.question).map(|left| left.fetch_add(1, Ordering::Relaxed));
    }
    let (next, done, stop) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let mut scored = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let position = next.fetch_add(1, Ordering::Relaxed);
            let Some(Piece { question, window, .. }) = pieces.get(position) else { break };
            let started = Instant::now();
            let result = model.window(window).and_then(|logits| checked(logits, window));
            let seconds = started.elapsed().as_secs_f64();
            match &result {
                Ok(logits) => observer.window(*question, logits),
                Err(_) => stop.store(true, Ordering::Relaxed),
            }
            if left.get(*question).is_some_and(|left| left.fetch_sub(1, Ordering::Relaxed) == 1) && result.is_ok() {
                observer.answered(done.fetch_add(1, Ordering::Relaxed) + 1, questions);
            }
            scored.push((position, result.map(|logits| (logits, seconds))));
        }
        scored
    };
    let threads = task.threads.min(NonZeroUsize::new(pieces.len()).unwrap_or(NonZeroUsize::MIN)).get();
    Ok(on_threads(threads, &stop, work)?)
}
