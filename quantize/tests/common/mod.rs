//! What several tests need.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// Shapes and values by name.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/exports")
}

pub fn read_tensors(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).expect("weights");
    let read = |(name, tensor): (String, TensorView<'_>)| {
        assert_eq!(tensor.dtype(), Dtype::F32, "{name}");
        let values: Vec<f32> = tensor.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        (name, (tensor.shape().to_vec(), values))
    };
    SafeTensors::deserialize(&bytes).expect("safetensors").tensors().into_iter().map(read).collect()
}

pub fn write_tensors(path: &Path, tensors: &Tensors) {
    let bytes = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
    let data: Vec<Vec<u8>> = tensors.values().map(|(_, values)| bytes(values)).collect();
    let views = tensors.iter().zip(&data).map(|((name, (shape, _)), data)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data).expect("a tensor"))
    });
    safetensors::serialize_to_file(views, None, path).expect("written");
}
