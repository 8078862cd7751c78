//! Where texts are cut.

use edgeqa::documents::Library;
use edgeqa::documents::passages::{Format, HEADING, LONGEST, SHORTEST, cut};

use crate::properties;
use edgeqa::eval::Random;

/// The passages of a text, each with its title.
fn pieces(text: &str, format: Format) -> Vec<(&str, &str)> {
    let title = |cut: &edgeqa::documents::passages::Cut| cut.title.clone().map_or("", |range| &text[range]);
    cut(text, format).iter().map(|cut| (&text[cut.bytes.clone()], title(cut))).collect()
}

#[test]
fn long_paragraphs_stand_alone_and_short_ones_are_joined() {
    let (long, short) = ("a".repeat(SHORTEST), "b".repeat(SHORTEST - 1));
    let text = format!("{long}\n\n{long}\r\n \t\r\n{short}\n\n\n{short}\n{long}");
    let first = format!("{long}\r\n \t\r\n{short}");
    let last = format!("{short}\n{long}");
    let want = [(long.as_str(), ""), (first.as_str(), ""), (last.as_str(), "")];
    assert_eq!(pieces(&text, Format::Plain), want);
    assert_eq!(pieces("\u{feff} a \n", Format::Plain), [("a", "")]);
    for blank in ["", "\u{feff}", " \r\n\t\n"] {
        assert_eq!(pieces(blank, Format::Markdown), []);
    }
}

#[test]
fn headings_stay_with_their_text_and_are_titles() {
    let text =
        "Before.\n# Prices #\nNine.\n\n## Groups\n\n### Schools\n\nTwo.\nHours\n=====\nTen.\n\nTea\n---\nThree.\n#no\n";
    let want = [
        ("Before.", ""),
        ("# Prices #\nNine.", "Prices"),
        ("## Groups\n\n### Schools\n\nTwo.\nHours\n=====\nTen.", "Schools"),
        ("Tea\n---\nThree.\n#no", "Tea"),
    ];
    assert_eq!(pieces(text, Format::Markdown), want);
    for end in ["\r\n", "\r", "\r\r\n"] {
        let want = want.map(|(passage, title)| (passage.replace('\n', end), title.to_owned()));
        let ends = text.replace('\n', end);
        let found =
            pieces(&ends, Format::Markdown).into_iter().map(|(passage, title)| (passage.to_owned(), title.to_owned()));
        assert_eq!(found.collect::<Vec<_>>(), want, "{end:?}");
    }
    let code = "# Shell\n```\n# no heading\n```\n# Next\nx";
    assert_eq!(pieces(code, Format::Markdown), [("# Shell\n```\n# no heading\n```", "Shell"), ("# Next\nx", "Next")]);
    assert_eq!(pieces("# Only\n", Format::Markdown), [("# Only", "Only")]);
    assert_eq!(pieces("# a\n\nx", Format::Plain)[0].1, "# a", "no Markdown: a first line");
}

#[test]
fn a_mark_belongs_to_a_heading_unless_white_space_is_before_it() {
    for (line, title) in [
        ("# Learning C#", "Learning C#"),
        ("# C# #", "C#"),
        ("## F# and C# ##  ", "F# and C#"),
        ("# Closed\t###", "Closed"),
        ("# No. #1", "No. #1"),
        ("# #1", "#1"),
    ] {
        assert_eq!(pieces(&format!("{line}\nText."), Format::Markdown)[0].1, title, "{line}");
    }
    for none in ["# #", "## ###", "#", "#C"] {
        assert_eq!(pieces(&format!("{none}\nText."), Format::Markdown)[0].1, "", "{none}");
    }
}

#[test]
fn an_item_or_a_quote_is_no_heading() {
    for line in ["- first item", "* x", "+ x", "1. x", "2) x", "> quote", ">quote", "  - x"] {
        for under in ["---", "==="] {
            assert_eq!(pieces(&format!("{line}\n{under}\nText."), Format::Markdown)[0].1, "", "{line}");
        }
    }
    for line in ["-x", "1.x", "2019", "a > b"] {
        assert_eq!(pieces(&format!("{line}\n---\nText."), Format::Markdown)[0].1, line);
    }
    let long = "x".repeat(SHORTEST);
    assert_eq!(pieces(&format!("1. Whales\n\n{long}"), Format::Plain)[0].1, "1. Whales", "no Markdown");
}

#[test]
fn code_has_no_headings() {
    let markdown = |text: &'static str| pieces(text, Format::Markdown);
    let code = "# Shell\n````\n```\n# not a heading\n````\n# After\nx";
    let want = [("# Shell\n````\n```\n# not a heading\n````", "Shell"), ("# After\nx", "After")];
    assert_eq!(markdown(code), want);
    // What closes a block is like what opened it, and alone; what opens one may say more.
    for code in [
        "```\n~~~\n# no\n```\n# After\nx",
        "~~~ sh `x`\n```\n# no\n~~~~~ \n# After\nx",
        "``` sh\n``` # no\n# no\n```\n# After\nx",
        "```\n    ```\n# no\n   ```\n# After\nx",
        "```\n\n# no\n\n```\n---\n# After\nx",
    ] {
        let found = markdown(code);
        assert_eq!(found.iter().map(|piece| piece.1).collect::<Vec<_>>(), ["", "After"], "{code}: {found:?}");
    }
    assert_eq!(markdown("```\n# no")[0].1, "", "a block that nothing closes");
    // In an item, blocks are indented with its text, more or less.
    for code in [
        "1. Do:\n\n    ```sh\n    # no\n   ```\n\n# After\nx",
        "1. Do:\n   ```sh\n   # no\n    ```\n\n# After\nx",
        "- ```sh\n  # no\n  ```\n\n# After\nx",
        "* a\n\n  * b\n\n        ```\n        # no\n\n# no\n        ```\n# After\nx",
        "1) a\n\nText.\n\n    ```\n# After\nx",
    ] {
        let found = markdown(code);
        assert_eq!(found.iter().map(|piece| piece.1).collect::<Vec<_>>(), ["", "After"], "{code}: {found:?}");
    }
    assert_eq!(markdown("``` x ``` y\n# Title\nx")[1], ("# Title\nx", "Title"), "code within a line");
    assert_eq!(markdown("``\n# Title\nx")[1].1, "Title");

    for text in ["Text.\n\n    # x\n\nMore.", "\t# x\ny", " \t# x\ny", "Tea\n    ---\nx", "    Tea\n---\nx"] {
        assert_eq!(markdown(text), [(text.trim_start(), "")]);
    }
    assert_eq!(markdown("   # x\ny"), [("# x\ny", "x")]);
    assert_eq!(markdown("   Tea\n   ---\nx"), [("Tea\n   ---\nx", "Tea")]);
    assert_eq!(pieces("```\n\nx", Format::Plain)[0].1, "```", "no Markdown");
}

#[test]
fn long_headings_make_short_titles() {
    let words = "word ".repeat(1_000);
    for text in [format!("# {words}\n\nText."), format!("{words}\n---\n\nText.")] {
        let found = pieces(&text, Format::Markdown);
        assert!(found.len() > 3);
        for (_, title) in found {
            assert!(title.len() <= HEADING && title.len() > HEADING - 10, "{title}");
            assert!(title.starts_with("word") && title.ends_with("word"));
        }
    }
    let solid = format!("# {}\nText.", "灯".repeat(HEADING));
    assert_eq!(pieces(&solid, Format::Markdown)[0].1, "灯".repeat(HEADING / 3));
    let fits = "x".repeat(HEADING);
    assert_eq!(pieces(&format!("# {fits}\nText."), Format::Markdown)[0].1, fits);
}

#[test]
fn parts_without_a_space_begin_with_whole_characters() {
    // Letters of Devanagari with vowel signs, and flags.
    for sign in ["\u{927}\u{941}", "🇩🇪"] {
        let text = sign.repeat(5_000 / sign.len());
        let found = pieces(&text, Format::Plain);
        assert!(found.len() > 3);
        assert!(found.iter().all(|(piece, _)| piece.replace(sign, "").is_empty()), "{sign}");
    }
    // What is seen as one and is longer than a part is divided.
    let text = format!("a{}", "\u{301}".repeat(2_000));
    assert!(pieces(&text, Format::Plain).len() > 3);
}

/// In the square of the time, each of these would take from minutes to hours.
#[test]
fn time_grows_with_the_text_and_not_with_its_square() {
    let much = |part: &str| part.repeat(2_000_000 / part.len());
    for text in [
        format!("The end. {}x", much(" ")),
        format!("The end. {}x", much("\t ")),
        format!("The end.{}x", much(")")),
        much(&format!("The end. {}x", " ".repeat(1_000))),
        much("1. "),
        much("---\n"),
        format!("{}\n{}", much("x "), much("---\n")),
        format!("# {}\n\n{}", much("head "), much("Text. ")),
        much("# x\n"),
        much("`"),
        much("```\n\n"),
    ] {
        for name in ["x.txt", "x.md"] {
            let library = Library::of_texts([(name.to_owned(), text.clone())]);
            assert!(library.passage_count() > 0);
            for passage in library.passages() {
                assert!(passage.text.len() <= LONGEST && passage.title.is_none_or(|title| title.len() <= HEADING));
            }
        }
    }
}

#[test]
fn a_plain_text_has_its_first_line_as_title() {
    let long = "x".repeat(SHORTEST);
    let text = format!("The whale\n\n{long}\n\n{long}");
    assert_eq!(pieces(&text, Format::Plain).iter().map(|p| p.1).collect::<Vec<_>>(), ["The whale"; 2]);
    for first in ["A sentence.", "Two\nlines", &"x".repeat(81), "Only this: "] {
        assert_eq!(pieces(&format!("{first}\n\n{long}"), Format::Plain)[0].1, "", "{first}");
    }
}

#[test]
fn overlong_paragraphs_are_cut_at_sentences_else_at_spaces_else_anywhere() {
    let sentences = "This is a sentence of forty-four characters. ".repeat(60);
    let parts = pieces(&sentences, Format::Plain);
    assert_eq!(parts.len(), sentences.len().div_ceil(LONGEST));
    assert!(parts.iter().all(|(part, _)| part.ends_with("characters.") && part.len() > LONGEST / 2), "{parts:?}");
    let words = "word ".repeat(LONGEST);
    assert!(pieces(&words, Format::Plain).iter().all(|(part, _)| part.starts_with("word") && part.ends_with("word")));
    let solid = "灯".repeat(LONGEST);
    assert_eq!(pieces(&solid, Format::Plain).iter().map(|p| p.0).collect::<String>(), solid);
}

/// A passage of two letters answers nothing, and takes the place of one that does.
#[test]
fn overlong_paragraphs_have_no_tiny_parts() {
    let words = "word ".repeat(260);
    let solid = "x".repeat(1_300);
    for text in [
        format!("Hi. {words}"),
        format!("{words}Hi. Ho."),
        format!("Hi. {words}Ho! {words}Ho."),
        format!("Hi. {solid}"),
        format!("Hi {solid}"),
        format!("{solid} hi. Ho."),
        "x".repeat(LONGEST + 1),
        format!("{} A.", "x".repeat(LONGEST - 1)),
        format!("A. {}", "é".repeat(LONGEST)),
    ] {
        let parts = pieces(&text, Format::Plain);
        assert!(parts.iter().all(|(part, _)| part.len() >= LONGEST / 4), "{parts:?}");
    }
    let text = format!("Hi. {words}");
    assert!(pieces(&text, Format::Plain).iter().all(|(part, _)| part.ends_with("word")), "words are whole");
}

/// Texts of everything that matters for cutting, in random order.
fn random_text(random: &mut Random) -> String {
    let long = ["x".repeat(1300), "é".repeat(700), "One. ".repeat(300), "word ".repeat(100), "ab ".repeat(70)];
    let short = [
        "A word",
        "née",
        "灯台",
        "🦉",
        "e\u{301}",
        "\u{200d}",
        "\u{a0}",
        "\u{2028}",
        "\u{feff}",
        "\0",
        ". ",
        " ",
        "\t",
        "\n",
        "\r\n",
        "\r",
        "\n\n",
        "\r\n\r\n",
        "\n \t\n",
        "# Title\n",
        "## \n",
        "\n###### x ##\n",
        "#",
        "===\n",
        "\n---\n",
        "```\n",
        "~~~",
        "Dr. Who said: \"No!\" ",
        "1.5 km. ",
    ];
    let mut text = String::from(if random.index(4) == 0 { "\u{feff}" } else { "" });
    for _ in 0..random.index(40) {
        match random.index(6) {
            0 => text.push_str(&long[random.index(long.len())]),
            _ => text.push_str(short[random.index(short.len())]),
        }
    }
    text
}

#[test]
fn passages_are_exact_slices_and_hold_all_text() {
    let mut random = Random(41);
    let mut passages = 0;
    for _ in 0..3_000 {
        let text = random_text(&mut random);
        for name in ["x.txt", "x.md"] {
            let library = Library::of_texts([(name.to_owned(), text.clone())]);
            passages += properties::passages(&text, name, &library);
        }
    }
    assert!(passages > 10_000, "{passages}");
}
