//! Showing errors to people.

use std::error::Error;

use crate::shown::harmless;

/// What serde says of a value that does not fit, without the names of Rust's types.
pub fn without_types(message: &str) -> String {
    let words = [("a whole number", &["usize", "u64", "u32"][..]), ("a number", &["f64", "f32"])];
    let message = words
        .iter()
        .flat_map(|(word, types)| types.iter().map(move |name| (name, word)))
        .fold(message.to_owned(), |message, (name, word)| {
            message.replace(&format!("expected {name}"), &format!("expected {word}"))
        });
    const STRUCT: &str = "expected struct ";
    match message.split_once(STRUCT) {
        Some((before, after)) => {
            let name = after.find(|c: char| !c.is_alphanumeric()).unwrap_or(after.len());
            format!("{before}expected an object{}", &after[name..])
        }
        None => message,
    }
}

/// An error and its causes in one line, outermost first, without what names in it could command a terminal to do. A cause whose message is
/// already part of the line is left out.
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    for cause in std::iter::successors(error.source(), |cause| (*cause).source()).map(ToString::to_string) {
        if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    harmless(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_called_what_they_are_in_json() {
        for (message, shown) in [
            (
                "invalid value: integer `-1`, expected usize at line 1 column 17",
                "invalid value: integer `-1`, expected a whole number at line 1 column 17",
            ),
            (
                "invalid length 0, expected struct Source with 4 elements",
                "invalid length 0, expected an object with 4 elements",
            ),
            ("expected struct Source", "expected an object"),
            ("missing field `a`", "missing field `a`"),
        ] {
            assert_eq!(without_types(message), shown);
        }
    }
}
