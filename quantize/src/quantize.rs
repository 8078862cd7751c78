//! A checkpoint as the tensors of an artifact: tables with a scale per row, linear layers in int8 or half precision.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use edgeqa::artifact::schema::{self, TOKENIZER_JSON, in_layer};
use edgeqa::artifact::write::TensorData;
use edgeqa::kernels::rows::quantize_row;
use edgeqa::tokenizer::compile;

use crate::calibrate::Calibration;
use crate::checkpoint::{Checkpoint, Dense, Layer, Matrix, Norm};
use crate::float::{normalized, project, stack};
use crate::linear::{Choice, HalfLinear, Int8Linear};
use crate::parallel;

/// All linear layers of a checkpoint in int8, by name, and what calibration chose for them.
#[derive(Clone, Debug, Default)]
pub struct Int8Linears {
    /// Weights by the name of the layer, as in [`schema::linears`].
    pub linears: BTreeMap<String, Int8Linear>,
    /// For layers that were calibrated.
    pub choices: BTreeMap<String, Choice>,
}

/// Quantises all linear layers, guided by `calibration` if there is one. `step` is called with the number of finished and all
/// layers.
pub fn linears(
    checkpoint: &Checkpoint,
    calibration: Option<&Calibration>,
    step: impl Fn(usize, usize) + Sync,
) -> Int8Linears {
    let config = &checkpoint.config;
    let jobs: Vec<_> = checkpoint
        .layers
        .iter()
        .enumerate()
        .flat_map(|(l, layer)| schema::linears(config, l).into_iter().zip(denses(layer)))
        .collect();
    let (all, done, results) = (jobs.len(), AtomicUsize::new(0), Mutex::new(Vec::new()));
    parallel::for_each(jobs, |(spec, dense)| {
        let inputs = calibration.and_then(|c| c.inputs.get(&spec.name));
        let result = (spec.name, Int8Linear::new(&dense, inputs));
        results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        step(done.fetch_add(1, Ordering::Relaxed) + 1, all);
    });
    let mut out = Int8Linears::default();
    for (name, (linear, choice)) in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
        out.choices.extend(choice.map(|choice| (name.clone(), choice)));
        out.linears.insert(name, linear);
    }
    out
}

/// The four linear layers of an encoder layer, in the order of [`schema::linears`].
fn denses(layer: &Layer) -> [Dense; 4] {
    let qkv = stack(&[&layer.query, &layer.key, &layer.value]);
    [qkv, layer.output.clone(), layer.ffn_in.clone(), layer.ffn_out.clone()]
}

/// The tensors of an artifact. `tokenizer` is the text of `tokenizer.json`; linear layers in `half` keep half precision, the others
/// are those in `int8`.
///
/// # Errors
/// If the tokenizer is none.
pub fn tensors(
    checkpoint: &Checkpoint,
    tokenizer: &str,
    int8: &Int8Linears,
    half: &BTreeSet<String>,
) -> anyhow::Result<TensorData> {
    let config = &checkpoint.config;
    let mut out = Tensors(TensorData::new());
    match compile(tokenizer.as_bytes())? {
        Some(compiled) => out.0.extend(compiled),
        None => drop(out.0.insert(TOKENIZER_JSON.into(), compress_json(tokenizer)?)),
    }
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
        let specs = schema::linears(config, l);
        let linears = specs.iter().zip(denses(layer)).map(|(spec, dense)| match int8.linears.get(&spec.name) {
            Some(linear) if !half.contains(&spec.name) => Linear::Int8(linear.clone()),
            _ => Linear::Half(HalfLinear::new(&dense)),
        });
        let mut linears: Vec<Linear> = linears.collect();
        if let [qkv, output, ..] = linears.as_mut_slice() {
            fold_into_values(output, qkv, 2 * config.hidden_size);
        }
        for (spec, linear) in specs.iter().zip(linears) {
            out.linear(&spec.name, linear);
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
    }
    out.floats("head.weight", &checkpoint.head.weight.data);
    out.floats("head.bias", &checkpoint.head.bias);
    Ok(out.0)
}

/// A linear layer as it is stored.
enum Linear {
    Int8(Int8Linear),
    Half(HalfLinear),
}

/// Moves the input factors of the output projection to the values, channels `first_value..` of `qkv`, whose scales and biases they
/// multiply: the inputs of the projection are weighted means of values, channel by channel.
fn fold_into_values(output: &mut Linear, qkv: &mut Linear, first_value: usize) {
    let Linear::Int8(output) = output else { return };
    let (scales, bias) = match qkv {
        Linear::Int8(qkv) => (&mut qkv.scales, &mut qkv.bias),
        Linear::Half(qkv) => (&mut qkv.scales, &mut qkv.bias),
    };
    let values = scales.iter_mut().zip(bias).skip(first_value);
    for ((scale, bias), f) in values.zip(output.factors.take().unwrap_or_default()) {
        *scale *= f;
        *bias *= f;
    }
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
            Linear::Half(linear) => {
                let values = linear.values.iter().flat_map(|v| v.to_le_bytes()).collect();
                self.0.insert(format!("{name}.weight"), values);
                self.floats(&format!("{name}.scale"), &linear.scales);
                self.floats(&format!("{name}.bias"), &linear.bias);
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
