//! The walk from the logits back to the embeddings.

use std::collections::HashSet;

use anyhow::{Context, bail, ensure};

use super::graph::{Graph, trimmed_shape, values};
use super::inputs::Role;
use super::pattern::{LinearAt, NormAt};
use crate::checkpoint::{Checkpoint, Layer, Matrix, PositionTerm, RelativeEmbedding};
use crate::config::SourceConfig;

/// A graph and the configuration its weights must fit.
pub(super) struct Walk<'a> {
    pub graph: &'a Graph<'a>,
    pub config: &'a SourceConfig,
}

/// The matrix products that add up to the attention scores.
#[derive(Default)]
struct Scores<'a> {
    content: Option<[&'a str; 2]>,
    /// (content operand, position operand) of each relative term.
    relative: Vec<(&'a str, &'a str)>,
}

impl<'a> Walk<'a> {
    pub(super) fn checkpoint(&self) -> anyhow::Result<Checkpoint> {
        let mut at = self.graph.start_logits()?;
        // The head: whatever picks one of two columns, then the classifier.
        let head = loop {
            if let Some(linear) = self.graph.linear_behind(at)? {
                break linear;
            }
            let gather = self.graph.node_behind(at, "Gather").context("no span classifier before the start logits")?;
            at = gather.input.first().context("a Gather without input")?;
        };
        let mut norm = self.norm_behind(head.input, "the span classifier")?;
        let (mut layers, mut relative) = (Vec::new(), None);
        let (embedding_norm, embeddings) = loop {
            let sum = self.graph.node_behind(norm.input, "Add");
            let terms = sum.map(|node| self.graph.data_inputs(node)).unwrap_or_default();
            let is_residual = terms.len() == 2 && self.linear_and_rest(&terms)?.is_some();
            if !is_residual {
                break (norm.norm()?, norm.input);
            }
            ensure!(layers.len() <= self.config.model.num_layers, "more encoder layers than config.json says");
            let number = self.config.model.num_layers.checked_sub(layers.len() + 1);
            let context = || format!("encoder layer {}", number.map_or_else(|| "?".into(), |n| n.to_string()));
            let (layer, before) = self.layer(&norm, &mut relative).with_context(context)?;
            layers.push(layer);
            norm = before;
        };
        layers.reverse();
        let [word, position, token_type] = self.embeddings(embeddings)?;
        Ok(Checkpoint {
            config: self.config.model.clone(),
            word: word.context("no embedding table is indexed by the token ids")?,
            position,
            token_type,
            embedding_norm,
            relative,
            layers,
            head: head.dense()?,
        })
    }

    fn norm_behind(&self, value: &'a str, what: &str) -> anyhow::Result<NormAt<'a>> {
        self.graph.norm_behind(value)?.with_context(|| format!("no LayerNorm before {what} (at {value:?})"))
    }

    /// Of the two operands of a residual sum: the linear layer, and the other one.
    fn linear_and_rest(&self, terms: &[&'a str]) -> anyhow::Result<Option<(LinearAt<'a>, &'a str)>> {
        let [a, b] = terms else { return Ok(None) };
        for (branch, rest) in [(a, b), (b, a)] {
            if let Some(linear) = self.graph.linear_behind(branch)? {
                return Ok(Some((linear, rest)));
            }
        }
        Ok(None)
    }

    fn residual(&self, norm: &NormAt<'a>, what: &str) -> anyhow::Result<(LinearAt<'a>, &'a str)> {
        let sum = self.graph.node_behind(norm.input, "Add");
        let terms = sum.map(|node| self.graph.data_inputs(node)).unwrap_or_default();
        self.linear_and_rest(&terms)?
            .with_context(|| format!("no linear layer and residual before the {what} LayerNorm"))
    }

    /// The layer that ends with `ffn_norm`, and the LayerNorm whose output it reads.
    fn layer(
        &self,
        ffn_norm: &NormAt<'a>,
        relative: &mut Option<RelativeEmbedding>,
    ) -> anyhow::Result<(Layer, NormAt<'a>)> {
        let (ffn_out, rest) = self.residual(ffn_norm, "feed-forward")?;
        let attention_norm = self.norm_behind(rest, "the feed-forward layer")?;
        let ffn_in = self.graph.linear_before_gelu(ffn_out.input)?;
        let (output, rest) = self.residual(&attention_norm, "attention")?;
        let before = self.norm_behind(rest, "the attention")?;

        let product =
            self.graph.node_behind(output.input, "MatMul").context("no product of probabilities and values")?;
        let [probabilities, value] = &product.input[..] else { bail!("a MatMul without two inputs") };
        let value = self.linear(value, "value")?;
        let softmax = self.graph.node_behind(probabilities, "Softmax").context("no Softmax before the values")?;
        let mut scores = Scores::default();
        self.scores(softmax.input.first().context("a Softmax without input")?, &mut scores)?;
        let [query, key] = scores.content.context("no product of queries and keys")?;
        let (query, key) = (self.linear(query, "query")?, self.linear(key, "key")?);
        let (mut position_key, mut position_query) = (None, None);
        for (content, position) in scores.relative {
            let content = self.linear(content, "relative-position")?;
            let term = self.position_term(position, relative)?;
            let (slot, name) = if content.same_weight(&query) {
                (&mut position_key, "content-to-position")
            } else if content.same_weight(&key) {
                (&mut position_query, "position-to-content")
            } else {
                bail!("a relative-position term that reads neither queries nor keys");
            };
            ensure!(slot.replace(term).is_none(), "two {name} terms");
        }
        let layer = Layer {
            query: query.dense()?,
            key: key.dense()?,
            value: value.dense()?,
            position_key,
            position_query,
            output: output.dense()?,
            attention_norm: attention_norm.norm()?,
            ffn_in: ffn_in.dense()?,
            ffn_out: ffn_out.dense()?,
            ffn_norm: ffn_norm.norm()?,
        };
        Ok((layer, before))
    }

    fn linear(&self, value: &'a str, what: &str) -> anyhow::Result<LinearAt<'a>> {
        self.graph.linear_behind(value)?.with_context(|| format!("no {what} projection behind {value:?}"))
    }

    /// Collects the products that are summed to the value before the softmax.
    fn scores(&self, value: &'a str, scores: &mut Scores<'a>) -> anyhow::Result<()> {
        let mut seen = HashSet::new();
        let mut stack = vec![value];
        while let Some(value) = stack.pop() {
            // A sum that adds a value twice is no attention; following it again and again would not end.
            ensure!(seen.insert(value), "value {value:?} is added twice to the attention scores");
            if let Some(next) = self.graph.step(value) {
                stack.push(next);
                continue;
            }
            let node = self.graph.producer(value).with_context(|| format!("attention scores read {value:?}"))?;
            match (node.op_type.as_str(), &node.input[..]) {
                // A mask or a zero added to the scores does not depend on the tokens.
                ("Add", _) => stack.extend(self.graph.data_inputs(node)),
                ("GatherElements", [data, ..]) => stack.push(data),
                ("MatMul", [a, b]) => match (self.graph.is_data(a), self.graph.is_data(b)) {
                    (true, true) => {
                        ensure!(scores.content.replace([a, b]).is_none(), "two products of queries and keys");
                    }
                    (true, false) => scores.relative.push((a, b)),
                    (false, true) => scores.relative.push((b, a)),
                    (false, false) => bail!("node {:?}: a score that does not depend on the tokens", node.name),
                },
                (op, _) => bail!("node {:?} ({op}) among the attention scores", node.name),
            }
        }
        Ok(())
    }

    /// The position operand of a relative term: a projection of the shared embedding, or an already projected constant.
    fn position_term(&self, value: &'a str, relative: &mut Option<RelativeEmbedding>) -> anyhow::Result<PositionTerm> {
        let Some(projection) = self.graph.linear_behind(value)? else {
            let table = self.graph.constant_behind(value)?;
            let table = table.with_context(|| format!("no relative-position embedding behind {value:?}"))?;
            return self.projected(&table);
        };
        if relative.is_none() {
            let norm = self.graph.norm_behind(projection.input)?;
            let source = norm.as_ref().map_or(projection.input, |n| n.input);
            let table =
                self.graph.constant_behind(source)?.context("the relative-position embedding is not constant")?;
            let [rows, cols] = trimmed_shape(&table, 2)? else { bail!("the relative-position embedding is no matrix") };
            let table = Matrix { rows: *rows, cols: *cols, data: values(&table)?.to_vec() };
            *relative = Some(RelativeEmbedding { table, norm: norm.map(|n| n.norm()).transpose()? });
        }
        Ok(PositionTerm::Projection(projection.dense()?))
    }

    /// `[heads, 2 * span, head_dim]`, or its last two axes exchanged, as `[2 * span, hidden]`.
    fn projected(&self, table: &tract_onnx::tract_core::internal::Tensor) -> anyhow::Result<PositionTerm> {
        let model = &self.config.model;
        let rows = model.relative.as_ref().map_or(0, |r| r.rows());
        let (heads, d) = (model.num_heads, model.head_dim());
        let shape = trimmed_shape(table, 3)?;
        let row_major = shape == [heads, rows, d];
        ensure!(
            row_major || shape == [heads, d, rows],
            "projected relative positions of shape {shape:?} instead of {:?}",
            [heads, rows, d]
        );
        let source = values(table)?;
        let mut data = Vec::with_capacity(source.len());
        for row in 0..rows {
            for head in 0..heads {
                data.extend((0..d).map(|i| {
                    let within = if row_major { row * d + i } else { i * rows + row };
                    source[head * rows * d + within]
                }));
            }
        }
        Ok(PositionTerm::Projected(Matrix { rows, cols: heads * d, data }))
    }

    /// Word, position and token type tables of the sum at `value`.
    fn embeddings(&self, value: &'a str) -> anyhow::Result<[Option<Matrix>; 3]> {
        let model = &self.config.model;
        let mut tables = [None, None, None];
        let mut seen = HashSet::new();
        let mut stack = vec![value];
        while let Some(value) = stack.pop() {
            if let Some(constant) = self.graph.constant(value)? {
                ensure!(
                    constant.len() == 1,
                    "the embeddings add the constant {value:?} of shape {:?} instead of rows of a table, as those of positions in a graph \
                     for one length; export it with dynamic axes",
                    constant.shape()
                );
                // What a scalar zero adds is nothing; anything else shows in the proof.
                continue;
            }
            ensure!(seen.insert(value), "value {value:?} is added twice to the embeddings");
            let node = self.graph.producer(value).with_context(|| format!("the embeddings read {value:?}"))?;
            match (node.op_type.as_str(), &node.input[..]) {
                ("Add", [a, b]) => stack.extend([a.as_str(), b.as_str()]),
                ("Gather", [table, index]) => {
                    let table = self.graph.constant_behind(table)?.context("an embedding table is not constant")?;
                    let [rows, cols] = trimmed_shape(&table, 2)? else { bail!("an embedding table is no matrix") };
                    let (rows, cols) = (*rows, *cols);
                    let table = Matrix { rows, cols, data: values(&table)?.to_vec() };
                    let slot = match (self.graph.is_data(index), Role::of(self.root(index))) {
                        (true, Some(Role::Types)) => 2,
                        (true, _) => 0,
                        (false, _) if model.position_biased_input && table.rows == model.max_positions => 1,
                        (false, _) => 2,
                    };
                    if let Some(Matrix { rows: other, .. }) = tables[slot].replace(table) {
                        let name = ["words", "positions", "token types"][slot];
                        let two = format!("two embedding tables, of {rows} and of {other} rows, are for {name}");
                        ensure!(slot > 0, "{two}");
                        bail!(
                            "{two}, with position_biased_input {} and max_position_embeddings {}; give the config.json that was saved \
                             with the model (--config)",
                            model.position_biased_input,
                            model.max_positions
                        );
                    }
                }
                (op, _) => match self.graph.step(value) {
                    Some(next) => stack.push(next),
                    None => bail!("node {:?} ({op}) among the embeddings", node.name),
                },
            }
        }
        Ok(tables)
    }

    /// The graph input that an index comes from.
    fn root(&self, value: &'a str) -> &'a str {
        let mut value = value;
        while let Some(next) = self.graph.step(value) {
            value = next;
        }
        value
    }
}
