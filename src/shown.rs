//! Names and texts of others, made fit for a terminal, a line of a log, or a command.

/// `text` on one line: white space becomes single spaces, and characters that could command a terminal or reorder what it
/// shows become replacement characters.
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_whitespace() && cleaned.ends_with(' ') => {}
            c if c.is_whitespace() => cleaned.push(' '),
            c if commands(c) => cleaned.push(char::REPLACEMENT_CHARACTER),
            c => cleaned.push(c),
        }
    }
    cleaned
}

/// Whether `c` could command a terminal, or reorder what it shows: embeddings, overrides and isolates change the order of the text
/// after them.
pub fn commands(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` with its lines, and with replacement characters for all else that [`commands`].
pub fn harmless(text: &str) -> String {
    text.replace(|c| c != '\n' && commands(c), "\u{fffd}")
}

/// `text` on one line that Markdown shows as it is, within a line or a cell of a table, with replacement characters for what [`commands`].
pub fn in_markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => escaped.push(' '),
            c if commands(c) => escaped.push(char::REPLACEMENT_CHARACTER),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '<' | '>' | '&' => escaped.extend(['\\', c]),
            c => escaped.push(c),
        }
    }
    escaped
}

/// JSON of the same value in which nothing [`commands`]: such characters above U+007E stand in its strings as they are, unless they are
/// escaped.
pub fn harmless_json(json: String) -> String {
    let stands = |c: char| !c.is_ascii_control() && commands(c) || c == '\u{7f}';
    if !json.contains(stands) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if stands(c) { escaped.push_str(&format!("\\u{:04x}", u32::from(c))) } else { escaped.push(c) }
    }
    escaped
}

/// The path `name` as one word of a shell's command, which is no option either.
pub fn shell_word(name: &str) -> String {
    let path = if name.starts_with('-') { format!("./{name}") } else { name.to_owned() };
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%=".contains(c);
    if !path.is_empty() && path.chars().all(is_plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

/// `number` of the things that are called `thing`, whose plural ends with `s`.
pub fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// `bytes` in units of 1,000,000.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_cannot_command_the_terminal() {
        assert_eq!(clean(" a\t\r\n b\u{0}"), " a b\u{fffd}");
        assert_eq!(clean("a\u{202e}b\u{2066}"), "a\u{fffd}b\u{fffd}");
        assert_eq!(harmless("a\n\u{1b}[31m\u{202e}\t"), "a\n\u{fffd}[31m\u{fffd}\u{fffd}");
        assert_eq!(harmless_json("[\"a\u{9b}\u{7f}\"]".into()), r#"["a\u009b\u007f"]"#);
        assert_eq!(harmless_json("[\"\u{202e}a\"]\n".into()), "[\"\\u202ea\"]\n");
        assert_eq!(harmless_json("[\"é\"]\n".into()), "[\"é\"]\n");
    }

    #[test]
    fn markdown_shows_foreign_text_as_it_is() {
        assert_eq!(in_markdown("a|b\n\u{1b}[0m *c*"), "a\\|b \u{fffd}\\[0m \\*c\\*");
        assert_eq!(in_markdown("&lt;b> x_y"), "\\&lt;b\\> x\\_y");
    }

    #[test]
    fn names_are_words_of_a_command() {
        for (name, word) in [
            ("a/b-1.txt", "a/b-1.txt"),
            ("caf\u{e9}.txt", "caf\u{e9}.txt"),
            ("two words.txt", "'two words.txt'"),
            ("it's $HOME", "'it'\\''s $HOME'"),
            ("", "''"),
            ("-f", "./-f"),
            ("-f g", "'./-f g'"),
        ] {
            assert_eq!(shell_word(name), word);
        }
    }

    #[test]
    fn one_is_no_plural() {
        assert_eq!([0, 1, 2].map(|number| count(number, "file")), ["0 files", "1 file", "2 files"]);
    }

    #[test]
    fn what_reorders_text_ends_where_unicode_says() {
        for (c, commanding) in [
            ('\u{2029}', false),
            ('\u{202a}', true),
            ('\u{202e}', true),
            ('\u{202f}', false),
            ('\u{2065}', false),
            ('\u{2066}', true),
            ('\u{2069}', true),
            ('\u{206a}', false),
        ] {
            assert_eq!(commands(c), commanding, "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn a_cell_of_markdown_is_one_line() {
        assert_eq!(in_markdown("a\rb\tc\nd"), "a b c d");
    }

    #[test]
    fn megabytes_are_millions() {
        assert_eq!((megabytes(1_500_000), megabytes(1 << 20)), ("1.5".into(), "1.0".into()));
    }
}
