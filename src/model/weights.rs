//! All weights of a model as views, independent of where they come from.

use crate::artifact::schema::{self, LinearSpec, Precision, in_layer};
use crate::artifact::{Artifact, ArtifactError, View};
use crate::config::ModelConfig;
use crate::ops::{Embedding, Int8Linear, LayerNorm, LinearWeights, RelativeTables, SpanHead, Table};

/// A model's weights.
#[derive(Clone, Debug)]
pub struct ModelWeights {
    /// Shapes.
    pub config: ModelConfig,
    /// Embedding tables.
    pub embedding: Embedding,
    /// LayerNorm of the embeddings.
    pub embedding_norm: LayerNorm,
    /// Encoder layers, in order.
    pub layers: Vec<LayerWeights>,
    /// The span classifier.
    pub head: SpanHead,
}

/// The weights of one encoder layer.
#[derive(Clone, Debug)]
pub struct LayerWeights {
    /// Query, key and value projections, side by side.
    pub qkv: LinearWeights,
    /// Projected relative positions.
    pub relative: Option<RelativeTables>,
    /// Output projection of the attention.
    pub attention_output: LinearWeights,
    /// LayerNorm after the attention.
    pub attention_norm: LayerNorm,
    /// First feed-forward layer.
    pub ffn_in: LinearWeights,
    /// Second feed-forward layer.
    pub ffn_out: LinearWeights,
    /// LayerNorm after the feed-forward layers.
    pub ffn_norm: LayerNorm,
}

impl ModelWeights {
    /// Views of everything in a validated artifact. Nothing is copied; the system is told to read ahead what an inference needs.
    ///
    /// # Errors
    /// Those of [`Artifact::view`].
    pub fn from_artifact(artifact: &Artifact) -> Result<Self, ArtifactError> {
        artifact.read_ahead();
        let config = artifact.metadata().config.clone();
        let parts = Parts { artifact, config: &config };
        let hidden = config.hidden_size;
        let embedding = Embedding {
            word: parts.table("embeddings.word", hidden, 1)?,
            position: if config.position_biased_input {
                Some(parts.table("embeddings.position", hidden, 1)?)
            } else {
                None
            },
            token_type: if config.type_vocab_size > 0 {
                Some(parts.table("embeddings.token_type", hidden, 1)?)
            } else {
                None
            },
        };
        let embedding_norm = parts.norm("embeddings.norm")?;
        let layers = (0..config.num_layers).map(|layer| parts.layer(layer)).collect::<Result<_, _>>()?;
        let head = SpanHead { weight: artifact.view("head.weight")?, bias: artifact.view("head.bias")? };
        Ok(Self { embedding, embedding_norm, layers, head, config })
    }
}

/// Makes the parts of a model out of an artifact's tensors.
struct Parts<'a> {
    artifact: &'a Artifact,
    config: &'a ModelConfig,
}

impl Parts<'_> {
    fn table(&self, name: &str, width: usize, parts: usize) -> Result<Table, ArtifactError> {
        let values: View<i8> = self.artifact.view(&format!("{name}.weight"))?;
        let scales = self.artifact.view(&format!("{name}.scale"))?;
        Ok(Table::Int8 { values, scales, width, parts })
    }

    fn norm(&self, name: &str) -> Result<LayerNorm, ArtifactError> {
        Ok(LayerNorm {
            weight: self.artifact.view(&format!("{name}.weight"))?,
            bias: self.artifact.view(&format!("{name}.bias"))?,
            eps: self.config.layer_norm_eps,
        })
    }

    fn linear(&self, LinearSpec { name, shape }: &LinearSpec) -> Result<LinearWeights, ArtifactError> {
        if self.artifact.precision(name) == Precision::F16 {
            return Ok(LinearWeights::F16 {
                shape: *shape,
                weight: self.artifact.view(&format!("{name}.weight"))?,
                scales: self.artifact.view(&format!("{name}.scale"))?,
                bias: self.artifact.view(&format!("{name}.bias"))?,
            });
        }
        Ok(LinearWeights::Int8(Int8Linear {
            shape: *shape,
            packed: self.artifact.view(&format!("{name}.weight"))?.into(),
            scales: self.artifact.view(&format!("{name}.scale"))?,
            bias: self.artifact.view(&format!("{name}.bias"))?,
            column_sums: self.artifact.view(&format!("{name}.column_sum"))?,
            input_factor: self.artifact.view_optional(&format!("{name}.input_factor"))?,
        }))
    }

    fn relative(&self, layer: usize) -> Result<Option<RelativeTables>, ArtifactError> {
        let Some(relative) = &self.config.relative else { return Ok(None) };
        let table = |present: bool, name| {
            let name = in_layer(layer, name);
            present.then(|| self.table(&name, self.config.hidden_size, self.config.num_heads)).transpose()
        };
        Ok(Some(RelativeTables {
            key: table(relative.content_to_position, "attention.position_key")?,
            query: table(relative.position_to_content, "attention.position_query")?,
            config: relative.clone(),
        }))
    }

    fn layer(&self, layer: usize) -> Result<LayerWeights, ArtifactError> {
        let [qkv, output, ffn_in, ffn_out] = schema::linears(self.config, layer);
        Ok(LayerWeights {
            qkv: self.linear(&qkv)?,
            relative: self.relative(layer)?,
            attention_output: self.linear(&output)?,
            attention_norm: self.norm(&in_layer(layer, "attention.norm"))?,
            ffn_in: self.linear(&ffn_in)?,
            ffn_out: self.linear(&ffn_out)?,
            ffn_norm: self.norm(&in_layer(layer, "ffn.norm"))?,
        })
    }
}
