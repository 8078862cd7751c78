//! Reading questions and texts.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use edgeqa::documents::encoding::{self, BYTE_ORDER_MARK};
use edgeqa::documents::{Library, LibraryOptions, left_out};
use edgeqa::shown::clean;

use super::args::AskArgs;
use super::usage_error;

const WAYS: &str = "\
there is no text to answer from; give it in one of these ways:
  --context-file FILE   a UTF-8 file
  --context TEXT        the text itself
  --docs DIR            a folder of .txt and .md files
  ... < FILE            standard input";

const TWICE: &str = "\
standard input cannot be both the questions and the text to answer from; give the questions as a
file with --questions FILE, or the text with --context-file FILE, --context TEXT or --docs DIR";

/// Bytes of a text, or of questions, at most: reading goes through all of it for every question, and takes about eight times as much memory.
const MOST: u64 = 16 << 20;

/// What `ask` takes instead of a file without text.
const INSTEAD: &str = "a text with --context-file, --context or on standard input, or a folder of texts with --docs";
/// What standard input is called in errors.
const STDIN: &str = "standard input";
/// What a file of questions is.
const LINES: &str = "a file with one question per line";

/// What questions are answered from.
pub enum Material {
    Text(String),
    Documents(Library),
}

/// Where the text comes from, decided before anything is read.
pub enum Source<'a> {
    Documents(&'a Path),
    Argument(&'a str),
    File(&'a Path),
    Stdin,
}

impl<'a> Source<'a> {
    /// Nobody types a text at the prompt: a terminal as standard input is wrong usage.
    pub fn of(args: &'a AskArgs) -> anyhow::Result<Self> {
        match (&args.docs, &args.context, &args.context_file) {
            (Some(folder), ..) => Ok(Self::Documents(folder)),
            (None, Some(text), _) => Ok(Self::Argument(text)),
            (None, None, Some(path)) => Ok(Self::File(path)),
            (None, None, None) if io::stdin().is_terminal() => Err(usage_error("ask", WAYS)),
            (None, None, None) => Ok(Self::Stdin),
        }
    }

    /// What is to be read. The text of a file or of standard input loses its byte order mark.
    pub fn read(&self) -> anyhow::Result<Material> {
        let text = match self {
            Self::Documents(folder) => return documents(folder).map(Material::Documents),
            Self::Argument(text) => (*text).to_owned(),
            Self::File(path) => read_file(path, INSTEAD)?,
            Self::Stdin => read_stdin()?,
        };
        some(text, &self.name(), INSTEAD).map(Material::Text)
    }

    /// What it is called in errors.
    pub fn name(&self) -> String {
        match self {
            Self::Documents(path) => path.display().to_string(),
            Self::File(path) => name_of(path),
            Self::Argument(_) => "--context".into(),
            Self::Stdin => STDIN.into(),
        }
    }
}

/// Reads a folder of documents. What is left out is logged, files of other kinds on one line.
pub fn documents(folder: &Path) -> anyhow::Result<Library> {
    let (library, skipped) = Library::open(folder, &LibraryOptions::default())?;
    for file in &skipped {
        log::log!(file.reason.level(), "skipped {file}");
    }
    if let Some(others) = left_out(&skipped) {
        log::warn!("{others}");
    }
    if library.passage_count() == 0 {
        bail!(
            "{} holds no .txt or .md file with text (make text of PDF and office documents first); give another folder with --docs",
            folder.display()
        );
    }
    Ok(library)
}

/// All questions: those of the command line, then those of the file.
pub fn questions(args: &AskArgs) -> anyhow::Result<Vec<String>> {
    let mut questions = args.questions.clone();
    if are_words(&questions) {
        log::warn!(
            "{} questions of one word each; a question of several words has to be in quotation marks",
            questions.len()
        );
    }
    // A shell makes several files of `--context-file *.txt`.
    if let Some(file) = questions.iter().find(|question| Path::new(question).is_file()) {
        let message =
            "is a file, and was given as a question; --context-file takes one file, and --docs a folder of them";
        return Err(usage_error("ask", format!("{file} {message}")));
    }
    if let Some(folder) = questions.iter().find(|question| args.docs.is_none() && Path::new(question).is_dir()) {
        let message = "is a folder, and was given as a question; --docs takes a folder of texts";
        return Err(usage_error("ask", format!("{folder} {message}")));
    }
    if let Some(path) = &args.questions_file {
        if is_stdin(path) && text_is_stdin(args) {
            return Err(usage_error("ask", TWICE));
        }
        let of_file = lines(&read_file(path, LINES)?);
        if questions.is_empty() && of_file.is_empty() {
            return Err(no_question("ask", path));
        }
        questions.extend(of_file);
    }
    if questions.is_empty() {
        return Err(usage_error("ask", "there is no question; give one, or --questions FILE with one per line"));
    }
    Ok(questions)
}

/// Whether these may be the words of one question: only the last can be the end of it.
fn are_words(questions: &[String]) -> bool {
    let Some((last, others)) = questions.split_last() else { return false };
    let is_word = |question: &String| !question.trim().contains(char::is_whitespace);
    !others.is_empty() && is_word(last) && others.iter().all(|word| is_word(word) && !word.ends_with('?'))
}

/// Whether standard input is what questions are answered from.
fn text_is_stdin(args: &AskArgs) -> bool {
    args.docs.is_none() && args.context.is_none() && args.context_file.as_deref().is_none_or(is_stdin)
}

/// Whether a file of this name is standard input.
pub fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Refuses `-` where only a file is taken.
pub fn refuse_stdin(command: &str, option: &str, path: &Path) -> anyhow::Result<()> {
    if !is_stdin(path) {
        return Ok(());
    }
    Err(usage_error(command, format!("{option} - is no file; give a file, such as /dev/stdin")))
}

/// What the file at `path` is called in errors.
fn name_of(path: &Path) -> String {
    if is_stdin(path) { STDIN.into() } else { path.display().to_string() }
}

/// The text of the file at `path`. What to give instead of a file without text is said in the words of the caller's options.
pub fn text(path: &Path, instead: &str) -> anyhow::Result<String> {
    some(read_file(path, instead)?, &name_of(path), instead)
}

/// The text, which `name` holds, unless it is nothing but white space.
fn some(text: String, name: &str, instead: &str) -> anyhow::Result<String> {
    if text.trim().is_empty() {
        bail!("{name} holds no text; give {instead}");
    }
    Ok(text)
}

/// The questions of the file at `path`, for `command`.
pub fn questions_of(command: &str, path: &Path) -> anyhow::Result<Vec<String>> {
    let questions = lines(&read_file(path, LINES)?);
    if questions.is_empty() { Err(no_question(command, path)) } else { Ok(questions) }
}

fn no_question(command: &str, path: &Path) -> anyhow::Error {
    usage_error(command, format!("{} holds no question; write one per line", clean(&name_of(path))))
}

/// Lines that are not empty. They may end as those of old Macintosh programs do.
fn lines(text: &str) -> Vec<String> {
    text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The text of a file, or of standard input if the file is called `-`.
fn read_file(path: &Path, instead: &str) -> anyhow::Result<String> {
    if is_stdin(path) {
        return read_stdin();
    }
    if path.is_dir() {
        bail!("{} is a folder; give {instead}", path.display());
    }
    let name = path.display().to_string();
    let bytes = File::open(path).and_then(read_all).with_context(|| format!("cannot read {name}"))?;
    decode(some_of(bytes, &name)?, &name, Some(&name))
}

fn read_stdin() -> anyhow::Result<String> {
    let bytes = read_all(io::stdin().lock()).with_context(|| format!("cannot read {STDIN}"))?;
    decode(some_of(bytes, STDIN)?, STDIN, None)
}

/// What can be read from `source`, up to a byte more than [`MOST`].
fn read_all(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(MOST + 1).read_to_end(&mut bytes).map(|_| bytes)
}

/// The bytes of `name`, if these are not too many.
fn some_of(bytes: Vec<u8>, name: &str) -> anyhow::Result<Vec<u8>> {
    ensure!(
        bytes.len() as u64 <= MOST,
        "{name} is larger than {MOST} bytes; cut it into several files, and give one after the other"
    );
    Ok(bytes)
}

/// The text of `bytes` without a byte order mark; `name` is what they were read from, `file` its path if it is a file.
fn decode(bytes: Vec<u8>, name: &str, file: Option<&str>) -> anyhow::Result<String> {
    let mut text = encoding::decode(bytes).map_err(|problem| match file {
        Some(file) => anyhow!("{name} is {}", problem.of_file(file)),
        None => anyhow!("{name} is {problem}"),
    })?;
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len_utf8());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_strict_utf_8() {
        let name = "my notes.txt";
        let error = |bytes: &[u8]| decode(bytes.to_vec(), name, Some(name)).unwrap_err().to_string();
        assert!(error(b"caf\xe9 au lait").starts_with("my notes.txt is not UTF-8: byte 3 is 0xE9; "));
        assert!(error(b"cut \xe2\x98").contains("byte 4 is 0xE2"));
        assert!(error(b"\xfe\xff\0A").ends_with("`iconv -f UTF-16 -t UTF-8 'my notes.txt' > NEW`"));
        let piped = decode(b"caf\xe9".to_vec(), "standard input", None).unwrap_err().to_string();
        assert!(piped.starts_with("standard input is not UTF-8: ") && piped.ends_with(" FILE > NEW`"), "{piped}");
        assert!(error(b"%PDF-1.7\n%\xe2").contains("is a PDF; make text of it first"));
        assert_eq!(decode("\u{feff}caf\u{e9}".into(), "x", None).unwrap(), "caf\u{e9}");
        assert_eq!(decode("a\u{feff}".into(), "x", None).unwrap(), "a\u{feff}");
    }

    #[test]
    fn a_question_without_quotation_marks_is_noticed() {
        let of = |questions: &[&str]| are_words(&questions.iter().map(|&question| question.into()).collect::<Vec<_>>());
        assert!(of(&["Who", "kept", "it?"]));
        assert!(!of(&["Why?"]) && !of(&["Why?", "When?"]) && !of(&["Why", "By whom?"]) && !of(&[]));
    }

    #[test]
    fn questions_are_lines() {
        assert_eq!(lines("Who?\r\n\n   \n  Why not?  \nWhen?\rWhere"), ["Who?", "Why not?", "When?", "Where"]);
    }
}
