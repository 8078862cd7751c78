//! Cutting a text into passages, each short enough to be read in one window.
//!
//! - A text is cut at empty lines. Markdown is also cut before each heading, `#` or underlined, outside of code blocks.
//! - Passages are at most [`LONGEST`] bytes, about 270 tokens of English, which fit into a window of 384 with the question.
//!   Longer paragraphs are cut at ends of sentences, else at white space, into parts of about the same length.
//! - A paragraph shorter than [`SHORTEST`] bytes is joined with its neighbour if they fit into one passage, but never over a
//!   heading: a heading stays with the text below it.
//! - The title of a passage is the last heading that is not below its text: the nearest above, or the one it starts with. In a
//!   plain text it is the first line, if that stands alone, is short and ends no sentence.
//!
//! Passages are exact pieces of the text, without white space at both ends, and hold everything else of it.

use std::ops::Range;
use std::path::Path;

use unicode_segmentation::UnicodeSegmentation;

/// The longest passage, in bytes.
pub const LONGEST: usize = 1200;
/// A shorter paragraph is joined with its neighbour, in bytes.
pub const SHORTEST: usize = 240;
/// The longest first line of a plain text that is taken for its title, in bytes.
const TITLE: usize = 80;
const BYTE_ORDER_MARK: char = '\u{feff}';

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
        }
    }
}

fn blocks(text: &str, format: Format) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut start = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 };
    // Whether the last line was not empty; what closes a code block.
    let (mut in_block, mut fence) = (false, None);
    for line in text[start..].split_inclusive('\n') {
        let bytes = trimmed(text, start..start + line.len());
        start += line.len();
        if bytes.is_empty() {
            in_block = false;
            continue;
        }
        let content = &text[bytes.clone()];
        let heading = match format {
            Format::Plain => None,
            Format::Markdown if toggles(&mut fence, content) || fence.is_some() => None,
            Format::Markdown => hashed(content).map(|range| bytes.start + range.start..bytes.start + range.end),
        };
        match blocks.last_mut() {
            Some(block) if in_block && heading.is_none() => {
                // A line below a single one makes that a heading.
                if format == Format::Markdown && fence.is_none() && underlines(content) && block.single_line(text) {
                    (block.heading, block.bare) = (Some(block.bytes.clone()), true);
                } else {
                    block.bare = false;
                }
                block.bytes.end = bytes.end;
            }
            _ => blocks.push(Block { bytes, bare: heading.is_some(), heading }),
        }
        in_block = true;
    }
    blocks
}

impl Block {
    fn single_line(&self, text: &str) -> bool {
        self.heading.is_none() && !text[self.bytes.clone()].contains('\n')
    }
}

/// Opens or closes a code block if `line` does.
fn toggles(fence: &mut Option<&'static str>, line: &str) -> bool {
    match fence {
        Some(mark) if line.starts_with(*mark) => *fence = None,
        Some(_) => return false,
        None => match ["```", "~~~"].into_iter().find(|mark| line.starts_with(mark)) {
            Some(mark) => *fence = Some(mark),
            None => return false,
        },
    }
    true
}

/// The text of a heading that starts with `#`.
fn hashed(line: &str) -> Option<Range<usize>> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    if !(1..=6).contains(&level) || !text.starts_with([' ', '\t']) {
        return None;
    }
    let start = line.len() - text.trim_start().len();
    let end = start + line[start..].trim_end_matches('#').trim_end().len();
    (start < end).then_some(start..end)
}

/// Whether `line` makes the line above a heading.
fn underlines(line: &str) -> bool {
    line.len() >= 3 && ["=", "-"].iter().any(|mark| line.trim_start_matches(mark).is_empty())
}

fn plain_title(text: &str, blocks: &[Block]) -> Option<Range<usize>> {
    let [first, _, ..] = blocks else { return None };
    let line = &text[first.bytes.clone()];
    let ends_sentence = line.ends_with(['.', '!', '?', ':', ';', ',', '\u{2026}', '"', '\u{201d}', '\u{3002}']);
    (line.len() <= TITLE && first.single_line(text) && !ends_sentence).then(|| first.bytes.clone())
}

/// `bytes` in parts of at most [`LONGEST`].
fn split(text: &str, bytes: Range<usize>, mut take: impl FnMut(Range<usize>)) {
    let Range { mut start, end } = bytes;
    if end - start <= LONGEST {
        return take(start..end);
    }
    let first = start;
    let sentences: Vec<usize> = text[start..end].split_sentence_bound_indices().map(|(at, _)| first + at).collect();
    while end - start > LONGEST {
        let parts = (end - start).div_ceil(LONGEST);
        let ideal = start + (end - start).div_ceil(parts);
        let limit = text.floor_char_boundary(start + LONGEST);
        let nearest = |places: &mut dyn Iterator<Item = usize>| places.min_by_key(|place| place.abs_diff(ideal));
        let from = sentences.partition_point(|&place| place <= start);
        let mut sentences = sentences[from..].iter().copied().take_while(|&place| place <= limit);
        let mut spaces = text[start..limit].char_indices().filter(|(_, c)| c.is_whitespace()).map(|(at, _)| start + at);
        let place = nearest(&mut sentences).or_else(|| nearest(&mut spaces)).filter(|&place| place > start);
        let place = place.unwrap_or(limit);
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
