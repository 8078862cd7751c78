//! The tract model of a DeBERTa question-answering network, built out of [`crate::ops`].

use tract_core::internal::*;

use super::weights::ModelWeights;
use crate::ops::{DisentangledAttention, LayerNorm, Linear, LinearWeights};

/// Which values the model returns beside the logits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Taps {
    /// None: outputs are start logits and end logits.
    #[default]
    None,
    /// The hidden state after every encoder layer, `[S, hidden]` each, after the logits.
    Layers,
    /// The inputs of every linear layer, in the order of [`crate::artifact::schema::linears`], after the logits.
    LinearInputs,
}

/// Builds the model. Inputs: `input_ids` (`i64`, `[S]`) and, if the configuration has token types, `token_type_ids`. Outputs:
/// `start_logits` and `end_logits` (`f32`, `[S]`), then those that `taps` asks for. `S` is symbolic, so one plan serves
/// every length. Weights are shared with `weights`, not copied.
///
/// # Errors
/// If tract refuses the wiring, which no valid `weights` provoke.
pub fn build(weights: &ModelWeights, taps: Taps) -> TractResult<TypedModel> {
    let mut model = TypedModel::default();
    let length = model.symbols.sym("S");
    let ids = i64::fact([length.to_dim()]);
    let mut inputs = tvec!(model.add_source("input_ids", ids.clone())?);
    if weights.embedding.token_type.is_some() {
        inputs.push(model.add_source("token_type_ids", ids)?);
    }
    let mut hidden = model.wire_node("embeddings", weights.embedding.clone(), &inputs)?[0];
    hidden = model.wire_node("embeddings.norm", weights.embedding_norm.clone(), &[hidden])?[0];
    let mut tapped = Vec::new();
    for (i, layer) in weights.layers.iter().enumerate() {
        let name = |part: &str| crate::artifact::schema::in_layer(i, part);
        let linear = |weights: &LinearWeights, gelu, norm: Option<&LayerNorm>| Linear {
            weights: weights.clone(),
            gelu,
            // What is normalised is a sum with what came in.
            residual: norm.is_some(),
            norm: norm.cloned(),
        };
        let qkv = model.wire_node(name("attention.qkv"), linear(&layer.qkv, false, None), &[hidden])?;
        let attention = DisentangledAttention::new(&weights.config, layer.relative.clone());
        let attended = model.wire_node(name("attention"), attention, &qkv)?[0];
        let output = linear(&layer.attention_output, false, Some(&layer.attention_norm));
        let normed = model.wire_node(name("attention.output"), output, &[attended, hidden])?[0];
        let inner = model.wire_node(name("ffn.in"), linear(&layer.ffn_in, true, None), &[normed])?[0];
        let output = linear(&layer.ffn_out, false, Some(&layer.ffn_norm));
        let layer_input = hidden;
        hidden = model.wire_node(name("ffn.out"), output, &[inner, normed])?[0];
        match taps {
            Taps::None => {}
            Taps::Layers => tapped.push(hidden),
            Taps::LinearInputs => tapped.extend([layer_input, attended, normed, inner]),
        }
    }
    let mut outputs = model.wire_node("head", weights.head.clone(), &[hidden])?;
    model.set_outlet_label(outputs[0], "start_logits".into())?;
    model.set_outlet_label(outputs[1], "end_logits".into())?;
    outputs.extend(tapped);
    model.select_output_outlets(&outputs)?;
    Ok(model)
}
