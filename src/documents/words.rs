//! What a question and a passage are compared by.

use indexmap::IndexSet;
use unicode_normalization_alignments::UnicodeNormalization;
use unicode_normalization_alignments::char::canonical_combining_class;
use unicode_segmentation::UnicodeSegmentation;

use super::stem::stem;

/// Longer words are cut, in bytes: they are no words but data, and need not fill the dictionary.
const LONGEST: usize = 64;

/// Words of a question that say nothing about its topic, without endings; ascending.
const EMPTY: [&str; 43] = [
    "a", "an", "and", "ar", "as", "at", "be", "been", "by", "can", "did", "do", "doe", "for", "from", "ha", "had",
    "have", "how", "in", "is", "it", "mani", "much", "of", "on", "or", "that", "the", "there", "thi", "to", "wa",
    "were", "what", "when", "where", "which", "who", "whom", "whose", "why", "with",
];

/// The words of `text`, one after the other: words as Unicode has them (UAX 29), in the same characters however they are written (NFKD), in
/// lower case, without accents, without a possessive `'s` and without English endings.
pub fn each_word(text: &str, mut take: impl FnMut(&str)) {
    let mut lower = String::new();
    for word in text.unicode_words() {
        lower.clear();
        if word.is_ascii() {
            lower.push_str(word);
            lower.make_ascii_lowercase();
        } else {
            let plain = word.nfkd().map(|(c, _)| c).filter(|&c| !is_accent(c));
            lower.extend(plain.flat_map(char::to_lowercase));
        }
        let length = ["'s", "\u{2019}s"].iter().find_map(|end| lower.strip_suffix(end)).map_or(lower.len(), str::len);
        lower.truncate(lower.floor_char_boundary(length.min(LONGEST)));
        stem(&mut lower);
        // Nothing is left of a sign that is but an accent.
        if !lower.is_empty() {
            take(&lower);
        }
    }
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
