//! The owner's settings: a small TOML file.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::errors::without_types;

/// Largest settings file, in bytes.
const MAX_BYTES: u64 = 64 << 10;
/// Most example questions, and the longest text of a setting in bytes.
const MAX_EXAMPLES: usize = 20;
const MAX_TEXT: usize = 500;
/// Longest idle time, in seconds: browsers count the milliseconds of a timer in 32 bits, with a sign.
const MAX_IDLE: u32 = i32::MAX as u32 / 1000;

/// Why a settings file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the settings {}: {problem}", path.display())]
pub struct ConfigError {
    path: PathBuf,
    problem: String,
}

/// The settings.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How the page looks.
    pub page: PageSettings,
}

/// The languages that the page has words in.
pub const LANGUAGES: [&str; 4] = ["en", "de", "fr", "es"];

/// How the page looks.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PageSettings {
    /// What stands on top.
    pub title: Option<String>,
    /// What stands below.
    pub subtitle: Option<String>,
    /// The language of the texts, as in `<html lang>`.
    pub language: String,
    /// The colour of buttons and highlights, `#rgb` or `#rrggbb`.
    pub accent: Option<String>,
    /// The same, on a dark page.
    pub accent_dark: Option<String>,
    /// An SVG or PNG file, beside the settings.
    pub logo: Option<PathBuf>,
    /// Questions to touch.
    pub examples: Vec<String>,
    /// After how many seconds without a touch the page returns to its start; 0 for never.
    pub idle_seconds: u32,
}

impl Default for PageSettings {
    fn default() -> Self {
        Self {
            title: None,
            subtitle: None,
            language: "en".into(),
            accent: None,
            accent_dark: None,
            logo: None,
            examples: Vec::new(),
            idle_seconds: 60,
        }
    }
}

impl Config {
    /// Reads the settings file at `path`; the logo is looked for beside it.
    ///
    /// # Errors
    /// If it cannot be read, or as [`Config::parse`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let error = |problem: String| ConfigError { path: path.to_owned(), problem };
        let metadata = fs::metadata(path).map_err(|e| error(e.to_string()))?;
        if !metadata.is_file() || metadata.len() > MAX_BYTES {
            return Err(error(format!("it is no file of at most {MAX_BYTES} bytes")));
        }
        let bytes = fs::read(path).map_err(|e| error(e.to_string()))?;
        let mut config = Self::parse(&bytes).map_err(error)?;
        if let (Some(logo), Some(folder)) = (&mut config.page.logo, path.parent()) {
            *logo = folder.join(&*logo);
        }
        Ok(config)
    }

    /// Reads settings from TOML.
    ///
    /// # Errors
    /// What is wrong, with its line.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|e| format!("it is not UTF-8: {e}"))?;
        let config: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| 1 + text.bytes().take(span.start).filter(|&b| b == b'\n').count());
            let line = line.map_or_else(String::new, |line| format!("line {line}: "));
            format!("{line}{}", without_types(error.message()))
        })?;
        config.page.check()?;
        Ok(config)
    }
}

impl PageSettings {
    /// Whether the page has words in its language; if not, they are English.
    pub fn has_words(&self) -> bool {
        self.language.split('-').next().is_some_and(|language| LANGUAGES.contains(&language))
    }

    /// The texts that are shown, each with its key.
    fn texts(&self) -> impl Iterator<Item = (String, &String)> {
        let named = [("title", &self.title), ("subtitle", &self.subtitle)];
        let named = named.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text.as_ref()?)));
        named.chain(self.examples.iter().enumerate().map(|(n, text)| (format!("examples[{n}]"), text)))
    }

    fn check(&self) -> Result<(), String> {
        for (key, colour) in [("accent", &self.accent), ("accent_dark", &self.accent_dark)] {
            if colour.as_ref().is_some_and(|colour| !is_colour(colour)) {
                return Err(format!("page.{key} is no colour; write #rgb or #rrggbb"));
            }
        }
        let language = &self.language;
        if language.is_empty()
            || language.len() > 35
            || !language.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return Err("page.language is no language tag; write \"en\", \"de\" or the like".into());
        }
        if self.examples.len() > MAX_EXAMPLES {
            return Err(format!("page.examples has more than {MAX_EXAMPLES} questions"));
        }
        for (key, text) in self.texts() {
            if text.len() > MAX_TEXT {
                return Err(format!("page.{key} has {} bytes, but {MAX_TEXT} is the most; shorten it", text.len()));
            }
        }
        if self.idle_seconds > MAX_IDLE {
            let seconds = self.idle_seconds;
            return Err(format!("page.idle_seconds is {seconds}, but {MAX_IDLE} is the most; write 0 for never"));
        }
        Ok(())
    }
}

fn is_colour(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or_default();
    matches!(digits.len(), 3 | 6) && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_defaults() {
        assert_eq!(Config::parse(b""), Ok(Config::default()));
        let text =
            b"[page]\ntitle = 'Museum'\naccent = '#0a7'\nexamples = [\n 'Who?',\n 'When?',\n]\nidle_seconds = 5\n";
        let page = Config::parse(text).unwrap().page;
        assert_eq!(
            (page.title.as_deref(), page.accent.as_deref(), page.idle_seconds),
            (Some("Museum"), Some("#0a7"), 5)
        );
        assert_eq!((page.examples.len(), page.language.as_str()), (2, "en"));
    }

    #[test]
    fn faults_are_named_with_their_line() {
        for (text, parts) in [
            ("[page]\n\ntitel = 'x'\n", &["line 3", "titel"][..]),
            ("[pages]\n", &["line 1", "pages"]),
            ("[page]\ntitle = 7\n", &["line 2"]),
            ("[page]\ntitle = 'x\n", &["line 2"]),
            ("[page]\nidle_seconds = -1\n", &["line 2"]),
            ("[page]\naccent = 'red'\n", &["page.accent", "#rgb"]),
            ("[page]\naccent_dark = '#12345'\n", &["page.accent_dark"]),
            ("[page]\nlanguage = '\"'\n", &["page.language"]),
            ("[page]\nidle_seconds = 2147484\n", &["page.idle_seconds", "2147483 is the most", "0"]),
        ] {
            let problem = Config::parse(text.as_bytes()).unwrap_err();
            assert!(parts.iter().all(|part| problem.contains(part)), "{text}: {problem}");
        }
        assert_eq!(Config::parse(b"[page]\nidle_seconds = 2147483\n").unwrap().page.idle_seconds, MAX_IDLE);
        assert!(Config::parse(b"\xff").unwrap_err().contains("UTF-8"));
        let (long, most) = ("x".repeat(501), "x".repeat(500));
        for (key, value) in [
            ("title", format!("'{long}'")),
            ("subtitle", format!("'{long}'")),
            ("examples[1]", format!("['{most}', '{long}']")),
        ] {
            let text = format!("[page]\n{} = {value}", key.trim_end_matches("[1]"));
            let want = format!("page.{key} has 501 bytes, but 500 is the most; shorten it");
            assert_eq!(Config::parse(text.as_bytes()), Err(want));
        }
    }

    #[test]
    fn the_logo_is_beside_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kiosk.toml");
        fs::write(&path, "[page]\nlogo = 'logo.svg'\n").unwrap();
        assert_eq!(Config::read(&path).unwrap().page.logo, Some(folder.path().join("logo.svg")));
        let error = Config::read(&folder.path().join("none.toml")).unwrap_err().to_string();
        assert!(error.contains("none.toml"), "{error}");
    }
}
