//! All tensors that an ONNX graph holds.

use half::bf16;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, TensorProto};

/// The tensors of `graph`, those of its nodes and of graphs inside of these included, each with the name of its value.
pub(super) fn all(graph: &mut GraphProto) -> Vec<(String, &mut TensorProto)> {
    let mut all: Vec<_> = graph.initializer.iter_mut().map(|tensor| (tensor.name.clone(), tensor)).collect();
    for node in &mut graph.node {
        let value = node.output.first().cloned().unwrap_or_default();
        for attribute in &mut node.attribute {
            let tensors = attribute.t.iter_mut().chain(&mut attribute.tensors);
            all.extend(tensors.map(|tensor| (value.clone(), tensor)));
            all.extend(attribute.g.iter_mut().chain(&mut attribute.graphs).flat_map(self::all));
        }
    }
    all
}

/// Makes f32 of bfloat16, which tract does not have; every value stays as it is.
pub(super) fn widen(tensor: &mut TensorProto) {
    if tensor.data_type == DataType::Bfloat16 as i32 {
        // Values are two bytes, or the lower half of an integer.
        let bytes = tensor.raw_data.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes));
        let integers = tensor.int32_data.iter().map(|bits| bf16::from_bits(*bits as u16));
        tensor.raw_data = bytes.chain(integers).flat_map(|value| value.to_f32().to_le_bytes()).collect();
        tensor.int32_data.clear();
        tensor.data_type = DataType::Float as i32;
    }
}
