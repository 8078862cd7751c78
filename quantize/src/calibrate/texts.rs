//! Calibration text: passages, each with the questions that follow it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use edgeqa::documents::encoding::{BYTE_ORDER_MARK, decode};
use edgeqa::qa::AskOptions;
use edgeqa::tokenizer::{QaTokenizer, TokenizerError, Window};

/// Passages with questions about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// Where they come from, for people.
    pub name: String,
    /// Question and passage.
    pub pairs: Vec<(String, String)>,
}

/// Sequences used at most: beyond these, more text changes the statistics little and costs time.
const MAX_WINDOWS: usize = 256;

/// Tokens that a text to calibrate with must give: of fewer, what is fitted to them fits nothing else.
const MIN_TOKENS: usize = 500;

/// Tokens of a piece of a passage, special tokens included.
const PIECE: usize = 32;

impl Texts {
    /// The text that comes with the tool: sixteen short passages on different subjects, written for it.
    pub fn own() -> Self {
        Self { name: "the tool's own text".into(), pairs: pairs(include_str!("../../calibration/default.txt")) }
    }

    /// Reads a UTF-8 text file. Paragraphs are separated by empty lines. One that ends with a question mark and takes up a single
    /// line is a question about the passage before it; a passage without questions is asked its own first words.
    ///
    /// # Errors
    /// If the file cannot be read or holds no passage.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let bytes = fs::read(path).with_context(|| format!("cannot read {name}"))?;
        let text = decode(bytes).map_err(|problem| anyhow!("{name} is {}", problem.of_file(&name)))?;
        let pairs = pairs(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text));
        ensure!(!pairs.is_empty(), "{name} holds no text to calibrate with");
        Ok(Self { name, pairs })
    }

    /// The [`windows`](Texts::windows) to calibrate with.
    ///
    /// # Errors
    /// If there are too few tokens to calibrate with, or the tokenizer fails.
    pub fn calibration_windows(&self, tokenizer: &QaTokenizer, max_positions: usize) -> anyhow::Result<Vec<Window>> {
        let windows = self.windows(tokenizer, max_positions)?;
        let tokens = self.tokens(tokenizer)?;
        ensure!(
            tokens >= MIN_TOKENS,
            "{} gives {tokens} tokens to calibrate with, but int8 loses accuracy with fewer than {MIN_TOKENS}; give a longer text with \
             --calibrate, leave that out for the text that comes with the tool, or use --no-calibration",
            self.name
        );
        Ok(windows)
    }

    /// Tokens of all passages and questions, each counted once.
    fn tokens(&self, tokenizer: &QaTokenizer) -> Result<usize, TokenizerError> {
        let texts: BTreeSet<&str> =
            self.pairs.iter().flat_map(|(question, passage)| [&**question, &**passage]).collect();
        let tokens = texts.into_iter().map(|text| match tokenizer.context(text) {
            Err(TokenizerError::Empty { .. }) => Ok(0),
            tokens => tokens.map(|tokens| tokens.len()),
        });
        tokens.sum()
    }

    /// The sequences for the model, at most 256, evenly spread over the text: passages as they are for every other question, and in
    /// pieces for those in between, because users ask about short texts, too.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn windows(&self, tokenizer: &QaTokenizer, max_positions: usize) -> anyhow::Result<Vec<Window>> {
        let longest = AskOptions::MAX_SEQ_LEN.min(max_positions);
        let mut windows = Vec::new();
        for (i, (question, passage)) in self.pairs.iter().enumerate() {
            let (question, context) = match (tokenizer.question(question), tokenizer.context(passage)) {
                // Nothing but signs that the model does not know, say.
                (Err(TokenizerError::Empty { .. }), _) | (_, Err(TokenizerError::Empty { .. })) => continue,
                (question, context) => (question?, context?),
            };
            let longest = if i % 2 == 0 { longest } else { longest.min(question.len() + PIECE) };
            let room = tokenizer.room(&question, longest);
            // A question that leaves no room for text is no use here.
            if let Ok(all) = tokenizer.windows(&question, &context, longest, AskOptions::DOC_STRIDE.min(room / 4)) {
                windows.extend(all.iter().collect::<Result<Vec<_>, _>>()?);
            }
        }
        ensure!(!windows.is_empty(), "{} gives no sequence of at most {longest} tokens", self.name);
        let step = windows.len().div_ceil(MAX_WINDOWS);
        Ok(windows.into_iter().step_by(step).collect())
    }
}

fn pairs(text: &str) -> Vec<(String, String)> {
    // Lines of blanks look empty, and are.
    let lines: Vec<&str> = text.lines().map(|line| if line.trim().is_empty() { "" } else { line }).collect();
    let text = lines.join("\n");
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut passage: Option<(&str, bool)> = None;
    let unasked = |passage: &str| {
        let words: Vec<&str> = passage.split_whitespace().take(8).collect();
        (format!("{}?", words.join(" ")), passage.to_owned())
    };
    for paragraph in text.split("\n\n").map(str::trim).filter(|p| !p.is_empty()) {
        let is_question = paragraph.ends_with('?') && !paragraph.contains('\n');
        match &mut passage {
            Some((passage, asked)) if is_question => {
                pairs.push((paragraph.to_owned(), (*passage).to_owned()));
                *asked = true;
            }
            _ => {
                pairs.extend(passage.filter(|(_, asked)| !asked).map(|(passage, _)| unasked(passage)));
                passage = Some((paragraph, false));
            }
        }
    }
    pairs.extend(passage.filter(|(_, asked)| !asked).map(|(passage, _)| unasked(passage)));
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_belong_to_the_passage_before_them() {
        let text = "One passage\nof two lines.\n\nWhat is it?\n\nWhy?\r\n\r\nAn unasked passage of some nine or more words.\n \t\n\n\nLast.\n\nEnd?";
        let want = [
            ("What is it?", "One passage\nof two lines."),
            ("Why?", "One passage\nof two lines."),
            ("An unasked passage of some nine or more?", "An unasked passage of some nine or more words."),
            ("End?", "Last."),
        ];
        let pairs = pairs(text);
        assert_eq!(pairs.iter().map(|(q, p)| (q.as_str(), p.as_str())).collect::<Vec<_>>(), want);
        assert!(super::pairs(" \n\n \n").is_empty());
    }

    #[test]
    fn another_encoding_is_named_with_a_way_to_convert_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cp1252.txt");
        fs::write(&path, b"caf\xe9").expect("written");
        let error = Texts::read(&path).expect_err("no text").to_string();
        let name = path.display();
        let advice = format!("`iconv -f WINDOWS-1252 -t UTF-8 {name} > NEW`");
        assert!(
            error.starts_with(&format!("{name} is not UTF-8: byte 3 is 0xE9; ")) && error.ends_with(&advice),
            "{error}"
        );
    }

    #[test]
    fn the_own_text_has_questions_on_every_passage() {
        let texts = Texts::own();
        assert!(texts.pairs.iter().all(|(question, passage)| question.ends_with('?') && passage.len() > 300));
        let passages: BTreeSet<_> = texts.pairs.iter().map(|(_, passage)| passage).collect();
        assert_eq!((texts.pairs.len(), passages.len()), (39, 16));
    }

    #[test]
    fn a_byte_order_mark_is_no_text() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("marked.txt");
        fs::write(&path, "\u{feff}The keeper.\n\nWho?").expect("written");
        assert_eq!(Texts::read(&path).expect("a text").pairs, [("Who?".to_owned(), "The keeper.".to_owned())]);
    }

    #[test]
    fn sequences_are_so_many_at_most() {
        let json = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/exports/tokenizer.json"));
        let tokenizer = QaTokenizer::from_json(&json.expect("a tokenizer"), 1 << 20).expect("sound");
        let texts = Texts { name: "x".into(), pairs: vec![("who is it".to_owned(), "the keeper".to_owned()); 600] };
        let windows = texts.windows(&tokenizer, 512).expect("sequences");
        assert_eq!(windows.len(), 200);
    }
}
