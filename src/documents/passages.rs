//! Cutting a text into passages, each short enough to be read in one window.
//!
//! - A text is cut at empty lines. Markdown is also cut before each heading, `#` or underlined, outside of code: blocks between fences,
//!   and lines that are indented by four spaces or a tab.
//! - Passages are at most [`LONGEST`] bytes, about 270 tokens of English, which fit into a window of 384 with the question.
//!   Longer paragraphs are cut into parts of about the same length: at ends of sentences if these leave no part shorter than
//!   half of that, else at white space of which this is true, else anywhere.
//! - A paragraph shorter than [`SHORTEST`] bytes is joined with its neighbour if they fit into one passage, but never over a
//!   heading: a heading stays with the text below it.
//! - The title of a passage is the last heading that is not below its text: the nearest above, or the one it starts with; no more than
//!   the first [`HEADING`] bytes of it, in whole words. In a plain text it is the first line, if that stands alone, is short and
//!   ends no sentence.
//!
//! Passages are exact pieces of the text, without white space at both ends, and hold everything else of it.

use std::ops::Range;
use std::path::Path;

use unicode_segmentation::UnicodeSegmentation;

use super::encoding::BYTE_ORDER_MARK;
use super::sentences::sentence_starts;

/// The longest passage, in bytes.
pub const LONGEST: usize = 1200;
/// A shorter paragraph is joined with its neighbour, in bytes.
pub const SHORTEST: usize = 240;
/// How much of a heading is a title, in bytes.
pub const HEADING: usize = 200;
/// The longest first line of a plain text that is taken for its title, in bytes.
const TITLE: usize = 80;

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Paragraphs and nothing else.
    Plain,
    /// With headings. Everything else of Markdown stands as it is.
    Markdown,
}

impl Format {
    /// The format of the file `path` by the end of its name, `.txt` or `.md` in any case; `None` for every other.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?;
        let formats = [("txt", Self::Plain), ("md", Self::Markdown)];
        formats.into_iter().find(|(end, _)| extension.eq_ignore_ascii_case(end)).map(|(_, format)| format)
    }
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Where it is, in bytes.
    pub bytes: Range<usize>,
    /// Where its title is, in bytes.
    pub title: Option<Range<usize>>,
}

/// Lines without an empty one between them.
#[derive(Debug)]
struct Block {
    bytes: Range<usize>,
    /// The heading it starts with.
    heading: Option<Range<usize>>,
    /// Whether there is nothing but the heading.
    bare: bool,
    /// Whether it is one line of text: no heading and no code, and in Markdown no item of a list and no quote.
    single: bool,
}

/// Cuts `text`.
pub fn cut(text: &str, format: Format) -> Vec<Cut> {
    let blocks = blocks(text, format);
    let mut title = match format {
        Format::Plain => plain_title(text, &blocks),
        Format::Markdown => None,
    };
    let mut cuts = Vec::new();
    let mut flush = |block: Block| {
        if let Some(heading) = block.heading {
            title = Some(heading);
        }
        split(text, block.bytes, |bytes| cuts.push(Cut { bytes, title: title.clone() }));
    };
    let mut open: Option<Block> = None;
    for block in blocks {
        open = Some(match open.take() {
            None => block,
            Some(before) if before.joins(&block) => before.join(block),
            Some(before) => {
                flush(before);
                block
            }
        });
    }
    open.map(flush);
    cuts
}

impl Block {
    fn joins(&self, next: &Self) -> bool {
        let fits = next.bytes.end - self.bytes.start <= LONGEST;
        match (&next.heading, self.bare) {
            // A heading alone belongs to what follows, however long that is.
            (_, true) => true,
            (Some(_), false) => false,
            (None, false) => fits && (self.bytes.len() < SHORTEST || next.bytes.len() < SHORTEST),
        }
    }

    fn join(self, next: Self) -> Self {
        Self {
            bytes: self.bytes.start..next.bytes.end,
            heading: next.heading.or(self.heading),
            bare: self.bare && next.bare,
            single: false,
        }
    }
}

/// A line of a text, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// With its line break.
    pub whole: Range<usize>,
    /// Without white space at both ends. Where there is nothing else, the line is empty and ends a paragraph.
    pub content: Range<usize>,
}

/// The lines of a piece of `text`; none if `bytes` are no piece of it.
pub fn lines(text: &str, bytes: Range<usize>) -> impl Iterator<Item = Line> {
    let mut start = bytes.start;
    let mut left = text.get(bytes).unwrap_or_default();
    std::iter::from_fn(move || {
        let (line, rest) = left.split_at(line_len(left));
        left = rest;
        let whole = start..start + line.len();
        start = whole.end;
        (!line.is_empty()).then(|| Line { content: trimmed(text, whole.clone()), whole })
    })
}

/// How long the first line of `text` is, with its end: LF, CR and LF, or CR alone, as on Macintosh computers of old. A CR more is what Windows
/// makes of CR and LF.
fn line_len(text: &str) -> usize {
    let Some(at) = text.find(['\n', '\r']) else { return text.len() };
    let end = ["\r\r\n", "\r\n"].into_iter().find(|end| text[at..].starts_with(end));
    at + end.map_or(1, str::len)
}

fn blocks(text: &str, format: Format) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let start = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 };
    // Whether the last line was not empty.
    let (mut in_block, mut code) = (false, Code::default());
    for Line { whole, content: bytes } in lines(text, start..text.len()) {
        let line = &text[whole];
        if bytes.is_empty() {
            in_block = false;
            continue;
        }
        let content = &text[bytes.clone()];
        let is_markdown = format == Format::Markdown;
        let is_code = is_markdown && code.has(line, content);
        let heading = if is_markdown && !is_code { hashed(content) } else { None };
        let heading = heading.map(|range| title(text, bytes.start + range.start..bytes.start + range.end));
        match blocks.last_mut() {
            Some(block) if in_block && heading.is_none() => {
                // A line below a single one makes that a heading.
                if is_markdown && !is_code && block.single && underlines(content) {
                    (block.heading, block.bare) = (Some(title(text, block.bytes.clone())), true);
                } else {
                    block.bare = false;
                }
                block.single = false;
                block.bytes.end = bytes.end;
            }
            _ => {
                let is_part = is_markdown && (item(content).is_some() || content.starts_with('>'));
                let (bare, single) = (heading.is_some(), heading.is_none() && !is_code && !is_part);
                blocks.push(Block { bytes, heading, bare, single });
            }
        }
        in_block = true;
    }
    blocks
}

/// Where a text in Markdown is code.
#[derive(Default)]
struct Code {
    /// What has opened the block that is open.
    fence: Option<Fence>,
    /// Whether lines may belong to an item of a list, whose text is indented.
    in_list: bool,
}

/// So many backticks, or tildes.
struct Fence {
    mark: char,
    length: usize,
}

impl Code {
    /// Whether the next line is code, opens or closes a block of it, or is indented like code. `content` is the line without white space at
    /// both ends.
    fn has(&mut self, line: &str, content: &str) -> bool {
        let indented = is_indented(line);
        let mut opener = content;
        if self.fence.is_none() {
            match item(content).filter(|_| !indented || self.in_list) {
                Some(text) => (self.in_list, opener) = (true, text),
                None if !line.starts_with([' ', '\t']) => self.in_list = false,
                None => {}
            }
        }
        // How far the text of an item is indented is its own affair.
        let fenced = (!indented || self.in_list) && is_fenced(&mut self.fence, opener);
        indented || fenced
    }
}

/// The text of an item of a list.
fn item(line: &str) -> Option<&str> {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let rest = match digits {
        0 => line.strip_prefix(['-', '*', '+'])?,
        _ => line[digits..].strip_prefix(['.', ')'])?,
    };
    rest.starts_with([' ', '\t']).then(|| rest.trim_start())
}

/// Whether Markdown takes `line` for code, or for a part of the line before, because of its indent.
fn is_indented(line: &str) -> bool {
    let spaces = line.bytes().take_while(|&byte| byte == b' ').count();
    spaces > 3 || line.as_bytes().get(spaces) == Some(&b'\t')
}

/// Whether `line` is in a block of code, or opens or closes one. What closes it are at least as many of the same marks as have opened it,
/// and nothing else.
fn is_fenced(fence: &mut Option<Fence>, line: &str) -> bool {
    let Some(mark) = line.chars().next().filter(|first| matches!(first, '`' | '~')) else { return fence.is_some() };
    let rest = line.trim_start_matches(mark);
    let length = line.len() - rest.len();
    match fence {
        Some(open) if mark == open.mark && length >= open.length && rest.is_empty() => *fence = None,
        Some(_) => {}
        // Backticks with others behind them are code within a line.
        None if length >= 3 && !(mark == '`' && rest.contains(mark)) => *fence = Some(Fence { mark, length }),
        None => return false,
    }
    true
}

/// The title that a heading is: a long one is cut between two words.
fn title(text: &str, heading: Range<usize>) -> Range<usize> {
    if heading.len() <= HEADING {
        return heading;
    }
    let limit = text.floor_char_boundary(heading.start + HEADING);
    let space = text[heading.start..limit].rfind(char::is_whitespace);
    trimmed(text, heading.start..space.map_or(limit, |at| heading.start + at))
}

/// The text of a heading that starts with `#`. Marks at its end that white space is before do not belong to it.
fn hashed(line: &str) -> Option<Range<usize>> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    if !(1..=6).contains(&level) || !text.starts_with([' ', '\t']) {
        return None;
    }
    let text = text.trim_start();
    let unmarked = text.trim_end_matches('#');
    let is_closed = unmarked.is_empty() || unmarked.ends_with([' ', '\t']);
    let (start, length) = (line.len() - text.len(), if is_closed { unmarked.trim_end().len() } else { text.len() });
    (length > 0).then_some(start..start + length)
}

/// Whether `line` makes the line above a heading.
fn underlines(line: &str) -> bool {
    line.len() >= 3 && ["=", "-"].iter().any(|mark| line.trim_start_matches(mark).is_empty())
}

fn plain_title(text: &str, blocks: &[Block]) -> Option<Range<usize>> {
    let [first, _, ..] = blocks else { return None };
    let line = &text[first.bytes.clone()];
    let ends_sentence = line.ends_with(['.', '!', '?', ':', ';', ',', '\u{2026}', '"', '\u{201d}', '\u{3002}']);
    (line.len() <= TITLE && first.single && !ends_sentence).then(|| first.bytes.clone())
}

/// `bytes` in parts of at most [`LONGEST`].
fn split(text: &str, bytes: Range<usize>, mut take: impl FnMut(Range<usize>)) {
    let Range { mut start, end } = bytes;
    if end - start <= LONGEST {
        return take(start..end);
    }
    let first = start;
    let sentences: Vec<usize> = sentence_starts(&text[start..end]).map(|at| first + at).collect();
    while end - start > LONGEST {
        let part = (end - start).div_ceil((end - start).div_ceil(LONGEST));
        let ideal = text.floor_char_boundary(start + part);
        // What is left is the last part, or else longer than one.
        let places = start + part / 2..=(start + LONGEST).min(end - part / 2);
        let nearest = |found: &mut dyn Iterator<Item = usize>| found.min_by_key(|place| place.abs_diff(ideal));
        let from = sentences.partition_point(|place| place < places.start());
        let mut sentences = sentences[from..].iter().copied().take_while(|place| places.contains(place));
        let from = text.floor_char_boundary(*places.start());
        let to = text.floor_char_boundary(*places.end());
        let mut spaces = text[from..to].char_indices().filter(|(_, c)| c.is_whitespace()).map(|(at, _)| from + at);
        // Without a space, what is seen as one character stays whole, if it is not longer than a part.
        let mut whole =
            text[start..to].grapheme_indices(true).map(|(at, _)| start + at).filter(|at| places.contains(at));
        let place =
            nearest(&mut sentences).or_else(|| nearest(&mut spaces)).or_else(|| nearest(&mut whole)).unwrap_or(ideal);
        let part = trimmed(text, start..place);
        if !part.is_empty() {
            take(part);
        }
        start = trimmed(text, place..end).start;
    }
    if start < end {
        take(start..end);
    }
}

/// `bytes` without white space at both ends.
fn trimmed(text: &str, bytes: Range<usize>) -> Range<usize> {
    let piece = &text[bytes.clone()];
    let start = bytes.start + (piece.len() - piece.trim_start().len());
    start..start + piece.trim().len()
}
