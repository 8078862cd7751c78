//! A question that every model can be asked, to see whether it answers as a model must.

use super::{Answer, AskOptions, Reader, Scorer};
use crate::errors::one_line;
use crate::guard::guard;

/// Short, as it is asked again and again.
const QUESTION: &str = "Who kept the light?";
const TEXT: &str = "Ada Morrow kept the light.";

/// Asks `reader` something, whatever the answer is.
///
/// # Errors
/// If there is none, it is no part of the text, or its scores are not finite or say nothing.
pub fn probe<M: Scorer>(reader: &Reader<M>) -> Result<Answer, String> {
    let options = AskOptions { always_answer: true, ..AskOptions::default() };
    let answer = guard(|| reader.ask(QUESTION, TEXT, &options))?.map_err(|error| one_line(&error))?;
    if ![answer.score, answer.null_score, answer.probability].iter().all(|value| value.is_finite()) {
        return Err("a score is not finite".into());
    }
    if answer.score == answer.null_score {
        return Err("an answer scores exactly as much as none".into());
    }
    match &answer.bytes {
        Some(bytes) if TEXT.get(bytes.clone()) == Some(&*answer.text) => Ok(answer),
        _ => Err("the answer is no part of the text".into()),
    }
}
