//! The normalisers that the pipeline of the tokenizers library runs with: its own, but for maps of characters, which are ours, mapped or
//! not.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use tokenizers::{NormalizedString, Normalizer, NormalizerWrapper};

use super::charsmap::Charsmap;

/// What a text goes through before it is cut into words.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "NormalizerWrapper")]
pub struct Normalizers(Vec<Step>);

#[derive(Clone, Debug)]
enum Step {
    Library(NormalizerWrapper),
    Charsmap(Charsmap),
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
            Step::Library(normalizer) => {
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
        self.0.iter().try_for_each(|step| match step {
            Step::Library(normalizer) => normalizer.normalize(text),
            Step::Charsmap(charsmap) => charsmap.normalize(text),
        })
    }
}

const SEQUENCE: &str = "Sequence";
const PRECOMPILED: &str = "Precompiled";
const STEPS: &str = "normalizers";
const MAP: &str = "precompiled_charsmap";

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
