//! Numbers as people write them, with messages that say which ones are meant.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A parser of whole numbers within `range`.
///
/// # Errors
/// The parser's are half a sentence, such as `not a whole number from 1 to 1024`.
pub fn whole(range: RangeInclusive<usize>) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ if *range.end() == usize::MAX => Err(format!("not a whole number of at least {}", range.start())),
        _ => Err(format!("not a whole number from {} to {}", range.start(), range.end())),
    }
}

/// A whole number that is not 0.
///
/// # Errors
/// As [`whole`].
pub fn positive(text: &str) -> Result<usize, String> {
    whole(1..=usize::MAX)(text)
}

/// A number of threads.
///
/// # Errors
/// As [`whole`].
pub fn threads(text: &str) -> Result<NonZeroUsize, String> {
    whole(1..=1024)(text).map(|number| NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN))
}

/// What a random choice begins with.
///
/// # Errors
/// As [`whole`].
pub fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("not a whole number from 0 to {}", u64::MAX))
}

/// Seconds of a day, the longest that is waited for anything or measured at once.
pub const DAY: f64 = 86_400.0;

/// A parser of seconds from `least` to a day.
///
/// # Errors
/// The parser's are half a sentence.
pub fn seconds(least: f64) -> impl Fn(&str) -> Result<f64, String> + Clone {
    move |text| match text.parse() {
        Ok(number) if (least..=DAY).contains(&number) => Ok(number),
        _ => Err(format!("not a number of seconds from {least} to {DAY}")),
    }
}

/// A number that is neither infinite nor not a number.
///
/// # Errors
/// Half a sentence.
pub fn finite<T: FromStr + Into<f64> + Copy>(text: &str) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(value) if value.into().is_finite() => Ok(value),
        _ => Err("not a finite number".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_those_of_the_range() {
        let parse = whole(2..=30);
        assert_eq!((parse("2"), parse("30")), (Ok(2), Ok(30)));
        for bad in ["1", "31", "-2", "2.5", "x", "", " 2", "99999999999999999999"] {
            assert_eq!(parse(bad), Err("not a whole number from 2 to 30".into()), "{bad:?}");
        }
        assert_eq!(positive(&usize::MAX.to_string()), Ok(usize::MAX));
        for bad in ["0", "-1", "99999999999999999999"] {
            assert_eq!(positive(bad), Err("not a whole number of at least 1".into()), "{bad:?}");
        }
    }

    #[test]
    fn threads_are_at_least_one() {
        assert_eq!((threads("1").map(usize::from), threads("1024").map(usize::from)), (Ok(1), Ok(1024)));
        for bad in ["0", "1025", "x"] {
            assert_eq!(threads(bad), Err("not a whole number from 1 to 1024".into()), "{bad:?}");
        }
    }

    #[test]
    fn seeds_have_64_bits() {
        assert_eq!((seed("0"), seed("18446744073709551615")), (Ok(0), Ok(u64::MAX)));
        for bad in ["-1", "18446744073709551616", "0x1", ""] {
            assert_eq!(seed(bad), Err("not a whole number from 0 to 18446744073709551615".into()), "{bad:?}");
        }
    }

    #[test]
    fn seconds_are_those_of_a_day() {
        let parse = seconds(0.01);
        assert_eq!((parse("0.01"), parse("86400")), (Ok(0.01), Ok(86400.0)));
        for bad in ["0", "-1", "86400.1", "nan", "inf", "x", ""] {
            assert_eq!(parse(bad), Err("not a number of seconds from 0.01 to 86400".into()), "{bad:?}");
        }
        assert_eq!(seconds(0.0)("0"), Ok(0.0));
    }

    #[test]
    fn finite_numbers_have_an_end() {
        assert_eq!((finite("-1.5"), finite::<f64>("1e300")), (Ok(-1.5f32), Ok(1e300)));
        for bad in ["nan", "inf", "-infinity", "1e39", "x", ""] {
            assert_eq!(finite::<f32>(bad), Err("not a finite number".into()), "{bad:?}");
        }
    }
}
