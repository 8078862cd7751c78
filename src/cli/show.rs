//! Answers for people.

use std::fmt::{self, Write};
use std::io;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use edgeqa::documents::{DocumentAnswer, Found, Library};
use edgeqa::qa::{Answer, Candidate};

use super::excerpt::{clean, excerpt, shortened};

/// How much of the nearest passage is shown, in characters.
const NEAREST: usize = 240;
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
        // Writing to a string does not fail.
        let _ = self.write(&mut page, answer, ("this text", ""), |candidate, indent, page| {
            self.candidate(page, indent, candidate, text)
        });
        self.finish(page)
    }

    /// The text of the next answer, to a question about the documents of `library`.
    pub fn documents(&mut self, answer: &DocumentAnswer, library: &Library) -> String {
        let mut page = String::new();
        let _ = self.write_documents(&mut page, answer, library);
        self.finish(page)
    }

    fn finish(&mut self, page: String) -> String {
        let page = if std::mem::replace(&mut self.started, true) { format!("\n{page}") } else { page };
        if self.colour { page } else { anstream::adapter::strip_str(&page).to_string() }
    }

    fn write_documents(&self, page: &mut String, answer: &DocumentAnswer, library: &Library) -> fmt::Result {
        let unread = if answer.left_out == 0 {
            "no passage shares a word with the question"
        } else {
            "no passage could be read; the log says why"
        };
        self.write(page, &answer.answer, ("these documents", unread), |found: &Found, indent, page| {
            self.candidate(page, indent, &found.candidate, library.text(&found.file).unwrap_or_default())?;
            writeln!(page, "{:indent$}{}, passage {}", "", clean(&found.file), found.passage)
        })?;
        if let Some(nearest) = &answer.nearest {
            writeln!(page, "  nearest: {}, passage {}", clean(&nearest.file), nearest.passage)?;
            writeln!(page, "  {}", shortened(&nearest.text, NEAREST))?;
        }
        Ok(())
    }

    /// Writes an answer from `place`; `unread` is why nothing of it was read, if that is so. A text always is.
    fn write<C>(
        &self,
        page: &mut String,
        answer: &Answer<C>,
        (place, unread): (&str, &str),
        candidate: impl Fn(&C, usize, &mut String) -> fmt::Result,
    ) -> fmt::Result {
        if self.with_questions {
            writeln!(page, "{QUESTION}{}{QUESTION:#}", clean(&answer.question))?;
        }
        if !answer.answered {
            writeln!(page, "{NONE}No answer in {place}.{NONE:#}")?;
            match (answer.null_odds, answer.null_threshold) {
                (Some(odds), Some(threshold)) => {
                    let advice = "--always-answer shows the best guess";
                    writeln!(page, "  null odds {odds:.2} are above the threshold {threshold:.2} ({advice})")?;
                }
                _ if answer.windows == 0 => writeln!(page, "  {unread}")?,
                _ => writeln!(page, "  there is no candidate")?,
            }
        }
        if self.numbered {
            for (n, found) in answer.candidates.iter().enumerate() {
                let number = format!("{}. ", n + 1);
                page.push_str(&number);
                candidate(found, number.len() + 2, page)?;
            }
        } else if let Some(found) = answer.candidates.first().filter(|_| answer.answered) {
            candidate(found, 2, page)?;
        }
        Ok(())
    }

    fn candidate(&self, page: &mut String, indent: usize, candidate: &Candidate, text: &str) -> fmt::Result {
        writeln!(page, "{HIGHLIGHT}{}{HIGHLIGHT:#}", clean(&candidate.text))?;
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
