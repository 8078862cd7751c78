//! Showing errors to people.

use std::error::Error;

/// An error and its causes in one line, outermost first. A cause whose message is already part of the line is left out.
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    for cause in std::iter::successors(error.source(), |cause| (*cause).source()).map(ToString::to_string) {
        if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}
