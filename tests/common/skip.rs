//! How tests say what they leave out.

use std::fmt::Display;
use std::io::Write;

/// Prints `SKIPPED` and `what`, straight to standard error, which the test harness does not hold back.
pub fn skipped(what: impl Display) {
    let _ = std::io::stderr().write_all(format!("SKIPPED {what}\n").as_bytes());
}
