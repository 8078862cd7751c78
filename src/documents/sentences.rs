//! Where sentences begin.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use unicode_segmentation::UnicodeSegmentation;

/// How many characters that do not end the look ahead are searched as one text.
const STRETCH: usize = 64;

/// Where sentences begin in `text`, 0 included, ascending, as Unicode has it (UAX 29), in a time that is linear in the text.
///
/// Behind a full stop the rules look, from each closing sign and space, for the next letter. So that this is never far, more than 64
/// characters without a letter, line end, full stop, `!` or `?` are searched as if they were several texts, none of which begins a
/// sentence.
pub fn sentence_starts(text: &str) -> impl Iterator<Item = usize> {
    parts(text).flat_map(|(start, part)| {
        let bounds = part.split_sentence_bound_indices().map(move |(at, _)| start + at);
        bounds.filter(move |&at| at == 0 || at > start)
    })
}

/// `text` in parts, each with its place. An ordinary text is one.
fn parts(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
        let mut passed = 0;
        let end = rest.char_indices().find(|&(_, c)| {
            passed = if ends_look(c) { 0 } else { passed + 1 };
            passed > STRETCH
        });
        let part = end.map_or(rest, |(at, _)| &rest[..at]);
        let place = start;
        start += part.len();
        Some((place, part))
    })
}

/// Whether the look ahead ends with `c`.
fn ends_look(c: char) -> bool {
    use GeneralCategory::{LowercaseLetter, OtherLetter, TitlecaseLetter, UppercaseLetter};
    match c {
        '.' | '!' | '?' | '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => true,
        c if c.is_ascii() => c.is_ascii_alphabetic(),
        // All of them, but no combining mark, which the look ahead passes over.
        c => matches!(c.general_category(), UppercaseLetter | LowercaseLetter | TitlecaseLetter | OtherLetter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(text: &str) -> Vec<usize> {
        sentence_starts(text).collect()
    }

    #[test]
    fn ordinary_texts_are_cut_as_unicode_has_it() {
        let text = "Dr. Who came at 5.30 p.m. and left. \"No!\" (Why?)\r\nNobody knows: 1, 2, 3…\n\n灯台守は眠い。長い夜だった。 \
                    Été 1871 ☕. etc. and so on.\n-----------------------------------------------------------------------------\nEnd.";
        let bounds: Vec<usize> = text.split_sentence_bound_indices().map(|(at, _)| at).collect();
        assert!(bounds.len() > 8);
        assert_eq!(starts(text), bounds);
        assert!(starts("").is_empty());
        assert_eq!(starts("A. B"), [0, 3]);
    }

    #[test]
    fn a_long_stretch_without_letters_begins_no_sentence() {
        for stretch in [" ", ")", "\u{301}", "7 ", "☕"] {
            let text = format!("It is here. {}", stretch.repeat(2 * STRETCH));
            assert_eq!(parts(&text).map(|(_, part)| part).collect::<String>(), text);
            assert!(parts(&text).all(|(at, part)| text[at..].starts_with(part)) && parts(&text).count() > 1);
            assert!(starts(&text).iter().all(|&at| at <= "It is here. ".len()), "{text}");
        }
        let text = format!("One. {}Two. Three.", " ".repeat(2 * STRETCH));
        assert_eq!(starts(&text).last(), Some(&(text.len() - "Three.".len())));
    }

    #[test]
    fn time_grows_with_the_text_and_not_with_its_square() {
        let many = 2_000_000;
        for stretch in [" ", ")", ") ", "\u{345} ", "7", " 7"] {
            let text = format!("It is here. {}x", stretch.repeat(many / stretch.len()));
            assert!(starts(&text).len() <= 2, "{stretch:?}");
        }
        assert!(starts(&". ".repeat(many / 2)).len() <= many);
    }
}
