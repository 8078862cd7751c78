//! What a question and a passage are compared by.

use std::borrow::Cow;

use indexmap::IndexSet;
use unicode_normalization_alignments::UnicodeNormalization;
use unicode_normalization_alignments::char::canonical_combining_class;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use unicode_segmentation::UnicodeSegmentation;

use super::stem::stem;

/// Longer words are cut, in bytes: they are no words but data, and need not fill the dictionary.
const LONGEST: usize = 64;

/// Letters of units that have powers.
const LONGEST_UNIT: usize = 2;

/// Words of a question that say nothing about its topic, without endings; ascending.
const EMPTY: [&str; 43] = [
    "a", "an", "and", "ar", "as", "at", "be", "been", "by", "can", "did", "do", "doe", "for", "from", "ha", "had",
    "have", "how", "in", "is", "it", "mani", "much", "of", "on", "or", "that", "the", "there", "thi", "to", "wa",
    "were", "what", "when", "where", "which", "who", "whom", "whose", "why", "with",
];

/// What French and Italian write in front of a vowel, without the apostrophe: it is no part of the word.
const ELIDED: [&str; 20] = [
    "all", "c", "d", "dall", "dell", "j", "jusqu", "l", "lorsqu", "m", "n", "nell", "puisqu", "qu", "quell", "quoiqu",
    "s", "sull", "t", "un",
];

/// The words of `text`, one after the other: words as Unicode has them (UAX 29) and parts of those, in the same characters however they are
/// written (NFKD), in lower case, without accents, without what nobody sees, without elided articles, without a possessive `'s` and
/// without English endings.
pub fn each_word(text: &str, mut take: impl FnMut(&str)) {
    let (mut lower, mut letters) = (String::new(), String::new());
    for word in with_plain_digits(text).unicode_words() {
        lower.clear();
        if word.is_ascii() {
            lower.push_str(word);
            lower.make_ascii_lowercase();
        } else {
            let plain = word.nfkd().map(|(c, _)| c).filter(|&c| !is_accent(c) && !is_unseen(c));
            plain.flat_map(char::to_lowercase).for_each(|c| fold(c, &mut lower));
        }
        let word = without_article(&lower);
        if !word.contains(['.', '_', ':']) {
            finish(word, &mut letters, &mut take);
        } else if is_initials(word) {
            let joined = word.replace('.', "");
            let mut short = joined.clone();
            stem(&mut short);
            // `W.H.O.` says something, `who` does not.
            finish(if is_empty(&short) { word } else { &joined }, &mut letters, &mut take);
        } else {
            parts(word).for_each(|part| finish(part, &mut letters, &mut take));
        }
    }
}

/// `text` with the digits of formulas and units as people type them, which would end a word: `CO₂`, and `km²`, but no note to a longer `word¹`.
fn with_plain_digits(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| subscript(c).or(superscript(c)).is_some()) {
        return Cow::Borrowed(text);
    }
    let mut letters = 0;
    let plain = text.chars().map(|c| {
        let before = letters;
        // `Smith's²` is one word.
        letters = if c.is_alphabetic() || matches!(c, '\'' | '\u{2019}') || is_accent(c) { before + 1 } else { 0 };
        subscript(c).or(superscript(c).filter(|_| (1..=LONGEST_UNIT).contains(&before))).unwrap_or(c)
    });
    Cow::Owned(plain.collect())
}

/// The digit that stands below the line.
fn subscript(c: char) -> Option<char> {
    ('\u{2080}'..='\u{2089}').contains(&c).then(|| char::from_digit(u32::from(c) - 0x2080, 10)).flatten()
}

/// The power of a unit.
fn superscript(c: char) -> Option<char> {
    match c {
        '²' => Some('2'),
        '³' => Some('3'),
        _ => None,
    }
}

/// Gives `word` without its ending, which is made in `room`, if anything is left of it.
fn finish(word: &str, room: &mut String, take: &mut impl FnMut(&str)) {
    room.clear();
    let word = word.strip_suffix("'s").unwrap_or(word);
    room.push_str(&word[..word.floor_char_boundary(word.len().min(LONGEST))]);
    stem(room);
    // Nothing is left of a sign that is but an accent.
    if !room.is_empty() {
        take(room);
    }
}

/// Appends the letters that `c`, which is in lower case, is compared as: those that people write who cannot or do not type it.
fn fold(c: char, to: &mut String) {
    match c {
        '\u{2018}' | '\u{2019}' | '\u{2bb}' | '\u{2bc}' => to.push('\''),
        'ß' => to.push_str("ss"),
        'æ' => to.push_str("ae"),
        'œ' => to.push_str("oe"),
        'ø' => to.push('o'),
        'ł' => to.push('l'),
        'đ' | 'ð' => to.push('d'),
        'ı' => to.push('i'),
        'ς' => to.push('σ'),
        c => to.push(c),
    }
}

/// `word` without one of [`ELIDED`] before an apostrophe.
fn without_article(word: &str) -> &str {
    match word.split_once('\'') {
        Some((article, rest)) if !rest.is_empty() && rest != "s" && ELIDED.binary_search(&article).is_ok() => rest,
        _ => word,
    }
}

/// Whether `word` is made of single letters with full stops between them: `u.s.a`.
fn is_initials(word: &str) -> bool {
    word.split('.').all(|part| {
        let mut letters = part.chars();
        letters.next().is_some_and(char::is_alphabetic) && letters.next().is_none()
    })
}

/// The parts of `word` between underscores, which mark emphasis or join names, and between stops and colons that follow or precede a
/// letter: spaces are missing there. A number keeps its point.
fn parts(word: &str) -> impl Iterator<Item = &str> {
    let is_digit = |c: Option<char>| c.is_some_and(char::is_numeric);
    let mut places = word.match_indices(['.', '_', ':']).filter(move |(at, sign)| {
        let (before, after) = (word[..*at].chars().next_back(), word[at + sign.len()..].chars().next());
        *sign == "_" || !is_digit(before) || !is_digit(after)
    });
    let mut start = Some(0);
    std::iter::from_fn(move || {
        let from = start?;
        let next = places.next();
        start = next.map(|(at, sign)| at + sign.len());
        Some(&word[from..next.map_or(word.len(), |(at, _)| at)])
    })
}

/// Whether `c` has no form of its own: soft hyphens, marks of direction, joiners, variation selectors, and what stretches Arabic words.
fn is_unseen(c: char) -> bool {
    c.general_category() == GeneralCategory::Format
        || matches!(c, '\u{34f}' | '\u{640}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Whether `c` is a mark that leaves its letter the same, by its combining class: an overlay, a point of Hebrew, Arabic or Syriac, or one
/// of those that many scripts share. Marks of Indian scripts, of Thai, Lao and Tibetan, and the voicing of kana make another letter.
fn is_accent(c: char) -> bool {
    matches!(canonical_combining_class(c), 1 | 10..=36 | 200..=240)
}

/// The distinct words of a question that say something about its topic; all, if none does.
pub fn question_words(question: &str) -> Vec<String> {
    let mut words: IndexSet<String> = IndexSet::new();
    each_word(question, |word| {
        if !words.contains(word) {
            words.insert(word.to_owned());
        }
    });
    if words.iter().any(|word| !is_empty(word)) {
        words.retain(|word| !is_empty(word));
    }
    words.into_iter().collect()
}

fn is_empty(word: &str) -> bool {
    EMPTY.contains(&word)
}
