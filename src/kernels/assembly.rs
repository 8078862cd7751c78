//! What assembly has in common.

/// Lines, each with its end.
macro_rules! lines {
    ($($line:expr),* $(,)?) => { concat!($($line, "\n"),*) };
}
