//! The text of a document, cut into passages.

use std::ops::Range;

use super::folder::Reason;
use super::passages::{self, Format};

/// A document's text, and where its passages are.
#[derive(Debug)]
pub(super) struct Text {
    text: Box<str>,
    cuts: Box<[Cut]>,
}

/// A passage in 20 bytes: where it is in the text in bytes, how many characters are before it, where its title is, nowhere if
/// it has none.
#[derive(Debug)]
struct Cut {
    bytes: Range<u32>,
    first_char: u32,
    title: Range<u32>,
}

/// A passage of a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage<'a> {
    /// The file, as its path in the folder, with `/`.
    pub file: &'a str,
    /// The passage of the file, counted from 1.
    pub number: usize,
    /// The heading that it stands under.
    pub title: Option<&'a str>,
    /// The passage, exactly as it stands in the file.
    pub text: &'a str,
    /// Where it stands in the file, in bytes.
    pub bytes: Range<usize>,
    /// Where it stands in the file, in characters (Unicode scalar values).
    pub chars: Range<usize>,
}

impl Text {
    /// The most bytes of a text: places in it are kept in 32 bits.
    pub const MOST: u64 = u32::MAX as u64;

    /// Cuts a text.
    ///
    /// # Errors
    /// [`Reason::TooLarge`] if it has more than [`Text::MOST`] bytes, [`Reason::Empty`] if it holds nothing but white space.
    pub fn new(text: String, format: Format) -> Result<Self, Reason> {
        if text.len() as u64 > Self::MOST {
            return Err(Reason::TooLarge { limit: Self::MOST });
        }
        let (mut at, mut chars) = (0, 0);
        let cuts = passages::cut(&text, format).into_iter().map(|cut| {
            chars += text[at..cut.bytes.start].chars().count();
            at = cut.bytes.start;
            let title = cut.title.unwrap_or_default();
            let short = |range: Range<usize>| range.start as u32..range.end as u32;
            Cut { bytes: short(cut.bytes), first_char: chars as u32, title: short(title) }
        });
        let cuts: Box<[Cut]> = cuts.collect();
        if cuts.is_empty() { Err(Reason::Empty) } else { Ok(Self { text: text.into(), cuts }) }
    }

    /// The whole text.
    pub fn whole(&self) -> &str {
        &self.text
    }

    /// Number of passages.
    pub fn passage_count(&self) -> usize {
        self.cuts.len()
    }

    /// Passage `index`, from 0, of the file of this name.
    pub fn passage<'a>(&'a self, file: &'a str, index: usize) -> Option<Passage<'a>> {
        let Cut { bytes, first_char, title } = self.cuts.get(index)?;
        let (bytes, first_char) = (long(bytes), *first_char as usize);
        let text = self.text.get(bytes.clone())?;
        Some(Passage {
            file,
            number: index + 1,
            title: self.text.get(long(title)).filter(|title| !title.is_empty()),
            text,
            bytes,
            chars: first_char..first_char + text.chars().count(),
        })
    }

    /// What each passage is found by: its title, unless it holds that, and its text. A heading is part of the first passage below it.
    pub fn findable(&self) -> impl Iterator<Item = impl Iterator<Item = &str>> {
        self.cuts.iter().map(|Cut { bytes, title, .. }| {
            let is_held = bytes.start <= title.start && title.end <= bytes.end;
            let title = Some(long(title)).filter(|title| !is_held && !title.is_empty());
            title.into_iter().chain([long(bytes)]).filter_map(|range| self.text.get(range))
        })
    }
}

fn long(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}
