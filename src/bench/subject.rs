//! What is measured: the model, what is run of it, and the program; their files, and how to read them from the disk again.

use std::fs::File;
use std::io::IoSliceMut;
use std::path::Path;

use rustix::io::{ReadWriteFlags, preadv2};
use sha2::{Digest, Sha256};

use super::BenchError;
use super::measure::Work;
use super::record::{Model, Program};
use super::run::{LENGTHS, Plan, QUESTIONS};
use crate::artifact::Artifact;
use crate::checksum;
use crate::config::ModelConfig;
use crate::memory::drop_cached;
use crate::qa::{AskOptions, QaError};
use crate::shown::clean;
use crate::tokenizer::{QaTokenizer, TokenizerError};

/// Characters of a question in errors.
const SHOWN: usize = 80;

/// What is measured: the model's shapes, the bytes of its encoder, the model, and what is run for every length.
type Subject = (ModelConfig, usize, Model, Vec<(usize, Work)>);

/// Makes ready what `plan` wants measured.
pub fn prepare(plan: &Plan) -> anyhow::Result<Subject> {
    let path = &plan.model;
    let artifact = Artifact::open(path).map_err(QaError::of_file(path))?;
    let config = &artifact.metadata().config;
    let tokenizer = QaTokenizer::from_artifact(&artifact)?;
    let max = config.max_positions;
    let window = AskOptions::default().longest_window(max);
    for question in &plan.questions {
        check(&tokenizer, question, window).map_err(|problem| BenchError::Question {
            question: clean(question).chars().take(SHOWN).collect(),
            problem,
        })?;
    }
    let question = tokenizer.question(plan.questions.first().map_or(QUESTIONS[0], String::as_str))?;
    let min = max - tokenizer.needed_room(&question, max)? + 1;
    let lengths = match &plan.lengths[..] {
        [] => usual(min, max),
        given => given.to_vec(),
    };
    if let Some(&length) = lengths.iter().find(|length| !(min..=max).contains(*length)) {
        return Err(BenchError::Length { length, min, max }.into());
    }
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let mut text = plan.text.clone();
    let mut context = tokenizer.context(&text)?;
    while context.len() < longest {
        text = format!("{text} ").repeat(longest / context.len().max(1) + 1);
        context = tokenizer.context(&text)?;
    }
    let window = |&length: &usize| -> anyhow::Result<(usize, Work)> {
        let window = tokenizer.windows(&question, &context, length, 0)?.get(0)?;
        let types = window.types_for(config).map(<[i64]>::to_vec);
        Ok((window.ids.len(), Work::Sequence { ids: window.ids, types }))
    };
    let windows = lengths.iter().map(window).collect::<Result<_, _>>()?;
    let (bytes, sha256) = sum(path)?;
    let shape = format!("{} layers of {}, {} heads", config.num_layers, config.hidden_size, config.num_heads);
    let data_sha256 = Some(artifact.data_sha256().to_owned());
    let model = Model { file: path.to_string_lossy().into_owned(), bytes, sha256, data_sha256, shape };
    Ok((config.clone(), artifact.encoder().len(), model, windows))
}

/// Makes sure that `question` leaves room for a text in windows of `max_seq_len` tokens, which is no option here.
fn check(tokenizer: &QaTokenizer, question: &str, max_seq_len: usize) -> Result<(), String> {
    let tokens = tokenizer.question(question).map_err(|error| error.to_string())?;
    tokenizer.needed_room(&tokens, max_seq_len).map(drop).map_err(|error| match error {
        TokenizerError::QuestionTooLong { question, special, max_seq_len } => format!(
            "it has {question} tokens, which with {special} special tokens leaves no room for the text in a window of {max_seq_len} tokens; \
             shorten it"
        ),
        error => error.to_string(),
    })
}

/// The lengths from `min` to `max` that are measured unless others are asked for.
fn usual(min: usize, max: usize) -> Vec<usize> {
    let possible: Vec<usize> = LENGTHS.into_iter().filter(|length| (min..=max).contains(length)).collect();
    if possible.is_empty() { vec![max] } else { possible }
}

pub fn program(path: &Path) -> Result<Program, BenchError> {
    let (bytes, sha256) = sum(path)?;
    Ok(Program { version: env!("CARGO_PKG_VERSION").into(), target: crate::target(), bytes, sha256 })
}

fn sum(path: &Path) -> Result<(u64, String), BenchError> {
    checksum::of_file(path).map_err(|source| BenchError::Read { path: path.to_owned(), source })
}

/// The checksum of a text.
pub fn sum_of_text(text: &str) -> String {
    checksum::hex(&Sha256::digest(text))
}

/// Makes the next process read the model from the disk. Why not, if that cannot be made sure.
pub fn drop_model(path: &Path) -> Option<String> {
    if let Err(error) = drop_cached(path) {
        return Some(format!("the model could not be dropped from the page cache: {error}"));
    }
    let note = match cached(path) {
        Some(share) if share > 0.1 => Some(format!(
            "{:.0} % of the model stayed in the page cache; another process maps it, or its file system has no disk",
            100.0 * share
        )),
        Some(_) => None,
        None => Some("the system does not tell whether the model is in the page cache".into()),
    };
    // Looking brings the pages that were looked at.
    let _ = drop_cached(path);
    note
}

/// How much of the file at `path` is in the page cache, judged by 64 pages. `None` if the system does not tell.
fn cached(path: &Path) -> Option<f64> {
    const PAGES: u64 = 64;
    let file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    // Lest looking at one page brings those behind it.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random);
    let mut found = 0;
    for page in 0..PAGES {
        let mut byte = [0];
        match preadv2(&file, &mut [IoSliceMut::new(&mut byte)], length / PAGES * page, ReadWriteFlags::NOWAIT) {
            Ok(_) => found += 1,
            Err(rustix::io::Errno::AGAIN) => {}
            Err(_) => return None,
        }
    }
    Some(found as f64 / PAGES as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_lengths_are_those_that_the_model_takes_of_the_question() {
        assert_eq!(usual(10, 512), LENGTHS);
        assert_eq!(usual(33, 256), [64, 128, 256]);
        assert_eq!(usual(10, 20), [20]);
        assert_eq!(usual(500, 512), [512]);
    }
}
