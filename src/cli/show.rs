//! Answers for people.

use std::fmt::Write;
use std::io;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use edgeqa::qa::{Answer, Candidate};

use super::excerpt::{clean, excerpt};

const QUESTION: Style = Style::new().dimmed();
const HIGHLIGHT: Style = AnsiColor::Green.on_default().bold();
const NONE: Style = AnsiColor::Yellow.on_default();

/// How answers look on this standard output: in colour on a terminal, unless NO_COLOR forbids it; else the answer is in
/// brackets where it stands in the text.
pub struct Page {
    colour: bool,
    with_questions: bool,
    numbered: bool,
    started: bool,
}

impl Page {
    /// A page that repeats each question if `with_questions`, and lists all candidates if `numbered`.
    pub fn new(with_questions: bool, numbered: bool) -> Self {
        let colour = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
        Self { colour, with_questions, numbered, started: false }
    }

    /// The text of the next answer, to a question about `text`.
    pub fn answer(&mut self, answer: &Answer, text: &str) -> String {
        let mut page = String::new();
        if std::mem::replace(&mut self.started, true) {
            page.push('\n');
        }
        // Writing to a string does not fail.
        let _ = self.write(&mut page, answer, text);
        if self.colour { page } else { anstream::adapter::strip_str(&page).to_string() }
    }

    fn write(&self, page: &mut String, answer: &Answer, text: &str) -> std::fmt::Result {
        if self.with_questions {
            writeln!(page, "{QUESTION}{}{QUESTION:#}", clean(&answer.question))?;
        }
        if !answer.answered {
            writeln!(page, "{NONE}No answer in this text.{NONE:#}")?;
            match (answer.null_odds, answer.null_threshold) {
                (Some(odds), Some(threshold)) => {
                    writeln!(page, "  null odds {odds:.2} are above the threshold {threshold:.2}")?;
                }
                _ => writeln!(page, "  there is no candidate")?,
            }
        }
        if self.numbered {
            for (n, candidate) in answer.candidates.iter().enumerate() {
                self.candidate(page, &format!("{}. ", n + 1), candidate, text)?;
            }
        } else if let Some(candidate) = answer.candidates.first().filter(|_| answer.answered) {
            self.candidate(page, "", candidate, text)?;
        }
        Ok(())
    }

    fn candidate(&self, page: &mut String, number: &str, candidate: &Candidate, text: &str) -> std::fmt::Result {
        let indent = number.len() + 2;
        writeln!(page, "{number}{HIGHLIGHT}{}{HIGHLIGHT:#}", clean(&candidate.text))?;
        let (score, percent) = (candidate.score, 100.0 * candidate.probability);
        writeln!(page, "{:indent$}score {score:.2}, probability {percent:.1} %", "")?;
        let around = excerpt(text, candidate.bytes.clone());
        let (open, close) = if self.colour { ("", "") } else { ("[", "]") };
        writeln!(
            page,
            "{:indent$}{}{open}{HIGHLIGHT}{}{HIGHLIGHT:#}{close}{}",
            "", around.before, around.span, around.after
        )
    }
}
