//! A model's fp32 weights in one canonical form, whatever they were imported from.

use edgeqa::config::ModelConfig;

/// A row-major matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Number of rows.
    pub rows: usize,
    /// Length of a row.
    pub cols: usize,
    /// `rows * cols` values.
    pub data: Vec<f32>,
}

/// A linear layer: `y = x W^T + b`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// `[out, in]`.
    pub weight: Matrix,
    /// `[out]`.
    pub bias: Vec<f32>,
}

/// Scale and shift of a LayerNorm.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// `[width]`.
    pub weight: Vec<f32>,
    /// `[width]`.
    pub bias: Vec<f32>,
}

impl Dense {
    fn parameters(&self) -> usize {
        self.weight.data.len() + self.bias.len()
    }
}

impl Norm {
    fn parameters(&self) -> usize {
        self.weight.len() + self.bias.len()
    }
}

/// Relative positions of one layer and one direction.
#[derive(Clone, Debug, PartialEq)]
pub enum PositionTerm {
    /// To be projected from the checkpoint's [`RelativeEmbedding`] with this layer.
    Projection(Dense),
    /// Already projected by the exporter: `[2 * span, hidden]`.
    Projected(Matrix),
}

/// The relative-position embedding that all layers share.
#[derive(Clone, Debug, PartialEq)]
pub struct RelativeEmbedding {
    /// `2 * span` rows of the hidden size.
    pub table: Matrix,
    /// LayerNorm over the table, before it is projected.
    pub norm: Option<Norm>,
}

/// One encoder layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Query projection.
    pub query: Dense,
    /// Key projection.
    pub key: Dense,
    /// Value projection.
    pub value: Dense,
    /// Content-to-position term.
    pub position_key: Option<PositionTerm>,
    /// Position-to-content term.
    pub position_query: Option<PositionTerm>,
    /// Output projection of the attention.
    pub output: Dense,
    /// LayerNorm after the attention.
    pub attention_norm: Norm,
    /// First feed-forward layer.
    pub ffn_in: Dense,
    /// Second feed-forward layer.
    pub ffn_out: Dense,
    /// LayerNorm after the feed-forward layers.
    pub ffn_norm: Norm,
}

impl Layer {
    fn parameters(&self) -> usize {
        let term = |term: &Option<PositionTerm>, shared: &Dense| match term {
            Some(PositionTerm::Projection(projection)) if projection != shared => projection.parameters(),
            Some(PositionTerm::Projected(table)) => table.data.len(),
            _ => 0,
        };
        let linears = [&self.query, &self.key, &self.value, &self.output, &self.ffn_in, &self.ffn_out];
        linears.into_iter().map(Dense::parameters).sum::<usize>()
            + term(&self.position_key, &self.key)
            + term(&self.position_query, &self.query)
            + self.attention_norm.parameters()
            + self.ffn_norm.parameters()
    }
}

/// All weights of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The model's shapes.
    pub config: ModelConfig,
    /// Word embeddings.
    pub word: Matrix,
    /// Absolute position embeddings, if added to the input.
    pub position: Option<Matrix>,
    /// Token type embeddings, if the model has token types.
    pub token_type: Option<Matrix>,
    /// LayerNorm of the embeddings.
    pub embedding_norm: Norm,
    /// Relative-position embedding; absent if no layer projects it.
    pub relative: Option<RelativeEmbedding>,
    /// Encoder layers, in order.
    pub layers: Vec<Layer>,
    /// The span classifier: row 0 scores starts, row 1 ends.
    pub head: Dense,
}

impl Checkpoint {
    /// Checks every shape against the configuration and every value for finiteness.
    ///
    /// # Errors
    /// A sentence that names the weight at fault.
    pub fn validate(&self) -> anyhow::Result<()> {
        let c = &self.config;
        let (h, i) = (c.hidden_size, c.intermediate_size);
        matrix("word embeddings", &self.word, c.vocab_size, h)?;
        optional("position embeddings", self.position.as_ref(), c.position_biased_input)?;
        if let Some(position) = &self.position {
            matrix("position embeddings", position, c.max_positions, h)?;
        }
        optional("token type embeddings", self.token_type.as_ref(), c.type_vocab_size > 0)?;
        if let Some(token_type) = &self.token_type {
            matrix("token type embeddings", token_type, c.type_vocab_size, h)?;
        }
        norm("embedding LayerNorm", &self.embedding_norm, h)?;
        anyhow::ensure!(
            self.layers.len() == c.num_layers,
            "the weights have {} encoder layers, config.json says {}",
            self.layers.len(),
            c.num_layers
        );
        for (l, layer) in self.layers.iter().enumerate() {
            let dense = |what: &str, d: &Dense, out, inp| dense(&format!("layer {l}: {what}"), d, out, inp);
            dense("query projection", &layer.query, h, h)?;
            dense("key projection", &layer.key, h, h)?;
            dense("value projection", &layer.value, h, h)?;
            dense("attention output", &layer.output, h, h)?;
            dense("feed-forward in", &layer.ffn_in, i, h)?;
            dense("feed-forward out", &layer.ffn_out, h, i)?;
            norm(&format!("layer {l}: attention LayerNorm"), &layer.attention_norm, h)?;
            norm(&format!("layer {l}: feed-forward LayerNorm"), &layer.ffn_norm, h)?;
            let wanted = |pick: fn(&edgeqa::config::RelativeConfig) -> bool| c.relative.as_ref().is_some_and(pick);
            self.term(l, "content-to-position", layer.position_key.as_ref(), wanted(|r| r.content_to_position))?;
            self.term(l, "position-to-content", layer.position_query.as_ref(), wanted(|r| r.position_to_content))?;
        }
        dense("span classifier", &self.head, 2, h)
    }

    /// Number of values in all weights. A layer's key and query projections count once where they also project its relative positions.
    pub fn parameters(&self) -> usize {
        let tables = [Some(&self.word), self.position.as_ref(), self.token_type.as_ref()];
        let relative = |r: &RelativeEmbedding| r.table.data.len() + r.norm.as_ref().map_or(0, Norm::parameters);
        tables.into_iter().flatten().map(|table| table.data.len()).sum::<usize>()
            + self.embedding_norm.parameters()
            + self.relative.as_ref().map_or(0, relative)
            + self.layers.iter().map(Layer::parameters).sum::<usize>()
            + self.head.parameters()
    }

    fn term(&self, l: usize, what: &str, term: Option<&PositionTerm>, wanted: bool) -> anyhow::Result<()> {
        let what = format!("layer {l}: {what} term");
        optional(&what, term, wanted)?;
        let (Some(term), Some(relative)) = (term, &self.config.relative) else { return Ok(()) };
        let (rows, h) = (relative.rows(), self.config.hidden_size);
        match term {
            PositionTerm::Projected(table) => matrix(&what, table, rows, h),
            PositionTerm::Projection(projection) => {
                dense(&what, projection, h, h)?;
                let Some(embedding) = &self.relative else {
                    anyhow::bail!("{what}: the relative-position embedding is missing");
                };
                matrix("relative-position embedding", &embedding.table, rows, h)?;
                embedding.norm.as_ref().map_or(Ok(()), |n| norm("LayerNorm of the relative positions", n, h))
            }
        }
    }
}

fn optional<T>(what: &str, value: Option<&T>, wanted: bool) -> anyhow::Result<()> {
    anyhow::ensure!(
        value.is_some() == wanted,
        "{what}: {} the weights, but config.json says {}",
        if wanted { "missing from" } else { "present in" },
        if wanted { "the model has one" } else { "the model has none" }
    );
    Ok(())
}

fn finite(what: &str, values: &[f32]) -> anyhow::Result<()> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(index) => anyhow::bail!(
            "{what}: value {index} is {}: the weights are damaged or too large to compute with; copy or train the model again",
            values[index]
        ),
        None => Ok(()),
    }
}

fn matrix(what: &str, m: &Matrix, rows: usize, cols: usize) -> anyhow::Result<()> {
    anyhow::ensure!(
        m.rows == rows && m.cols == cols && m.data.len() == rows * cols,
        "{what}: shape is {} x {}, config.json implies {rows} x {cols}",
        m.rows,
        m.cols
    );
    finite(what, &m.data)
}

fn vector(what: &str, v: &[f32], len: usize) -> anyhow::Result<()> {
    anyhow::ensure!(v.len() == len, "{what}: length is {}, config.json implies {len}", v.len());
    finite(what, v)
}

fn dense(what: &str, d: &Dense, out: usize, inp: usize) -> anyhow::Result<()> {
    matrix(what, &d.weight, out, inp)?;
    vector(what, &d.bias, out)
}

fn norm(what: &str, n: &Norm, width: usize) -> anyhow::Result<()> {
    vector(what, &n.weight, width)?;
    vector(what, &n.bias, width)
}
