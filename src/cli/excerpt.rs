//! The sentence around a span, made fit for a terminal.

use std::ops::Range;

use edgeqa::documents::passages::lines;
use edgeqa::documents::sentences::sentence_starts;
pub use edgeqa::shown::clean;
use unicode_segmentation::UnicodeSegmentation;

/// How much text before and after a span is looked at for the ends of its sentence, in bytes.
const REACH: usize = 1000;
/// How much of a sentence is shown before and after a span, in characters.
const SHOWN: usize = 160;
const ELLIPSIS: char = '…';

/// A span and what surrounds it.
#[derive(Debug, PartialEq, Eq)]
pub struct Excerpt {
    pub before: String,
    pub span: String,
    pub after: String,
}

/// The sentence (or sentences) that `span` is part of.
pub fn excerpt(text: &str, span: Range<usize>) -> Excerpt {
    let whole = |range: Range<usize>| text.get(range).unwrap_or_default();
    let from = text.ceil_char_boundary(span.start.saturating_sub(REACH)).min(span.start);
    let to = text.floor_char_boundary(span.end.saturating_add(REACH).min(text.len())).max(span.end);
    // A line break ends no sentence, an empty line does. White space that begins what is looked at may be the end of a line, but is not
    // shown.
    let (mut start, mut end) = (from, to);
    for line in lines(text, from..to).filter(|line| line.content.is_empty()) {
        if line.whole.end <= span.start {
            start = line.whole.end;
        } else if line.whole.start >= span.end {
            end = line.whole.start;
            break;
        }
    }
    let (from, to) = (start, end);
    let paragraph = whole(from..to).replace(['\n', '\r'], " ");
    let (mut start, mut end) = (0, paragraph.len());
    for at in sentence_starts(&paragraph) {
        if at > 0 && at >= span.end - from {
            end = at;
            break;
        }
        if at <= span.start - from {
            start = at;
        }
    }
    let before = clean(whole(from + start..span.start));
    let after = clean(whole(span.end..from + end).trim_end());
    let cut = before.char_indices().rev().nth(SHOWN).map(|(at, _)| at);
    let before = match cut {
        Some(at) => {
            let whole = before.grapheme_indices(true).map(|(start, _)| start).find(|start| *start >= at);
            format!("{ELLIPSIS}{}", before.get(whole.unwrap_or(at)..).unwrap_or_default())
        }
        None => before.trim_start().to_owned(),
    };
    let after = shortened(&after, SHOWN);
    Excerpt { before, span: clean(whole(span)), after }
}

/// `text` on one line, and no more than the first `length` characters of it. What is seen as one, such as a letter and its accent, is
/// not divided.
pub fn shortened(text: &str, length: usize) -> String {
    let mut short: String = clean(text).chars().take(length + 1).collect();
    if let Some((at, _)) = short.char_indices().nth(length) {
        let whole = short.grapheme_indices(true).map(|(at, _)| at).take_while(|start| *start <= at).last();
        // A single one that is longer is divided.
        short.truncate(whole.filter(|whole| *whole > 0).unwrap_or(at));
        short.push(ELLIPSIS);
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(text: &str, span: &str) -> String {
        let start = text.find(span).expect("span in text");
        let Excerpt { before, span, after } = excerpt(text, start..start + span.len());
        format!("{before}[{span}]{after}")
    }

    #[test]
    fn a_sentence_is_found() {
        let text =
            "It was lit in 1871. Its first keeper, Ada Morrow,\nclimbed 212 steps! She kept a log.\n\nA seal came.";
        assert_eq!(around(text, "1871"), "It was lit in [1871].");
        assert_eq!(around(text, "Ada Morrow"), "Its first keeper, [Ada Morrow], climbed 212 steps!");
        assert_eq!(
            around(text, "212 steps! She"),
            "Its first keeper, Ada Morrow, climbed [212 steps! She] kept a log."
        );
        assert_eq!(around(text, "log"), "She kept a [log].");
        assert_eq!(around(text, "A seal"), "[A seal] came.");
        assert_eq!(around(text, "A seal came."), "[A seal came.]");
        assert_eq!(around(text, text), format!("[{}]", clean(text)));
    }

    #[test]
    fn long_sentences_are_cut() {
        let text = format!("{}needle{}", "é ".repeat(2000), " ☕".repeat(2000));
        let shown = around(&text, "needle");
        assert!(shown.starts_with('…') && shown.ends_with('…'), "{shown}");
        assert_eq!(shown.chars().count(), "needle".len() + 2 + 2 * SHOWN + 3);
    }

    #[test]
    fn what_is_seen_as_one_is_not_divided() {
        // Flags, letters with accents, and a family: of two, two and seven characters.
        for sign in ["🇩🇪", "e\u{301}", "👨\u{200d}👩\u{200d}👧\u{200d}👦"] {
            for odd in ["", "x", "xx", "xxx"] {
                let many = sign.repeat(900 / sign.len());
                let text = format!("{many}{odd}needle{odd}{many}");
                let start = text.find("needle").unwrap();
                let Excerpt { before, after, .. } = excerpt(&text, start..start + "needle".len());
                for shown in [before.trim_matches(ELLIPSIS), after.trim_matches(ELLIPSIS)] {
                    assert!(shown.len() < many.len() && shown.replace(sign, "") == odd, "{sign} {shown}");
                }
            }
        }
        assert_eq!(shortened(&format!("a{}", "\u{301}".repeat(9)), 3), format!("a{}…", "\u{301}".repeat(2)));
    }

    /// In the square of the time, this would take hours.
    #[test]
    fn a_long_span_and_a_long_gap_take_no_longer_than_their_text() {
        let gap = " ".repeat(2_000_000);
        let text = format!("It is here. {gap}She kept{gap}a log. It is lost.");
        assert_eq!(around(&text, "She kept"), "[She kept]");
        assert_eq!(around(&text, &format!("kept{gap}a")), "She [kept a] log.");
    }

    #[test]
    fn control_characters_cannot_command_the_terminal() {
        assert_eq!(around("a \u{1b}[31mred\u{7} b", "red"), "a \u{fffd}[31m[red]\u{fffd} b");
    }

    #[test]
    fn an_empty_line_ends_a_sentence_with_or_without_white_space() {
        for empty in ["\n", "\r\n", " \n", "\t \r\n", "\u{a0}\n\n", "\u{3000}\n \n"] {
            let text = format!("CHAPTER ONE\r\n{empty}She was Ada\nof the light\n{empty}End");
            assert_eq!(around(&text, "Ada"), "She was [Ada] of the light", "{empty:?}");
            assert_eq!(around(&text, "ONE"), "CHAPTER [ONE]", "{empty:?}");
            assert_eq!(around(&text, "End"), "[End]", "{empty:?}");
        }
        let text = format!("Far away{}\nthe end", " ".repeat(2 * REACH));
        assert_eq!(around(&text, "end"), "the [end]");
    }

    #[test]
    fn a_line_break_at_the_end_takes_no_place() {
        let text = format!("{}\n\nEnd", "x".repeat(SHOWN + 1));
        assert_eq!(around(&text, "x"), format!("[x]{}", "x".repeat(SHOWN)));
    }

    #[test]
    fn every_span_of_a_text_has_an_excerpt() {
        let text = "Né. ☕!\n\n灯台。x\n\n\n\ny";
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        for (n, &start) in ends.iter().enumerate() {
            for &end in &ends[n..] {
                assert_eq!(excerpt(text, start..end).span, clean(&text[start..end]));
            }
        }
    }
}
