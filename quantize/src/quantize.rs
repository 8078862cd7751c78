//! A checkpoint as int8 tensors: symmetric, per output channel for weights, per row for tables.

use std::io::Write;

use edgeqa::artifact::schema::{self, TOKENIZER, in_layer};
use edgeqa::artifact::write::TensorData;
use edgeqa::kernels::layout::PackedShape;
use edgeqa::kernels::pack::{column_sums, pack};
use edgeqa::kernels::rows::quantize_row;

use crate::checkpoint::{Checkpoint, Dense, Matrix, Norm};
use crate::float::{normalized, project, stack};

/// The tensors of an artifact. `tokenizer` is the text of `tokenizer.json`; `step` is called with the number of finished and all
/// encoder layers.
///
/// # Errors
/// If the tokenizer is no JSON.
pub fn tensors(
    checkpoint: &Checkpoint,
    tokenizer: &str,
    mut step: impl FnMut(usize, usize),
) -> anyhow::Result<TensorData> {
    let config = &checkpoint.config;
    let mut out = Tensors(TensorData::new());
    out.0.insert(TOKENIZER.into(), compress_json(tokenizer)?);
    out.table("embeddings.word", &checkpoint.word, 1);
    if let Some(position) = &checkpoint.position {
        out.table("embeddings.position", position, 1);
    }
    if let Some(token_type) = &checkpoint.token_type {
        out.table("embeddings.token_type", token_type, 1);
    }
    out.norm("embeddings.norm", &checkpoint.embedding_norm);
    let relative = checkpoint.relative.as_ref().map(|r| normalized(r, config));
    for (l, layer) in checkpoint.layers.iter().enumerate() {
        let denses = [&stack(&[&layer.query, &layer.key, &layer.value]), &layer.output, &layer.ffn_in, &layer.ffn_out];
        for (spec, dense) in schema::linears(config, l).iter().zip(denses) {
            out.linear(&spec.name, dense);
        }
        let terms =
            [("attention.position_key", &layer.position_key), ("attention.position_query", &layer.position_query)];
        for (name, term) in terms {
            if let Some(term) = term {
                out.table(&in_layer(l, name), &project(term, relative.as_ref()), config.num_heads);
            }
        }
        out.norm(&in_layer(l, "attention.norm"), &layer.attention_norm);
        out.norm(&in_layer(l, "ffn.norm"), &layer.ffn_norm);
        step(l + 1, checkpoint.layers.len());
    }
    out.floats("head.weight", &checkpoint.head.weight.data);
    out.floats("head.bias", &checkpoint.head.bias);
    Ok(out.0)
}

/// `text` without insignificant white space, gzip-compressed; the same bytes for the same text.
fn compress_json(text: &str) -> anyhow::Result<Vec<u8>> {
    let json: Box<serde_json::value::RawValue> = serde_json::from_str(text)?;
    let mut compact = Vec::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.get().bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte.is_ascii_whitespace() {
            continue;
        } else {
            in_string = byte == b'"';
        }
        compact.push(byte);
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&compact)?;
    Ok(encoder.finish()?)
}

struct Tensors(TensorData);

impl Tensors {
    fn floats(&mut self, name: &str, values: &[f32]) {
        self.0.insert(name.into(), values.iter().flat_map(|v| v.to_le_bytes()).collect());
    }

    fn norm(&mut self, name: &str, norm: &Norm) {
        self.floats(&format!("{name}.weight"), &norm.weight);
        self.floats(&format!("{name}.bias"), &norm.bias);
    }

    /// A table with one scale for each of `parts` equal parts of every row.
    fn table(&mut self, name: &str, matrix: &Matrix, parts: usize) {
        let (values, scales) = quantize_rows(&matrix.data, matrix.cols / parts);
        self.0.insert(format!("{name}.weight"), bytemuck::cast_slice(&values).to_vec());
        self.floats(&format!("{name}.scale"), &scales);
    }

    fn linear(&mut self, name: &str, dense: &Dense) {
        let shape = PackedShape { n: dense.weight.rows, k: dense.weight.cols };
        let (weights, mut scales) = quantize_rows(&dense.weight.data, shape.k);
        let mut bias = dense.bias.clone();
        scales.resize(shape.padded_n(), 0.0);
        bias.resize(shape.padded_n(), 0.0);
        self.0.insert(format!("{name}.weight"), bytemuck::cast_slice(&pack(shape, &weights)).to_vec());
        self.floats(&format!("{name}.scale"), &scales);
        self.floats(&format!("{name}.bias"), &bias);
        let sums = column_sums(shape, &weights).iter().flat_map(|s| s.to_le_bytes()).collect();
        self.0.insert(format!("{name}.column_sum"), sums);
    }
}

/// Quantises rows of `width` values; returns values and scales.
fn quantize_rows(data: &[f32], width: usize) -> (Vec<i8>, Vec<f32>) {
    let mut values = vec![0; data.len()];
    let scales =
        data.chunks_exact(width).zip(values.chunks_exact_mut(width)).map(|(row, out)| quantize_row(row, out)).collect();
    (values, scales)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn tokenizer_text_keeps_its_strings_and_loses_its_layout() {
        let text = "{\n  \"a b\": [ 1,\t2 ],\n  \"q\\\\\": \"x \\\" y\\\\\"\n}\n";
        let mut unpacked = String::new();
        let packed = compress_json(text).expect("valid JSON");
        flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut unpacked).expect("gzip");
        assert_eq!(unpacked, "{\"a b\":[1,2],\"q\\\\\":\"x \\\" y\\\\\"}");
        assert!(compress_json("{").is_err());
    }

    #[test]
    fn weights_are_within_half_a_step_and_in_range() {
        let data: Vec<f32> = (0..300).map(|i| ((i * 7919 % 601) as f32 - 300.0) / 71.0).collect();
        let (values, scales) = quantize_rows(&data, 50);
        for (i, (&v, x)) in values.iter().zip(&data).enumerate() {
            assert_ne!(v, i8::MIN);
            let scale = scales[i / 50];
            assert!((f32::from(v) * scale - x).abs() <= scale * 0.5001);
        }
    }
}
