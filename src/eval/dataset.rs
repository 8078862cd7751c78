//! Questions with known answers, from files in the format of SQuAD 1.1 or 2.0:
//!
//! ```json
//! {"data": [{"paragraphs": [{"context": "...", "qas": [
//!     {"id": "...", "question": "...", "answers": [{"text": "..."}]}
//! ]}]}]}
//! ```
//!
//! Other fields are ignored, `version`, `title`, `answer_start` and `is_impossible` among them: the official scorer takes a
//! question for unanswerable if and only if its list of answers is empty, and so does this module.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::EvalError;
use super::random::Random;
use crate::checksum::hex;
use crate::documents::encoding::{decode, without_mark};
use crate::object::Object;

const EXPECTED: &str = "a file in the format of SQuAD 1.1 or 2.0";

/// Texts with questions, in the order of the file.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The file's name, for messages.
    pub file: String,
    /// Checksum of the whole file.
    pub sha256: String,
    /// Paragraphs with at least one question each.
    pub paragraphs: Vec<Paragraph>,
    /// What was drawn; `None` if this is the whole file.
    pub subset: Option<Subset>,
}

/// A text and the questions about it.
#[derive(Clone, Debug)]
pub struct Paragraph {
    /// The text.
    pub context: String,
    /// Questions about it.
    pub questions: Vec<Question>,
}

/// A question with its right answers.
#[derive(Clone, Debug)]
pub struct Question {
    /// Name of the question, unique in the file.
    pub id: String,
    /// The question itself.
    pub text: String,
    /// Texts that are right; none if the paragraph does not answer the question.
    pub golds: Vec<String>,
    /// Where the question stands in the file.
    pub place: Place,
}

impl Question {
    /// Whether there is an answer, as the official scorer decides it.
    pub fn has_answer(&self) -> bool {
        !self.golds.is_empty()
    }
}

/// Where a question stands in the file; shown as a JSON path, e.g. `data[0].paragraphs[3].qas[1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index of the article.
    pub article: usize,
    /// Index of the paragraph in it.
    pub paragraph: usize,
    /// Index of the question in that.
    pub question: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "data[{}].paragraphs[{}].qas[{}]", self.article, self.paragraph, self.question)
    }
}

/// How a part of a file was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Subset {
    /// Number of questions asked for. Whole paragraphs are drawn, so there can be more.
    pub limit: usize,
    /// Seed of the draw.
    pub seed: u64,
    /// Questions in the file.
    pub of_questions: usize,
    /// Paragraphs with questions in the file.
    pub of_paragraphs: usize,
}

impl Dataset {
    /// Reads a file.
    ///
    /// # Errors
    /// [`EvalError::Io`] if it cannot be read; otherwise as [`Dataset::parse`].
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        Self::parse(&path.display().to_string(), &read(path)?)
    }

    /// Reads the content of a file called `file`.
    ///
    /// # Errors
    /// [`EvalError::Json`] with the JSON path, line and column of the first fault; [`EvalError::EmptyId`],
    /// [`EvalError::DuplicateId`] or [`EvalError::NoQuestion`].
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, EvalError> {
        let Object(content) = parse::<Object<File>>(file, bytes, EXPECTED)?;
        let mut paragraphs = Vec::new();
        for (article, Object(Article { paragraphs: parts })) in content.data.into_iter().enumerate() {
            for (paragraph, Object(Part { context, qas })) in parts.into_iter().enumerate() {
                let place = |question| Place { article, paragraph, question };
                let questions: Vec<_> =
                    qas.into_iter().enumerate().map(|(question, Object(qa))| qa.at(place(question))).collect();
                if !questions.is_empty() {
                    paragraphs.push(Paragraph { context, questions });
                }
            }
        }
        let dataset = Self { file: file.to_owned(), sha256: hex(&Sha256::digest(bytes)), paragraphs, subset: None };
        dataset.check()?;
        Ok(dataset)
    }

    fn check(&self) -> Result<(), EvalError> {
        let mut places = HashMap::new();
        for question in self.questions() {
            let (file, place) = (self.file.clone(), question.place);
            if question.id.is_empty() {
                return Err(EvalError::EmptyId { file, place });
            }
            if let Some(first) = places.insert(question.id.as_str(), place) {
                return Err(EvalError::DuplicateId { file, id: question.id.clone(), first, second: place });
            }
        }
        if places.is_empty() { Err(EvalError::NoQuestion { file: self.file.clone() }) } else { Ok(()) }
    }

    /// All questions, in order.
    pub fn questions(&self) -> impl Iterator<Item = &Question> {
        self.paragraphs.iter().flat_map(|paragraph| &paragraph.questions)
    }

    /// Number of questions.
    pub fn question_count(&self) -> usize {
        self.paragraphs.iter().map(|paragraph| paragraph.questions.len()).sum()
    }

    /// A random part of the dataset: paragraphs are drawn, with all of their questions, until there are at least `limit`
    /// questions, and then put back into the order of the file. At least one paragraph is drawn.
    ///
    /// The draw is a Fisher-Yates shuffle from the front, with splitmix64 started at `seed` and without bias, so the same
    /// seed gives the same part everywhere, and a part with a lower limit is contained in one with a higher.
    pub fn sample(&self, limit: usize, seed: u64) -> Self {
        let mut random = Random(seed);
        let mut order: Vec<usize> = (0..self.paragraphs.len()).collect();
        let (mut drawn, mut questions) = (0, 0);
        while drawn < order.len() && (drawn == 0 || questions < limit) {
            let other = drawn + random.below((order.len() - drawn) as u64) as usize;
            order.swap(drawn, other);
            questions += self.paragraphs[order[drawn]].questions.len();
            drawn += 1;
        }
        order.truncate(drawn);
        order.sort_unstable();
        let (of_questions, of_paragraphs) = (self.question_count(), self.paragraphs.len());
        Self {
            file: self.file.clone(),
            sha256: self.sha256.clone(),
            paragraphs: order.iter().map(|&index| self.paragraphs[index].clone()).collect(),
            subset: (drawn < of_paragraphs).then_some(Subset { limit, seed, of_questions, of_paragraphs }),
        }
    }
}

#[derive(Deserialize)]
struct File {
    data: Vec<Object<Article>>,
}

#[derive(Deserialize)]
struct Article {
    paragraphs: Vec<Object<Part>>,
}

#[derive(Deserialize)]
struct Part {
    context: String,
    qas: Vec<Object<Qa>>,
}

#[derive(Deserialize)]
struct Qa {
    id: String,
    question: String,
    answers: Vec<Object<Gold>>,
}

#[derive(Deserialize)]
struct Gold {
    text: String,
}

impl Qa {
    fn at(self, place: Place) -> Question {
        let golds = self.answers.into_iter().map(|Object(gold)| gold.text).collect();
        Question { id: self.id, text: self.question, golds, place }
    }
}

/// The bytes of a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, EvalError> {
    fs::read(path).map_err(|source| EvalError::Io { action: "read", path: path.to_owned(), source })
}

/// Parses JSON, with or without a byte order mark. An error names the file, the JSON path, line and column, and what was
/// `expected`.
pub(super) fn parse<T: DeserializeOwned>(file: &str, bytes: &[u8], expected: &'static str) -> Result<T, EvalError> {
    let fault = |problem: String| EvalError::Json { file: file.to_owned(), problem, expected };
    // JSON of another encoding is told as such. A copy of it is made only for that.
    if std::str::from_utf8(bytes).is_err()
        && let Err(problem) = decode(bytes.to_vec())
    {
        return Err(fault(format!("it is {}", problem.of_file(file))));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(without_mark(bytes));
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|e| fault(e.to_string()))?;
    deserializer.end().map_err(|e| fault(e.to_string()))?;
    Ok(value)
}
