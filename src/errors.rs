//! Showing errors to people.

use std::error::Error;

use crate::shown::harmless;

/// What serde says of a value that does not fit, without the names of Rust's types.
pub fn without_types(message: &str) -> String {
    let words = [("a whole number", &["usize", "u64", "u32"][..]), ("a number", &["f64", "f32"])];
    words
        .iter()
        .flat_map(|(word, types)| types.iter().map(move |name| (name, word)))
        .fold(message.to_owned(), |message, (name, word)| {
            message.replace(&format!("expected {name}"), &format!("expected {word}"))
        })
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
