//! The normalisers that the pipeline of the tokenizers library runs with: its own, but for maps of characters, which are ours, mapped or
//! not.
//!
//! Nothing makes more of a text than [`most_normalized`] allows: steps of untrusted files, one after the other, could make gigabytes of a
//! few words.

use std::cell::Cell;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::utils::SysRegex;
use tokenizers::{NormalizedString, Normalizer, NormalizerWrapper};

use super::charsmap::Charsmap;
use super::limits::most_normalized;
use super::model::Problem;

/// What a text goes through before it is cut into words.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "NormalizerWrapper")]
pub struct Normalizers(Vec<Step>);

#[derive(Clone, Debug)]
enum Step {
    /// Makes at most 11 times as much of a text: what Unicode says, or bytes as letters.
    Library(NormalizerWrapper),
    /// Makes as much as it is told to.
    Replace(NormalizerWrapper, Replacement),
    Charsmap(Charsmap),
}

/// What the library's `Replace` does, which keeps its pattern to itself, and `Prepend`.
#[derive(Clone, Debug, Deserialize)]
struct Replacement {
    /// What is replaced; `None` for the beginning of the text.
    pattern: Option<ReplacePattern>,
    /// What comes there.
    #[serde(alias = "prepend")]
    content: String,
}

impl Replacement {
    /// Whether at most `most` bytes come of `text`. What is replaced is looked for only if that could be too many.
    fn fits(&self, text: &str, most: usize) -> tokenizers::Result<bool> {
        let fits = |places: usize, replaced: usize| {
            places.saturating_mul(self.content.len()).saturating_add(text.len() - replaced) <= most
        };
        Ok(match &self.pattern {
            None => fits(1, 0),
            // Between characters, too, an expression finds something.
            Some(_) if fits(text.len() + 1, 0) => true,
            Some(ReplacePattern::String(part)) if part.is_empty() => fits(text.chars().count() + 1, 0),
            Some(ReplacePattern::String(part)) => {
                let places = memchr::memmem::find_iter(text.as_bytes(), part).count();
                fits(places, places * part.len())
            }
            Some(ReplacePattern::Regex(regex)) => {
                let found = SysRegex::new(regex)?;
                let found = found.find_iter(text).map(|(start, end)| end - start);
                let (places, replaced) = found.fold((0, 0), |(places, sum), len| (places + 1, sum + len));
                fits(places, replaced)
            }
        })
    }
}

impl From<NormalizerWrapper> for Normalizers {
    fn from(normalizer: NormalizerWrapper) -> Self {
        let mut steps = Vec::new();
        take_apart(normalizer, &mut steps);
        Self(steps)
    }
}

impl Normalizers {
    /// Reads a description in which a map of characters may stand without its bytes; those are in `charsmap`.
    ///
    /// # Errors
    /// If the library does not know a step, or the map is not there.
    pub fn new(description: Value, charsmap: Option<&Charsmap>) -> Result<Self, String> {
        let mut steps = Vec::new();
        collect(description, charsmap, &mut steps)?;
        Ok(Self(steps))
    }

    /// Whether what becomes of a character is decided by those near it. A regular expression can reach any distance; those that
    /// match nothing but runs of spaces do not.
    pub fn are_local(&self) -> bool {
        self.0.iter().all(|step| match step {
            Step::Library(normalizer) | Step::Replace(normalizer, _) => {
                serde_json::to_value(normalizer).is_ok_and(|description| is_local(&description))
            }
            Step::Charsmap(_) => true,
        })
    }
}

fn is_local(description: &Value) -> bool {
    match description.get(STEPS) {
        Some(Value::Array(parts)) => parts.iter().all(is_local),
        _ => description
            .pointer("/pattern/Regex")
            .is_none_or(|regex| regex.as_str().is_some_and(|regex| [" {2,}", " +", "\\s+"].contains(&regex))),
    }
}

fn collect(description: Value, charsmap: Option<&Charsmap>, steps: &mut Vec<Step>) -> Result<(), String> {
    match kind(&description) {
        SEQUENCE => {
            let Some(Value::Array(parts)) = description.get(STEPS).cloned() else {
                return Err("a sequence of normalizers without normalizers".into());
            };
            return parts.into_iter().try_for_each(|part| collect(part, charsmap, steps));
        }
        PRECOMPILED if description.get(MAP).is_none() => {
            steps.push(Step::Charsmap(charsmap.cloned().ok_or("the map of characters is missing")?));
        }
        _ => take_apart(serde_json::from_value(description).map_err(|e| e.to_string())?, steps),
    }
    Ok(())
}

/// The steps of a normaliser of the library.
fn take_apart(normalizer: NormalizerWrapper, steps: &mut Vec<Step>) {
    match normalizer {
        NormalizerWrapper::Sequence(parts) => parts.into_iter().for_each(|part| take_apart(part, steps)),
        NormalizerWrapper::Replace(_) | NormalizerWrapper::Prepend(_) => {
            let description = serde_json::to_value(&normalizer).unwrap_or_default();
            steps.push(match serde_json::from_value(description) {
                Ok(replacement) => Step::Replace(normalizer, replacement),
                Err(_) => Step::Library(normalizer),
            });
        }
        other => steps.push(own_charsmap(&other).map_or_else(|| Step::Library(other), Step::Charsmap)),
    }
}

/// Our map of characters in place of the library's. `None` for every other normaliser.
fn own_charsmap(normalizer: &NormalizerWrapper) -> Option<Charsmap> {
    let NormalizerWrapper::Precompiled(map) = normalizer else { return None };
    let description = serde_json::to_value(map).ok()?;
    Charsmap::new(STANDARD.decode(description.get(MAP)?.as_str()?).ok()?.into())
}

impl Normalizer for Normalizers {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        self.run(text).inspect_err(|error| FAILURE.set(Some(error.to_string())))
    }
}

impl Normalizers {
    fn run(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        let original = text.len_original();
        let most = most_normalized(original);
        let check = |fits: bool| if fits { Ok(()) } else { Err(Problem::Normalized { original, most }) };
        for step in &self.0 {
            match step {
                Step::Library(normalizer) => normalizer.normalize(text)?,
                Step::Replace(normalizer, replacement) => {
                    check(replacement.fits(text.get(), most)?)?;
                    normalizer.normalize(text)?;
                }
                Step::Charsmap(charsmap) => check(charsmap.normalize(text, most))?,
            }
            check(text.len() <= most)?;
        }
        Ok(())
    }
}

thread_local! {
    /// What the last normaliser that failed on this thread said.
    static FAILURE: Cell<Option<String>> = const { Cell::new(None) };
}

/// Calls `f`, which tokenizes on this thread, and fails if a normaliser did: the library goes on with the text as it was.
///
/// # Errors
/// What the normaliser said, or as `f`.
pub(super) fn heard<T>(f: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    FAILURE.set(None);
    let result = f()?;
    FAILURE.take().map_or(Ok(result), |failure| Err(Box::new(Unheard(failure))))
}

/// What a normaliser said that could not take a text.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unheard(String);

const SEQUENCE: &str = "Sequence";
const PRECOMPILED: &str = "Precompiled";
const STEPS: &str = "normalizers";
pub(super) const MAP: &str = "precompiled_charsmap";

fn kind(description: &Value) -> &str {
    description.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// Takes the bytes of the first map of characters out of a description, in base64.
pub(super) fn take_charsmap(description: &mut Value) -> Option<String> {
    if kind(description) == PRECOMPILED {
        return match description.as_object_mut()?.remove(MAP)? {
            Value::String(base64) => Some(base64),
            other => {
                description[MAP] = other;
                None
            }
        };
    }
    description.get_mut(STEPS)?.as_array_mut()?.iter_mut().find_map(take_charsmap)
}
