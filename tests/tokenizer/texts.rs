//! Texts that tokenizers find hard, made up.

use edgeqa::eval::Random;

/// `count` texts, the same for every `seed`; some are put together from `pieces`.
pub fn generate(seed: u64, count: usize, pieces: &[String]) -> impl Iterator<Item = String> {
    let mut random = Random(seed);
    let fixed = [
        "",
        " ",
        "   ",
        "\t\n\r ",
        "\u{a0}\u{2003}\u{3000}",
        "\u{0}",
        "\u{feff}",
        "\r\n",
        "▁",
        "▁▁▁",
        "a\r\nb",
        "\u{600}a",
    ];
    let fixed = fixed.map(str::to_owned).into_iter();
    fixed.chain((0..).map(move |_| text(&mut random, pieces))).take(count)
}

fn text(random: &mut Random, pieces: &[String]) -> String {
    let kind = random.index(12);
    let parts = match random.index(10) {
        0 => random.index(200),
        _ => random.index(30),
    };
    let mut text = String::new();
    for _ in 0..=parts {
        // The last kinds are mixtures.
        let kind = if kind > 9 { random.index(12) } else { kind };
        part(random, kind, pieces, &mut text);
    }
    text
}

fn part(random: &mut Random, kind: usize, pieces: &[String], text: &mut String) {
    match kind {
        // Pieces, as words and in the middle of words.
        0 | 1 => {
            let piece = pick(random, pieces);
            text.push_str(&piece.replace('▁', " "));
            if random.index(2) == 0 {
                text.push(' ');
            }
        }
        // All of Unicode.
        2 => text.push(scalar(random, 0x11_0000)),
        3 => text.push(scalar(random, 0x3000)),
        // Controls, white space of all kinds, and what has no width.
        4 => text.push(pick(
            random,
            &[
                '\0', '\u{1}', '\u{8}', '\t', '\n', '\u{b}', '\r', '\u{1b}', ' ', '\u{7f}', '\u{85}', '\u{a0}',
                '\u{ad}', '\u{2002}', '\u{200b}', '\u{200d}', '\u{200e}', '\u{2028}', '\u{2029}', '\u{2060}',
                '\u{3000}', '\u{fe0f}', '\u{feff}', '\u{fffd}', '\u{ffff}', 'a', 'Z', '.', '▁',
            ],
        )),
        // Emoji: with skin, joined, flags, key caps.
        5 => text.push_str(pick(
            random,
            &["🙂", "👍🏽", "👩‍🚀", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇳🇴", "🇩🇪🇫", "1️⃣", "❤️", "☃", "\u{1f3fb}", "\u{200d}", " ", "🦉 owl"],
        )),
        // Combining marks, in any order and number.
        6 => {
            text.push(pick(random, &['a', 'e', 'o', 'n', 'A', 'Å', 'ß', 'ﬁ', '각', '가', 'क', 'ก', ' ', '1']));
            for _ in 0..random.index(4) {
                text.push(pick(
                    random,
                    &[
                        '\u{300}',
                        '\u{301}',
                        '\u{308}',
                        '\u{327}',
                        '\u{20dd}',
                        '\u{3099}',
                        '\u{94d}',
                        '\u{e33}',
                        '\u{11a8}',
                        '\u{1d165}',
                        '\u{fe0e}',
                    ],
                ));
            }
        }
        // Right to left, and characters that join what follows.
        7 => text.push_str(pick(
            random,
            &[
                "שלום",
                "עולם ",
                "مرحبا",
                "بالعالم ",
                "\u{600}1",
                "\u{6dd}x",
                "\u{202e}",
                "\u{2067}",
                "اللّٰه",
                "﷽",
                "ﷺ",
                " 12 ",
            ],
        )),
        // What has another form: widths, circles, squares, ligatures, Hangul.
        8 => {
            let start =
                pick(random, &[0xff00, 0x2460, 0x3300, 0x1d400, 0xfb00, 0x1100, 0xac00, 0xf900, 0x2150, 0x1f100]);
            text.push(char::from_u32(start + random.index(200) as u32).unwrap_or('x'));
        }
        // Words without end.
        9 => {
            let (c, other) = (pick(random, &['a', 'é', '灯', 'x', '=', '\u{301}', '🙂']), scalar(random, 0x250));
            for _ in 0..pick(random, &[1, 50, 99, 100, 101, 120, 300]) {
                text.push(if random.index(12) == 0 { other } else { c });
            }
            if random.index(3) > 0 {
                text.push(' ');
            }
        }
        // Special tokens, and what looks like them.
        10 => text.push_str(pick(
            random,
            &[
                "[SEP]",
                "[CLS]",
                "[PAD]",
                "[UNK]",
                "[MASK]",
                " [SEP] ",
                "[sep]",
                "[SE",
                "P]",
                "[[CLS]]",
                "<unk>",
                "<0xE2>",
                "##ing",
                "##",
                "[UNK][UNK]",
                "a[MASK]b",
            ],
        )),
        // English.
        _ => text.push_str(pick(
            random,
            &[
                "The ",
                "lighthouse ",
                "keeper's ",
                "keepers",
                "don't ",
                "1,234.5 ",
                "U.S. ",
                "e.g. ",
                "naïve ",
                "café—",
                "“quoted” ",
                "http://a.b/c?d=e&f ",
                "x=y+z; ",
                "McDonald's ",
                "IEEE-754 ",
                "co-operate ",
                "  ",
                "\n",
                "...",
                "?!",
                "€20 ",
            ],
        )),
    }
}

fn pick<T: Clone>(random: &mut Random, all: &[T]) -> T {
    all[random.index(all.len())].clone()
}

fn scalar(random: &mut Random, below: u32) -> char {
    char::from_u32(random.index(below as usize) as u32).unwrap_or('\u{d7ff}')
}
