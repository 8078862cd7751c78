//! Tensor data that an ONNX model keeps in other files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail, ensure};
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{ModelProto, TensorProto};

use super::tensors;
use crate::input::{is_file, refuse_pointer};

/// Reads all external data into the model and returns the files they were in.
///
/// Files lie in the model's folder or below it by name; links are followed, because hub caches are made of links.
///
/// # Errors
/// If a location leads elsewhere, a file is missing or too short, or tensors share too much of it; the message names the tensor.
pub(super) fn inline(model: &mut ModelProto, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files: BTreeMap<PathBuf, u64> = BTreeMap::new();
    for (name, tensor) in model.graph.iter_mut().flat_map(tensors::all) {
        if tensor.data_location == Some(DataLocation::External as i32) {
            let (path, size, data) = read(tensor, folder).with_context(|| format!("external data of {name:?}"))?;
            let taken = files.entry(path).or_default();
            *taken += data.len() as u64;
            // Tied weights may share their bytes.
            ensure!(
                *taken <= size.saturating_mul(2),
                "external data of {name:?}: the tensors up to this one take more than twice the bytes of their file"
            );
            tensor.raw_data = data;
            tensor.data_location = None;
            tensor.external_data.clear();
        }
    }
    Ok(files.into_keys().collect())
}

/// A tensor's data, and the file that holds it, with its size.
fn read(tensor: &TensorProto, folder: &Path) -> anyhow::Result<(PathBuf, u64, Vec<u8>)> {
    let entry = |key: &str| tensor.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    let number = |key: &str| entry(key).map(|v| v.parse::<u64>().with_context(|| format!("{key} {v:?}"))).transpose();
    let location = Path::new(entry("location").context("no location")?);
    ensure!(
        location.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)),
        "location {} leads out of the model's folder",
        location.display()
    );
    let path = folder.join(location);
    ensure!(is_file(&path)?, "cannot open {}: no such file; put it beside the graph", path.display());
    let mut file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    refuse_pointer(&path)?;
    let size = file.metadata().with_context(|| format!("cannot read {}", path.display()))?.len();
    let offset = number("offset")?.unwrap_or(0);
    let needed = bytes_of_values(tensor)?;
    let length = number("length")?.unwrap_or(needed);
    ensure!(length == needed, "length {length} is not that of the tensor's values, which take {needed} bytes");
    ensure!(
        offset.checked_add(length).is_some_and(|end| end <= size),
        "{} has {size} bytes, too few for {length} bytes from {offset} on; copy or download it again",
        path.display()
    );
    let mut data = Vec::new();
    let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.take(length).read_to_end(&mut data));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok((path, size, data))
}

/// The bytes that a tensor's values take, by its shape and type.
fn bytes_of_values(tensor: &TensorProto) -> anyhow::Result<u64> {
    let of_value: u64 = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Bool | DataType::Int8 | DataType::Uint8) => 1,
        Ok(DataType::Float16 | DataType::Bfloat16 | DataType::Int16 | DataType::Uint16) => 2,
        Ok(DataType::Float | DataType::Int32 | DataType::Uint32) => 4,
        Ok(DataType::Double | DataType::Int64 | DataType::Uint64) => 8,
        _ => bail!("data type {} is not supported there", tensor.data_type),
    };
    let mut sizes = tensor.dims.iter().map(|&size| u64::try_from(size).ok());
    sizes.try_fold(of_value, |all, size| all.checked_mul(size?)).with_context(|| format!("shape {:?}", tensor.dims))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::{GraphProto, StringStringEntryProto};

    /// `count` tensors of two f32 that are all the file "weights".
    fn model(count: usize) -> ModelProto {
        let tensor = |i| TensorProto {
            name: format!("t{i}"),
            dims: vec![2],
            data_type: DataType::Float as i32,
            data_location: Some(DataLocation::External as i32),
            external_data: vec![StringStringEntryProto { key: "location".into(), value: "weights".into() }],
            ..TensorProto::default()
        };
        let graph = GraphProto { initializer: (0..count).map(tensor).collect(), ..GraphProto::default() };
        ModelProto { graph: Some(graph), ..ModelProto::default() }
    }

    #[test]
    fn two_tensors_may_share_a_file_and_three_may_not() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("weights"), b"8 bytes.").unwrap();

        let mut tied = model(2);
        assert_eq!(inline(&mut tied, folder.path()).unwrap(), [folder.path().join("weights")]);
        for tensor in tied.graph.unwrap().initializer {
            assert_eq!((tensor.raw_data.as_slice(), tensor.data_location), (&b"8 bytes."[..], None), "{}", tensor.name);
        }

        let error = inline(&mut model(3), folder.path()).unwrap_err().to_string();
        assert!(error.contains("\"t2\"") && error.contains("more than twice"), "{error}");
    }
}
