//! A checkpoint as the tensors of an artifact: tables with a scale per row, linear layers in int8 or half precision.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use edgeqa::artifact::schema::{self, TOKENIZER, in_layer};
use edgeqa::artifact::write::TensorData;
use edgeqa::kernels::rows::quantize_row;

use crate::calibrate::Calibration;
use crate::checkpoint::{Checkpoint, Dense, Layer, Matrix, Norm};
use crate::float::{normalized, project, stack};
use crate::linear::{Choice, HalfLinear, Int8Linear};
use crate::parallel;

/// The tensors of an artifact and how they were chosen.
#[derive(Clone, Debug, Default)]
pub struct Quantized {
    /// All tensors.
    pub tensors: TensorData,
    /// What calibration chose, by linear layer.
    pub choices: BTreeMap<String, Choice>,
}

/// Quantises a checkpoint, guided by `calibration` if there is one. `tokenizer` is the text of `tokenizer.json`; linear layers in
/// `half` keep half precision; `step` is called with the number of finished and all encoder layers.
///
/// # Errors
/// If the tokenizer is no JSON.
pub fn quantize(
    checkpoint: &Checkpoint,
    tokenizer: &str,
    calibration: Option<&Calibration>,
    half: &BTreeSet<String>,
    step: impl Fn(usize, usize) + Sync,
) -> anyhow::Result<Quantized> {
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
    let quantizer = Quantizer { checkpoint, relative: relative.as_ref(), calibration, half };
    let all = checkpoint.layers.len();
    let mut layers: Vec<(TensorData, BTreeMap<String, Choice>)> = vec![Default::default(); all];
    let done = AtomicUsize::new(0);
    parallel::for_each(layers.iter_mut().enumerate().collect(), |(l, slot)| {
        *slot = quantizer.layer(l);
        step(done.fetch_add(1, Ordering::Relaxed) + 1, all);
    });
    out.floats("head.weight", &checkpoint.head.weight.data);
    out.floats("head.bias", &checkpoint.head.bias);
    let mut quantized = Quantized { tensors: out.0, choices: BTreeMap::new() };
    for (tensors, choices) in layers {
        quantized.tensors.extend(tensors);
        quantized.choices.extend(choices);
    }
    Ok(quantized)
}

/// What is needed to quantise any encoder layer.
struct Quantizer<'a> {
    checkpoint: &'a Checkpoint,
    relative: Option<&'a Matrix>,
    calibration: Option<&'a Calibration>,
    half: &'a BTreeSet<String>,
}

impl Quantizer<'_> {
    fn layer(&self, l: usize) -> (TensorData, BTreeMap<String, Choice>) {
        let config = &self.checkpoint.config;
        let layer = &self.checkpoint.layers[l];
        let [qkv, output, ffn_in, ffn_out] = schema::linears(config, l).map(|spec| spec.name);
        let mut out = Tensors(TensorData::new());
        let mut choices = BTreeMap::new();
        let (mut attended, choice) = self.linear(&output, &layer.output);
        choices.extend(choice.map(|choice| (output.clone(), choice)));
        // The inputs of the output projection are weighted means of values, channel by channel, so its factors can be applied to the
        // values, and these have a scale per channel anyway.
        let factors = match &mut attended {
            Linear::Int8(linear) => linear.factors.take(),
            Linear::Half(..) => None,
        };
        out.linear(&output, attended);
        let denses = [(qkv, &stacked(layer, factors.as_deref())), (ffn_in, &layer.ffn_in), (ffn_out, &layer.ffn_out)];
        for (name, dense) in denses {
            let (linear, choice) = self.linear(&name, dense);
            out.linear(&name, linear);
            choices.extend(choice.map(|choice| (name, choice)));
        }
        let terms =
            [("attention.position_key", &layer.position_key), ("attention.position_query", &layer.position_query)];
        for (name, term) in terms {
            if let Some(term) = term {
                out.table(&in_layer(l, name), &project(term, self.relative), config.num_heads);
            }
        }
        out.norm(&in_layer(l, "attention.norm"), &layer.attention_norm);
        out.norm(&in_layer(l, "ffn.norm"), &layer.ffn_norm);
        (out.0, choices)
    }

    fn linear(&self, name: &str, dense: &Dense) -> (Linear, Option<Choice>) {
        if self.half.contains(name) {
            return (Linear::Half(HalfLinear::new(dense), dense.bias.clone()), None);
        }
        let inputs = self.calibration.and_then(|c| c.inputs.get(name));
        let (linear, choice) = Int8Linear::new(dense, inputs);
        (Linear::Int8(linear), choice)
    }
}

/// Query, key and value projection as one, with the channels of the values multiplied by `factors`.
fn stacked(layer: &Layer, factors: Option<&[f32]>) -> Dense {
    let mut value = layer.value.clone();
    let rows = value.weight.data.chunks_exact_mut(value.weight.cols).zip(&mut value.bias);
    for ((row, bias), f) in rows.zip(factors.unwrap_or_default()) {
        *bias *= f;
        for w in row {
            *w *= f;
        }
    }
    stack(&[&layer.query, &layer.key, &value])
}

/// A quantised linear layer; half precision with its bias.
enum Linear {
    Int8(Int8Linear),
    Half(HalfLinear, Vec<f32>),
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

    fn linear(&mut self, name: &str, linear: Linear) {
        match linear {
            Linear::Int8(linear) => {
                self.0.insert(format!("{name}.weight"), bytemuck::cast_slice(&linear.packed).to_vec());
                self.floats(&format!("{name}.scale"), &linear.scales);
                self.floats(&format!("{name}.bias"), &linear.bias);
                let sums = linear.column_sums.iter().flat_map(|s| s.to_le_bytes()).collect();
                self.0.insert(format!("{name}.column_sum"), sums);
                if let Some(factors) = &linear.factors {
                    self.floats(&format!("{name}.input_factor"), factors);
                }
            }
            Linear::Half(linear, bias) => {
                let values = linear.values.iter().flat_map(|v| v.to_le_bytes()).collect();
                self.0.insert(format!("{name}.weight"), values);
                self.floats(&format!("{name}.scale"), &linear.scales);
                self.floats(&format!("{name}.bias"), &bias);
            }
        }
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
}
