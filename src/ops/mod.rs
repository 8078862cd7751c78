//! The tract operators the model is made of, one file each.
//!
//! All of them are for one sequence: activations are `[S, width]` with the symbolic length `S`, token ids are `[S]`.
//! Weights are [`crate::artifact::View`]s, so an operator of a mapped model owns no weight.

mod attention;
mod embedding;
mod int8;
mod layer_norm;
mod linear;
mod packed;
mod relative;
mod span_head;
mod table;
mod workspace;

pub use attention::{DisentangledAttention, RelativeTables};
pub use embedding::Embedding;
pub use int8::Int8Linear;
pub use layer_norm::LayerNorm;
pub use linear::{Linear, LinearWeights};
pub use packed::Packed;
pub use relative::RelativeIndex;
pub use span_head::SpanHead;
pub use table::Table;
pub use workspace::Workspace;

use tract_core::internal::*;

/// The elements of input `i` as a slice.
fn slice_of<T: Datum>(inputs: &TVec<TValue>, i: usize) -> TractResult<&[T]> {
    let Some(value) = inputs.get(i) else { bail!("input {i} is missing") };
    value.try_as_plain_ram()?.as_slice::<T>()
}

/// Fact of an `f32` output `[S, width]`, with `S` taken from the first input.
fn rows_fact(inputs: &[&TypedFact], width: usize) -> TractResult<TVec<TypedFact>> {
    let Some(first) = inputs.first() else { bail!("no input") };
    Ok(tvec!(f32::fact([first.shape[0].clone(), width.to_dim()])))
}
