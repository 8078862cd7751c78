//! A checkpoint as a runnable fp32 model.

use edgeqa::artifact::View;
use edgeqa::config::ModelConfig;
use edgeqa::kernels::layout::PackedShape;
use edgeqa::kernels::linear::Epilogue;
use edgeqa::kernels::linear_float::{Scratch, linear_f32};
use edgeqa::kernels::math::layer_norm;
use edgeqa::model::ModelWeights;
use edgeqa::model::weights::LayerWeights;
use edgeqa::ops::{Embedding, LayerNorm, LinearWeights, RelativeTables, SpanHead, Table};

use crate::checkpoint::{Checkpoint, Dense, Layer, Matrix, Norm, PositionTerm, RelativeEmbedding};

/// The weights of a validated checkpoint for the runtime's graph builder.
pub fn weights(checkpoint: &Checkpoint) -> ModelWeights {
    let config = &checkpoint.config;
    let relative = checkpoint.relative.as_ref().map(|r| normalized(r, config));
    ModelWeights {
        embedding: Embedding {
            word: table(&checkpoint.word),
            position: checkpoint.position.as_ref().map(table),
            token_type: checkpoint.token_type.as_ref().map(table),
        },
        embedding_norm: norm(&checkpoint.embedding_norm, config),
        layers: checkpoint.layers.iter().map(|l| layer(l, relative.as_ref(), config)).collect(),
        head: SpanHead {
            weight: checkpoint.head.weight.data.clone().into(),
            bias: checkpoint.head.bias.clone().into(),
        },
        config: config.clone(),
    }
}

fn layer(layer: &Layer, relative: Option<&Matrix>, config: &ModelConfig) -> LayerWeights {
    let term = |term: &Option<PositionTerm>| term.as_ref().map(|t| table(&project(t, relative)));
    LayerWeights {
        qkv: linear(&stack(&[&layer.query, &layer.key, &layer.value])),
        relative: config.relative.as_ref().map(|relative| RelativeTables {
            config: relative.clone(),
            key: term(&layer.position_key),
            query: term(&layer.position_query),
        }),
        attention_output: linear(&layer.output),
        attention_norm: norm(&layer.attention_norm, config),
        ffn_in: linear(&layer.ffn_in),
        ffn_out: linear(&layer.ffn_out),
        ffn_norm: norm(&layer.ffn_norm, config),
    }
}

/// Layers that read the same input, as one with their outputs side by side.
pub(crate) fn stack(layers: &[&Dense]) -> Dense {
    let cols = layers.first().map_or(0, |l| l.weight.cols);
    Dense {
        weight: Matrix {
            rows: layers.iter().map(|l| l.weight.rows).sum(),
            cols,
            data: layers.iter().flat_map(|l| &l.weight.data).copied().collect(),
        },
        bias: layers.iter().flat_map(|l| &l.bias).copied().collect(),
    }
}

/// The relative-position embedding, through its LayerNorm.
pub(crate) fn normalized(relative: &RelativeEmbedding, config: &ModelConfig) -> Matrix {
    let mut table = relative.table.clone();
    if let Some(norm) = &relative.norm {
        for row in table.data.chunks_exact_mut(table.cols) {
            layer_norm(row, &norm.weight, &norm.bias, config.layer_norm_eps);
        }
    }
    table
}

/// The `2 * span` projected relative positions of one term. `relative` is what [`normalized`] returns.
pub(crate) fn project(term: &PositionTerm, relative: Option<&Matrix>) -> Matrix {
    match (term, relative) {
        (PositionTerm::Projection(projection), Some(relative)) => {
            let Dense { weight, bias } = projection;
            let mut data = vec![0.0; relative.rows * weight.rows];
            let epilogue = Epilogue { gelu: false, residual: None };
            linear_f32(&relative.data, weight.cols, &weight.data, bias, epilogue, &mut Scratch::default(), &mut data);
            Matrix { rows: relative.rows, cols: weight.rows, data }
        }
        (PositionTerm::Projected(table), _) => table.clone(),
        // A validated checkpoint has the embedding if a layer projects it.
        (PositionTerm::Projection(_), None) => Matrix { rows: 0, cols: 0, data: Vec::new() },
    }
}

fn table(matrix: &Matrix) -> Table {
    Table::F32 { values: matrix.data.clone().into(), width: matrix.cols }
}

fn norm(norm: &Norm, config: &ModelConfig) -> LayerNorm {
    LayerNorm { weight: norm.weight.clone().into(), bias: norm.bias.clone().into(), eps: config.layer_norm_eps }
}

fn linear(dense: &Dense) -> LinearWeights {
    LinearWeights::F32 {
        shape: PackedShape { n: dense.weight.rows, k: dense.weight.cols },
        weight: View::from(dense.weight.data.clone()),
        bias: dense.bias.clone().into(),
    }
}
