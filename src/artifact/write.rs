//! Writing an artifact: deterministic bytes, written beside the target, synced, then renamed.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::ser::{SerializeMap, Serializer};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::metadata::Metadata;
use super::schema::{self, LinearSpec, Precision, TensorSpec, TokenizerForm};
use super::{ALIGNMENT, ArtifactError, MAX_HEADER, PADDING_SUFFIX, seal};
use crate::checksum::hex;
use crate::replace::{behind_links, beside, folder_of, is_special, publish};

/// Tensor contents by name, each the little-endian bytes of its elements.
pub type TensorData = BTreeMap<String, Vec<u8>>;

/// A complete file that does not carry its final name yet. Dropping it removes it; a killed process leaves it behind, named
/// `.<target>.<random>.tmp`.
#[derive(Debug)]
pub struct Pending {
    file: NamedTempFile,
    target: PathBuf,
}

impl Pending {
    /// The file under its temporary name.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Renames the file to its final name, replacing what was there.
    ///
    /// # Errors
    /// If the rename fails.
    pub fn publish(self) -> Result<(), ArtifactError> {
        publish(self.file, &self.target).map_err(io_error("rename to", &self.target))
    }
}

/// Writes a model to a synced temporary file beside `target`, or beside what that links to; [`Pending::publish`] gives it its name.
///
/// # Errors
/// [`ArtifactError::Missing`], [`ArtifactError::Superfluous`] or [`ArtifactError::Shape`] if `data` are not the tensors that
/// `metadata.config` implies; [`ArtifactError::HeaderLength`] if the header, in which the metadata are, is longer than readers take;
/// [`ArtifactError::Io`] if writing fails.
pub fn write(target: &Path, metadata: &Metadata, data: &TensorData) -> Result<Pending, ArtifactError> {
    let (header, tensors) = layout(target, metadata, data)?;
    if header.len() > MAX_HEADER {
        return Err(ArtifactError::HeaderLength { found: header.len() as u64 });
    }
    if is_special(target) {
        return Err(io_error("replace", target)(io::Error::other("it is neither a file nor a folder")));
    }
    let target = &behind_links(target);
    let mut file = beside(target).map_err(io_error("create a file in", folder_of(target)))?;
    let mut writer = BufWriter::with_capacity(1 << 20, file.as_file_mut());
    let written = write_all(&mut writer, &header, &tensors);
    drop(writer);
    written.and_then(|()| file.as_file().sync_all()).map_err(io_error("write", target))?;
    Ok(Pending { file, target: target.to_owned() })
}

fn io_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> ArtifactError {
    let path = path.to_owned();
    move |source| ArtifactError::Io { action, path: path.clone(), source }
}

/// One tensor of the file and the zero bytes after it.
struct Placed<'a> {
    spec: TensorSpec,
    shape: Vec<usize>,
    bytes: &'a [u8],
    padding: usize,
}

fn write_all(out: &mut impl Write, header: &[u8], tensors: &[Placed<'_>]) -> io::Result<()> {
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header)?;
    for tensor in tensors {
        out.write_all(tensor.bytes)?;
        out.write_all(&[0; ALIGNMENT][..tensor.padding])?;
    }
    out.flush()
}

fn layout<'a>(
    target: &Path,
    metadata: &Metadata,
    data: &'a TensorData,
) -> Result<(Vec<u8>, Vec<Placed<'a>>), ArtifactError> {
    let length = |tensor: String| data.get(&tensor).map(Vec::len);
    let is_half = |spec: &LinearSpec| {
        length(format!("{}.weight", spec.name))
            .is_some_and(|found| Some(found) == size(&[spec.shape.n, spec.shape.k], 16))
            && length(format!("{}.column_sum", spec.name)).is_none()
    };
    let form = TokenizerForm::of(|name| data.contains_key(name));
    let specs = schema::tensors(&metadata.config, form, |linear| match is_half(linear) {
        true => Precision::F16,
        false => Precision::Int8,
    });
    if let Some(name) = data.keys().find(|name| specs.iter().all(|s| s.name != **name)) {
        return Err(ArtifactError::Superfluous { tensor: name.clone() });
    }
    let mut tensors = Vec::with_capacity(specs.len());
    for spec in specs {
        let Some(bytes) = data.get(&spec.name) else {
            if spec.required {
                return Err(ArtifactError::Missing { tensor: spec.name });
            }
            continue;
        };
        let shape = spec.shape.clone().unwrap_or_else(|| vec![schema::elements(bytes.len(), spec.dtype)]);
        if Some(bytes.len()) != size(&shape, spec.dtype.bitsize()) {
            return Err(ArtifactError::Shape { tensor: spec.name, found: vec![bytes.len()], expected: shape });
        }
        let padding = bytes.len().next_multiple_of(ALIGNMENT) - bytes.len();
        tensors.push(Placed { spec, shape, bytes, padding });
    }
    let header = header(metadata, &tensors).map_err(|error| io_error("describe", target)(error.into()))?;
    Ok((header, tensors))
}

/// Bytes of a tensor whose elements have so many bits, which are whole bytes in all; `None` if that is more than can be.
fn size(shape: &[usize], bits: usize) -> Option<usize> {
    Some(shape.iter().try_fold(bits, |all, &size| all.checked_mul(size))? / 8)
}

/// The JSON header with its checksum, padded with spaces so that the data after it start on the alignment.
fn header(metadata: &Metadata, tensors: &[Placed<'_>]) -> Result<Vec<u8>, serde_json::Error> {
    let mut digest = Sha256::new();
    for tensor in tensors {
        digest.update(tensor.bytes);
        digest.update(&[0; ALIGNMENT][..tensor.padding]);
    }
    let entries = metadata.to_entries(&hex(&digest.finalize()))?;
    let mut json = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut json);
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("__metadata__", &entries)?;
    let mut start = 0;
    let mut entry = |name: &str, dtype: safetensors::Dtype, shape: &[usize], len: usize| {
        let info = safetensors::tensor::TensorInfo { dtype, shape: shape.to_vec(), data_offsets: (start, start + len) };
        start += len;
        map.serialize_entry(name, &info)
    };
    for Placed { spec, shape, bytes, padding } in tensors {
        entry(&spec.name, spec.dtype, shape, bytes.len())?;
        if *padding > 0 {
            entry(&format!("{}{PADDING_SUFFIX}", spec.name), safetensors::Dtype::U8, &[*padding], *padding)?;
        }
    }
    SerializeMap::end(map)?;
    json.resize((8 + json.len()).next_multiple_of(ALIGNMENT) - 8, b' ');
    seal::close(&mut json);
    Ok(json)
}
