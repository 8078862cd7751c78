//! The header of a file: how long it is, and what it says that there is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use safetensors::{SafeTensorError, SafeTensors};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{ArtifactError, MAX_HEADER};

/// Length and content of the header, which is not parsed if it is too long.
pub(super) fn read_header(file: &[u8]) -> Result<(usize, safetensors::tensor::Metadata), ArtifactError> {
    if let Some((&length, _)) = file.split_first_chunk() {
        let found = u64::from_le_bytes(length);
        // What is longer than its file is no header at all.
        if found > MAX_HEADER as u64 && found < file.len() as u64 {
            return Err(ArtifactError::HeaderLength { found });
        }
    }
    let (len, header) = SafeTensors::read_metadata(file).map_err(|error| {
        match error {
            SafeTensorError::MetadataIncompleteBuffer => wrong_length(file),
            _ => None,
        }
        .unwrap_or_else(|| ArtifactError::NotSafetensors(error.to_string()))
    })?;
    match repeated(&file[8..8 + len]).map_err(|error| ArtifactError::NotSafetensors(error.to_string()))? {
        Some(name) => Err(ArtifactError::NotSafetensors(format!("{name:?} is twice in its header"))),
        None => Ok((len, header)),
    }
}

/// A name that the header or the metadata in it has twice: which one counts would depend on who reads it.
///
/// # Errors
/// If there is something else than an object.
fn repeated(header: &[u8]) -> serde_json::Result<Option<String>> {
    let mut found = None;
    let names = Names { metadata: Some("__metadata__"), found: &mut found };
    names.deserialize(&mut serde_json::Deserializer::from_slice(header))?;
    Ok(found)
}

/// Reads the names of an object, and those of the `metadata` in it.
struct Names<'a> {
    metadata: Option<&'static str>,
    found: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Names<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Names<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = entries.next_key::<String>()? {
            if self.metadata == Some(name.as_str()) {
                entries.next_value_seed(Names { metadata: None, found: self.found })?;
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
            if let Some(name) = names.replace(name) {
                *self.found = Some(name);
            }
        }
        Ok(())
    }
}

/// What is wrong with a file that has not as many bytes as its header promises; of one that is cut off, the first tensor that is.
fn wrong_length(file: &[u8]) -> Option<ArtifactError> {
    let (len, rest) = file.split_first_chunk::<8>()?;
    let header_len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
    let header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(rest.get(..header_len)?).ok()?;
    let data_len = (rest.len() - header_len) as u64;
    let ends = header.iter().filter_map(|(name, info)| Some((info.get("data_offsets")?.get(1)?.as_u64()?, name)));
    let (mut first_cut, mut end_of_data) = (None, 0);
    for (end, name) in ends {
        end_of_data = end_of_data.max(end);
        if end > data_len && first_cut.is_none_or(|(e, _)| end < e) {
            first_cut = Some((end, name));
        }
    }
    let expected = end_of_data.saturating_add(8 + header_len as u64);
    let found = file.len() as u64;
    match first_cut {
        Some((_, tensor)) => Some(ArtifactError::Truncated { tensor: tensor.clone(), expected, found }),
        None if end_of_data < data_len => Some(ArtifactError::Overlong { expected, found }),
        None => None,
    }
}
