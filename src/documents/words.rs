//! What a question and a passage are compared by.

use unicode_segmentation::UnicodeSegmentation;

/// Longer words are cut, in bytes: they are no words but data, and need not fill the dictionary.
const LONGEST: usize = 64;

/// The words of `text`, one after the other: words as Unicode has them (UAX 29), in lower case, without a possessive `'s`.
pub fn each_word(text: &str, mut take: impl FnMut(&str)) {
    let mut lower = String::new();
    for word in text.unicode_words() {
        lower.clear();
        if word.is_ascii() {
            lower.push_str(word);
            lower.make_ascii_lowercase();
        } else {
            lower.extend(word.chars().flat_map(char::to_lowercase));
        }
        let stem = ["'s", "\u{2019}s"].iter().find_map(|end| lower.strip_suffix(end)).unwrap_or(&lower);
        take(&stem[..stem.floor_char_boundary(LONGEST)]);
    }
}
