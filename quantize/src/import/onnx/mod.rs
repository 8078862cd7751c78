//! Weights of an ONNX graph, found by the flow of data.
//!
//! Exporters name and arrange things differently, so nothing here depends on names: `graph` answers which node makes a value
//! and what is constant, `pattern` recognises linear layers, LayerNorms and GELU in all the forms exporters write,
//! `encoder` walks from the logits back to the embeddings.

mod encoder;
mod external;
mod graph;
pub(crate) mod inputs;
mod pattern;
mod tensors;

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use tract_onnx::pb::{GraphProto, ModelProto};
use tract_onnx::tract_hir::internal::Framework;

use crate::checkpoint::Checkpoint;
use crate::config::SourceConfig;
use crate::input::is_file;

/// An ONNX model, all of its data in memory.
pub struct OnnxModel {
    /// The model, without bfloat16.
    pub proto: ModelProto,
    /// The file it was read from.
    pub path: PathBuf,
    /// Files beside it that held data.
    pub external: Vec<PathBuf>,
}

/// Reads an ONNX file and its external data.
///
/// # Errors
/// If a file cannot be read or is no ONNX model, or the graph holds operators that only occur in already quantised or fused
/// graphs, or axes that no tensor has or that are no order of axes, or its inputs have names that do not tell what they are.
pub fn read(path: &Path) -> anyhow::Result<OnnxModel> {
    ensure!(is_file(path)?, "cannot open {}: no such file", path.display());
    let mut proto = tract_onnx::onnx().proto_model_for_path(path).map_err(|problem| {
        anyhow!("{} is no ONNX model, or a damaged one ({problem:#}); copy or download it again", path.display())
    })?;
    refuse_foreign_operators(&proto)
        .and_then(|()| proto.graph.as_ref().map_or(Ok(()), refuse_absurd_attributes))
        .and_then(|()| proto.graph.as_ref().map_or(Ok(()), |graph| inputs::roles(graph).map(drop)))
        .with_context(|| format!("{} is not supported", path.display()))?;
    let external = external::inline(&mut proto, path.parent().unwrap_or(Path::new("")))
        .with_context(|| format!("cannot read {}", path.display()))?;
    proto.graph.iter_mut().flat_map(tensors::all).for_each(|(_, tensor)| tensors::widen(tensor));
    Ok(OnnxModel { proto, path: path.to_owned(), external })
}

fn refuse_foreign_operators(model: &ModelProto) -> anyhow::Result<()> {
    let Some(graph) = &model.graph else { bail!("the file holds no graph; copy or download it again") };
    const QUANTIZED: [&str; 7] = [
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "MatMulInteger",
        "QLinearMatMul",
        "ConvInteger",
        "QLinearConv",
    ];
    for node in &graph.node {
        if QUANTIZED.contains(&node.op_type.as_str()) {
            bail!("node {:?} is a {}: the graph is already quantised, export it in fp32", node.name, node.op_type);
        }
        if !matches!(node.domain.as_str(), "" | "ai.onnx") {
            bail!(
                "node {:?} is a {} of domain {:?}: the graph was optimised for one runtime, export it without fusion",
                node.name,
                node.op_type,
                node.domain
            );
        }
    }
    Ok(())
}

/// The most axes of a tensor that are believed; models have five.
const MAX_RANK: i64 = 64;

/// What counts from 0 to its axis in tract, which never ends if that is before the first one.
const COUNTING: [&str; 4] = ["LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization", "OneHot"];

/// Refuses axes that no tensor has, and orders of axes in which one is missing, with which tract does not come to an end. Operators that are
/// [`COUNTING`] have the last axis, or one that is counted from the front.
fn refuse_absurd_attributes(graph: &GraphProto) -> anyhow::Result<()> {
    for node in &graph.node {
        if let Some(order) = graph::attribute(node, "perm").map(|perm| &perm.ints) {
            ensure!(
                order.len() <= MAX_RANK as usize && (0..).zip(order).all(|(axis, _)| order.contains(&axis)),
                "node {:?} is a {} by {order:?}: the file is damaged",
                node.name,
                node.op_type
            );
        }
        let possible = if COUNTING.contains(&node.op_type.as_str()) { -1..MAX_RANK } else { -MAX_RANK..MAX_RANK };
        for attribute in &node.attribute {
            if matches!(attribute.name.as_str(), "axis" | "axes")
                && let Some(axis) = attribute.ints.iter().chain([&attribute.i]).find(|axis| !possible.contains(axis))
            {
                bail!("node {:?} is a {} along axis {axis}: the file is damaged", node.name, node.op_type);
            }
            for inner in attribute.g.iter().chain(&attribute.graphs) {
                refuse_absurd_attributes(inner)?;
            }
        }
    }
    Ok(())
}

/// Finds all weights of the model that `config` describes.
///
/// # Errors
/// If the data flow is not that of a DeBERTa question-answering model; the message says where it departs from it.
pub fn import(model: &OnnxModel, config: &SourceConfig) -> anyhow::Result<Checkpoint> {
    let import = || {
        let graph = graph::Graph::new(&model.proto)?;
        let checkpoint = encoder::Walk { graph: &graph, config }.checkpoint()?;
        checkpoint.validate()?;
        Ok::<_, anyhow::Error>(checkpoint)
    };
    import().with_context(|| format!("cannot import {}", model.path.display()))
}
