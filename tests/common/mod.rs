//! A tiny model with made-up weights, for tests of everything around the model.

// Each test program uses its part of this.
#![allow(dead_code)]

pub mod program;
pub mod skip;

use std::path::{Path, PathBuf};

use edgeqa::artifact::write::{TensorData, write};
use edgeqa::artifact::{ALIGNMENT, Artifact, Metadata, Source, schema};
use edgeqa::config::{ModelConfig, RelativeConfig};
use edgeqa::eval::Random;
use edgeqa::kernels::pack::{column_sums, pack};
use edgeqa::tokenizer::compile;
use safetensors::Dtype;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Two layers, with relative positions and without token types, for the tokenizer of `tests/fixtures/exports`.
pub fn metadata() -> Metadata {
    let config = ModelConfig {
        vocab_size: 101,
        hidden_size: 16,
        num_layers: 2,
        num_heads: 2,
        intermediate_size: 32,
        max_positions: 96,
        type_vocab_size: 0,
        position_biased_input: true,
        layer_norm_eps: 1e-7,
        score_terms: 3,
        relative: Some(RelativeConfig {
            position_buckets: 8,
            max_relative_positions: 32,
            content_to_position: true,
            position_to_content: true,
        }),
    };
    let sha256 = [("model.onnx".to_owned(), "5e".repeat(32))].into();
    let source = Source { kind: "onnx".into(), repo: Some("ada/tiny".into()), revision: Some("abc123".into()), sha256 };
    Metadata {
        config,
        source,
        license: "CC0-1.0".into(),
        tool: "test 1.0".into(),
        null_threshold: None,
        accuracy: None,
    }
}

/// Writes a model of these metadata to `folder` and returns its path.
pub fn write_model(folder: &Path, metadata: &Metadata) -> PathBuf {
    let path = folder.join("model.safetensors");
    write(&path, metadata, &tensors(&metadata.config)).and_then(|pending| pending.publish()).expect("written");
    path
}

/// Tensors of the right shapes: made-up weights, their column sums, the tokenizer of the fixtures.
pub fn tensors(config: &ModelConfig) -> TensorData {
    let mut data = TensorData::new();
    let mut random = Random(7);
    let form = schema::TokenizerForm::Compiled;
    for spec in schema::tensors(config, form, |_| schema::Precision::Int8).into_iter().filter(|spec| spec.required) {
        let count: usize = spec.shape.as_ref().map_or(0, |shape| shape.iter().product());
        let floats = |value: &mut dyn FnMut() -> f32| (0..count).flat_map(|_| value().to_le_bytes()).collect();
        let bytes = match spec.dtype {
            Dtype::I8 => weights(&mut random, count).iter().map(|&w| w as u8).collect(),
            Dtype::F32 if spec.name == "head.weight" => floats(&mut || random.index(200) as f32 / 100.0 - 1.0),
            Dtype::F32 if spec.name.ends_with(".bias") => floats(&mut || 0.0),
            Dtype::F32 if spec.name.ends_with(".scale") => floats(&mut || 0.01),
            Dtype::F32 => floats(&mut || 1.0),
            // Column sums follow from the weights below.
            _ => continue,
        };
        data.insert(spec.name, bytes);
    }
    for spec in (0..config.num_layers).flat_map(|layer| schema::linears(config, layer)) {
        let weights = weights(&mut random, spec.shape.n * spec.shape.k);
        let packed = pack(spec.shape, &weights).iter().map(|&w| w as u8).collect();
        let sums = column_sums(spec.shape, &weights).iter().flat_map(|sum| sum.to_le_bytes()).collect();
        data.insert(format!("{}.weight", spec.name), packed);
        data.insert(format!("{}.column_sum", spec.name), sums);
    }
    data.extend(compile(TOKENIZER).expect("a tokenizer").expect("a WordPiece vocabulary"));
    data
}

/// The model file `bytes` with its header changed; data and alignment stay, and the header's checksum is no longer right.
pub fn edit_header(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let (len, rest) = bytes.split_first_chunk::<8>().expect("a length");
    let (header, data) = rest.split_at(usize::try_from(u64::from_le_bytes(*len)).expect("a size"));
    let mut header: Value = serde_json::from_slice(header).expect("JSON");
    change(&mut header);
    let mut json = serde_json::to_vec(&header).expect("JSON");
    json.resize((8 + json.len()).next_multiple_of(ALIGNMENT) - 8, b' ');
    [&(json.len() as u64).to_le_bytes(), &json[..], data].concat()
}

/// Makes the checksum in the header of a model file right; it is computed with zeros in its place.
pub fn seal(bytes: &mut [u8]) {
    const ENTRY: &str = "\"header_sha256\":\"";
    let (len, rest) = bytes.split_first_chunk_mut::<8>().expect("a length");
    let header = &mut rest[..usize::try_from(u64::from_le_bytes(*len)).expect("a size")];
    let at = header.windows(ENTRY.len()).position(|window| window == ENTRY.as_bytes()).expect("an entry") + ENTRY.len();
    header[at..][..64].fill(b'0');
    let sha256: String = Sha256::digest(&*header).iter().map(|byte| format!("{byte:02x}")).collect();
    header[at..][..64].copy_from_slice(sha256.as_bytes());
}

/// The `tokenizer.json` of the fixtures.
pub const TOKENIZER: &[u8] = include_bytes!("../fixtures/exports/tokenizer.json");

/// Tensors as [`tensors`] makes them, but with the tokenizer packed as it is.
pub fn with_packed_tokenizer(config: &ModelConfig, json: &[u8]) -> TensorData {
    let mut data = tensors(config);
    data.retain(|name, _| !schema::TOKENIZER_TENSORS.contains(&name.as_str()));
    let mut packed = Vec::new();
    let mut gzip = flate2::read::GzEncoder::new(json, flate2::Compression::fast());
    std::io::Read::read_to_end(&mut gzip, &mut packed).expect("in memory");
    data.insert(schema::TOKENIZER_JSON.into(), packed);
    data
}

/// Writes a model with the compiled tokenizer of `json`, of at most `vocab_size` tokens, to `folder` and opens it.
pub fn open_with_tokenizer(folder: &Path, json: &[u8], vocab_size: usize) -> Artifact {
    let mut metadata = metadata();
    metadata.config.vocab_size = vocab_size;
    let mut data = tensors(&metadata.config);
    data.retain(|name, _| !schema::TOKENIZER_TENSORS.contains(&name.as_str()));
    data.extend(compile(json).expect("a tokenizer").expect("a vocabulary that can be compiled"));
    let path = folder.join("tokenizer.safetensors");
    write(&path, &metadata, &data).and_then(|pending| pending.publish()).expect("written");
    Artifact::open(&path).expect("opens")
}

/// Weights in -127..=127.
fn weights(random: &mut Random, count: usize) -> Vec<i8> {
    (0..count).map(|_| (random.index(255) as i16 - 127) as i8).collect()
}
