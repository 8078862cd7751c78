//! The normalisers that the pipeline of the tokenizers library runs with: its own, and the mapped map of characters.

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
        Self(vec![Step::Library(normalizer)])
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
    steps.push(match kind(&description) {
        SEQUENCE => {
            let Some(Value::Array(parts)) = description.get(STEPS).cloned() else {
                return Err("a sequence of normalizers without normalizers".into());
            };
            return parts.into_iter().try_for_each(|part| collect(part, charsmap, steps));
        }
        PRECOMPILED if description.get(MAP).is_none() => {
            Step::Charsmap(charsmap.cloned().ok_or("the map of characters is missing")?)
        }
        _ => Step::Library(serde_json::from_value(description).map_err(|e| e.to_string())?),
    });
    Ok(())
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
