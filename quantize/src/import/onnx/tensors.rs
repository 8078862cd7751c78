//! All tensors that an ONNX graph holds.

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
