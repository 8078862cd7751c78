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
    use std::path::Path;

    use edgeqa::kernels::layout::PackedShape;
    use half::f16;

    use super::*;
    use crate::config::SourceConfig;
    use crate::import;

    /// A checkpoint of the fixtures, and its tokenizer.
    fn fixture() -> (Checkpoint, String) {
        let exports = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/exports");
        let config = SourceConfig::read(&exports.join("base-hf/config.json")).expect("a configuration");
        let checkpoint = import::folder::import(&exports.join("base-hf/model.safetensors"), &config).expect("weights");
        (checkpoint, std::fs::read_to_string(exports.join("tokenizer.json")).expect("a tokenizer"))
    }

    /// A linear layer as the artifact has it: what its weights stand for, and how far each may be from the true one.
    struct Written {
        weights: Vec<Vec<f64>>,
        bias: Vec<f64>,
        steps: Vec<f64>,
    }

    impl Written {
        fn read(tensors: &TensorData, name: &str, shape: PackedShape, half: bool) -> Self {
            let bytes = |part: &str| tensors[&format!("{name}.{part}")].as_slice();
            let floats = |part| -> Vec<f64> {
                bytes(part).as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
            };
            let (values, scales) = (bytes("weight"), floats("scale"));
            let weight = |n: usize, k: usize| match half {
                true => {
                    let at = 2 * (n * shape.k + k);
                    f64::from(f16::from_le_bytes([values[at], values[at + 1]])) * scales[n]
                }
                false => f64::from(values[shape.index(n, k)] as i8) * scales[n],
            };
            let weights = (0..shape.n).map(|n| (0..shape.k).map(|k| weight(n, k)).collect()).collect();
            // Half of the distance to the next value; those of half precision are below 2.
            let steps = scales.iter().map(|scale| scale * if half { 1.0 / 2048.0 } else { 0.5001 }).collect();
            Self { weights, bias: floats("bias"), steps }
        }

        /// The outputs for `x`, and how far those of the true weights for inputs within `errors` of it can be.
        fn apply(&self, x: &[f64], errors: &[f64]) -> Vec<(f64, f64)> {
            let output = |(n, row): (usize, &Vec<f64>)| {
                let inputs = row.iter().zip(x.iter().zip(errors));
                inputs.fold((self.bias[n], 1e-5), |(y, bound), (w, (x, e))| {
                    (y + w * x, bound + w.abs() * e + self.steps[n] * (x.abs() + e))
                })
            };
            self.weights.iter().enumerate().map(output).collect()
        }
    }

    fn exact(dense: &Dense, x: &[f64]) -> Vec<f64> {
        let rows = dense.weight.data.chunks_exact(dense.weight.cols).zip(&dense.bias);
        rows.map(|(row, bias)| row.iter().zip(x).fold(f64::from(*bias), |y, (w, x)| y + f64::from(*w) * x)).collect()
    }

    /// Of one token, whose values are all that its attention sees.
    #[test]
    fn queries_keys_and_outputs_are_those_of_the_dense_layers_with_and_without_factors() {
        let (mut checkpoint, tokenizer) = fixture();
        let hidden = checkpoint.config.hidden_size;
        let layer = &mut checkpoint.layers[0];
        // Biases that count.
        for (i, bias) in layer.value.bias.iter_mut().chain(&mut layer.output.bias).enumerate() {
            *bias = (i % 7) as f32 - 3.0;
        }
        let layer = checkpoint.layers[0].clone();
        let x: Vec<f64> = (0..hidden).map(|i| ((i * 37) % 23) as f64 / 8.0 - 1.4).collect();
        let factors: Vec<f32> = (0..hidden).map(|i| [0.3, 1.0, 2.5, 7.0][i % 4]).collect();
        let [qkv, output, ..] = schema::linears(&checkpoint.config, 0);
        for (factors, half) in
            [(None, None), (Some(&factors), None), (Some(&factors), Some(&qkv)), (Some(&factors), Some(&output))]
        {
            let mut int8 = linears(&checkpoint, None, |_, _| {});
            if let Some(factors) = factors {
                let mut divided = layer.output.clone();
                for row in divided.weight.data.chunks_exact_mut(hidden) {
                    row.iter_mut().zip(factors).for_each(|(w, f)| *w /= f);
                }
                let (mut linear, _) = Int8Linear::new(&divided, None);
                linear.factors = Some(factors.clone());
                int8.linears.insert(output.name.clone(), linear);
            }
            let half: BTreeSet<String> = half.iter().map(|spec| spec.name.clone()).collect();
            let tensors = tensors(&checkpoint, &tokenizer, &int8, &half).expect("tensors");
            assert!(!tensors.contains_key(&format!("{}.input_factor", output.name)), "what is not applied below");
            let context = format!("factors {}, half {half:?}", factors.is_some());

            let written = Written::read(&tensors, &qkv.name, qkv.shape, half.contains(&qkv.name));
            let got = written.apply(&x, &vec![0.0; hidden]);
            let (unscaled, got_values) = got.split_at(2 * hidden);
            for (n, want) in exact(&layer.query, &x).into_iter().chain(exact(&layer.key, &x)).enumerate() {
                let (got, bound) = unscaled[n];
                assert!((got - want).abs() <= bound, "{context}, query or key {n}: {got} for {want} within {bound}");
            }

            let (values, errors): (Vec<f64>, Vec<f64>) = got_values.iter().copied().unzip();
            let written = Written::read(&tensors, &output.name, output.shape, half.contains(&output.name));
            let want = exact(&layer.output, &exact(&layer.value, &x));
            for (n, ((got, bound), want)) in written.apply(&values, &errors).into_iter().zip(want).enumerate() {
                assert!((got - want).abs() <= bound, "{context}, output {n}: {got} for {want} within {bound}");
            }
        }
    }

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
