//! SentencePiece's map of characters (`nmt_nfkc` and its kin), applied where it lies in a mapped file.
//!
//! Its bytes: the length of a double array in bytes; the array, of 32-bit units; then the replacements, each ended by a
//! NUL. The array finds the shortest beginning of a grapheme that has a replacement, which replaces all of the
//! grapheme, if the grapheme has fewer than 6 bytes; else it is asked for single characters. That is what SentencePiece
//! does, and what vocabularies rely on.
//!
//! Where this differs from the tokenizers library: characters that are removed from the beginning of a text, control characters, count
//! in the offsets of all that follows.

use std::str;

use tokenizers::NormalizedString;
use unicode_segmentation::UnicodeSegmentation;

use crate::artifact::View;

/// A map of characters. Its bytes are checked when they are used.
#[derive(Clone, Debug)]
pub struct Charsmap {
    bytes: View<u8>,
    /// Where the replacements begin.
    replacements: usize,
    /// A bit per ASCII character: whether it is replaced.
    ascii: u128,
}

impl Charsmap {
    /// `None` if the array is longer than the bytes, or the replacements are no text.
    pub fn new(bytes: View<u8>) -> Option<Self> {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        // Of a last unit that is not whole, the library makes a replacement, too.
        let array = usize::try_from(u32::from_le_bytes(*len)).ok()? / 4 * 4;
        str::from_utf8(rest.get(array..)?).ok()?;
        let mut map = Self { bytes, replacements: 4 + array, ascii: 0 };
        map.ascii = (0..128).filter(|&c| map.replacement(&[c]).is_some()).fold(0, |bits, c| bits | 1 << c);
        Some(map)
    }

    /// What replaces a grapheme or character that begins with `part`, if anything does.
    fn replacement(&self, part: &[u8]) -> Option<&str> {
        let mut at = offset(self.unit(0)?);
        for &byte in part.iter().take_while(|&&byte| byte != 0) {
            at ^= byte as usize;
            let unit = self.unit(at)?;
            if unit & (1 << 31 | 0xff) != u32::from(byte) {
                return None;
            }
            at ^= offset(unit);
            if unit >> 8 & 1 == 1 {
                let start = (self.unit(at)? & !(1 << 31)) as usize;
                let rest = self.bytes.get(self.replacements..)?.get(start..)?;
                return str::from_utf8(rest.split(|&byte| byte == 0).next()?).ok();
            }
        }
        None
    }

    #[inline]
    fn unit(&self, index: usize) -> Option<u32> {
        let start = index.checked_mul(4)?.checked_add(4)?;
        let array = self.bytes.get(..self.replacements)?;
        Some(u32::from_le_bytes(*array.get(start..)?.first_chunk::<4>()?))
    }

    /// Hands `change` every part of `text` in order, with what replaces it.
    fn parts<'a>(&'a self, text: &'a str, mut change: impl FnMut(usize, &'a str, Option<&'a str>)) {
        let bytes = text.as_bytes();
        let mut start = 0;
        while start < bytes.len() {
            let end = (start + 1..bytes.len()).find(|&at| breaks(bytes[at - 1], bytes[at])).unwrap_or(bytes.len());
            let stretch = &text[start..end];
            if let [byte @ ..128] = stretch.as_bytes() {
                let replaced = self.ascii >> byte & 1 == 1;
                change(start, stretch, if replaced { self.replacement(&[*byte]) } else { None });
            } else {
                self.graphemes(start, stretch, &mut change);
            }
            start = end;
        }
    }

    fn graphemes<'a>(
        &'a self,
        start: usize,
        stretch: &'a str,
        change: &mut impl FnMut(usize, &'a str, Option<&'a str>),
    ) {
        for (at, grapheme) in stretch.grapheme_indices(true) {
            if grapheme.len() < 6
                && let Some(new) = self.replacement(grapheme.as_bytes())
            {
                change(start + at, grapheme, Some(new));
                continue;
            }
            for (inner, c) in grapheme.char_indices() {
                let part = &grapheme[inner..inner + c.len_utf8()];
                change(start + at + inner, part, self.replacement(part.as_bytes()));
            }
        }
    }
}

impl Charsmap {
    /// Replaces what the map says. `false`, and nothing is changed, if the text would have more than `most` bytes on the way.
    pub fn normalize(&self, normalized: &mut NormalizedString, most: usize) -> bool {
        let text = normalized.get();
        let mut len = text.len();
        let mut fits = true;
        // Most texts need none.
        let mut changes: Option<Changes> = None;
        self.parts(text, |at, old, new| {
            len = (len - old.len()).saturating_add(new.unwrap_or(old).len());
            fits &= len <= most;
            match (new, &mut changes) {
                _ if !fits => {}
                (None, None) => {}
                (None, Some(changes)) => changes.keep(old),
                (Some(new), _) => changes
                    .get_or_insert_with(|| {
                        let mut before = Changes { removed: 0, characters: Vec::with_capacity(text.len()) };
                        before.keep(&text[..at]);
                        before
                    })
                    .replace(old, new),
            }
        });
        if let Some(Changes { removed, characters }) = changes.filter(|_| fits) {
            normalized.transform(characters, removed);
        }
        fits
    }
}

/// What becomes of a text.
struct Changes {
    /// How many characters are gone before the first that stays.
    removed: usize,
    /// Every character of the new text with how many more of them there are than in the old.
    characters: Vec<(char, isize)>,
}

impl Changes {
    fn keep(&mut self, old: &str) {
        self.characters.extend(old.chars().map(|c| (c, 0)));
    }

    /// Puts `new` in place of `old`: characters that come on top are marked 1, and the last one says how many are gone.
    fn replace(&mut self, old: &str, new: &str) {
        let (before, after) = (old.chars().count(), new.chars().count());
        self.keep(new);
        if after > before {
            self.characters.iter_mut().rev().take(after - before).for_each(|(_, change)| *change = 1);
            return;
        }
        let gone = before - after;
        match self.characters.last_mut() {
            Some((_, change)) => *change -= gone as isize,
            None => self.removed += gone,
        }
    }
}

/// Whether a grapheme always ends between these bytes of a text: both are ASCII, and no line end of two.
fn breaks(before: u8, after: u8) -> bool {
    before < 128 && after < 128 && (before, after) != (b'\r', b'\n')
}

/// How far a unit of the array leads.
fn offset(unit: u32) -> usize {
    ((unit >> 10) as usize) << ((unit & 1 << 9) >> 6)
}
