//! Which tensors a model of a given configuration has: names, types and shapes, in file order.

use safetensors::Dtype;

use crate::config::ModelConfig;
use crate::kernels::layout::{KG, NR, PackedShape};

/// The gzip-compressed `tokenizer.json`, of a tokenizer whose vocabulary is not compiled.
pub const TOKENIZER_JSON: &str = "tokenizer.json.gz";
/// JSON: what a compiled tokenizer is made of beside its vocabulary.
pub const PIPELINE: &str = "tokenizer.pipeline.json";
/// The map of characters of a compiled tokenizer's normaliser, if it has one, as SentencePiece stores it.
pub const CHARSMAP: &str = "tokenizer.charsmap";
/// The pieces of a compiled vocabulary and their ids: [`crate::vocabulary`].
pub const TRIE: &str = "tokenizer.trie";
/// The scores of a compiled Unigram vocabulary, by id, if all of them are 32-bit numbers.
pub const SCORES: &str = "tokenizer.scores";
/// The same if they are not.
pub const SCORES_F64: &str = "tokenizer.scores_f64";
/// All that a tokenizer may consist of.
pub const TOKENIZER_TENSORS: [&str; 6] = [TOKENIZER_JSON, PIPELINE, CHARSMAP, TRIE, SCORES, SCORES_F64];

/// How a file holds its tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenizerForm {
    /// As [`TOKENIZER_JSON`] alone.
    Json,
    /// As [`PIPELINE`] and [`TRIE`], with [`CHARSMAP`] and one kind of scores where it has them.
    Compiled,
}

impl TokenizerForm {
    /// The form in a file with these tensors.
    pub fn of(has: impl Fn(&str) -> bool) -> Self {
        if has(TOKENIZER_JSON) { Self::Json } else { Self::Compiled }
    }
}

/// What a tensor must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name in the file.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Shape; `None` for a vector of any length.
    pub shape: Option<Vec<usize>>,
    /// Whether every file must have it.
    pub required: bool,
}

/// How many elements of a type with whole bytes there are in so many bytes.
pub fn elements(bytes: usize, dtype: Dtype) -> usize {
    bytes / dtype.bitsize().div_ceil(8)
}

/// How the weights of a linear layer are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Packed int8, one scale per output channel.
    Int8,
    /// Half precision with one scale per output channel: twice the size, for layers that int8 does not serve.
    F16,
}

/// The shape of a linear layer called `name`, as [`linears`] lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinearSpec {
    /// Prefix of its tensors.
    pub name: String,
    /// Output channels and inner dimension.
    pub shape: PackedShape,
}

/// Name of a tensor or sub-layer of encoder layer `layer`.
pub fn in_layer(layer: usize, rest: &str) -> String {
    format!("encoder.{layer}.{rest}")
}

/// The four linear layers of encoder layer `layer`, in the order of evaluation: query, key and value as one
/// (`3 * hidden` channels, in that order), attention output, feed-forward in and out.
pub fn linears(config: &ModelConfig, layer: usize) -> [LinearSpec; 4] {
    let (h, i) = (config.hidden_size, config.intermediate_size);
    [("attention.qkv", 3 * h, h), ("attention.output", h, h), ("ffn.in", i, h), ("ffn.out", h, i)]
        .map(|(name, n, k)| LinearSpec { name: in_layer(layer, name), shape: PackedShape { n, k } })
}

/// Every tensor of a model with a tokenizer of this form whose linear layers are stored in `precision`, in file order. Filler
/// tensors ([`super::PADDING_SUFFIX`]) are not listed.
pub fn tensors(
    config: &ModelConfig,
    tokenizer: TokenizerForm,
    precision: impl Fn(&LinearSpec) -> Precision,
) -> Vec<TensorSpec> {
    let mut specs = Specs(Vec::new());
    let linear = |specs: &mut Specs, spec: &LinearSpec| match precision(spec) {
        Precision::Int8 => specs.linear(spec),
        Precision::F16 => specs.half_linear(spec),
    };
    let hidden = config.hidden_size;
    match tokenizer {
        TokenizerForm::Json => specs.push(TOKENIZER_JSON.into(), Dtype::U8, None),
        TokenizerForm::Compiled => {
            specs.push(PIPELINE.into(), Dtype::U8, None);
            specs.push_optional(CHARSMAP.into(), Dtype::U8, None);
            specs.push(TRIE.into(), Dtype::U8, None);
            specs.push_optional(SCORES.into(), Dtype::F32, None);
            specs.push_optional(SCORES_F64.into(), Dtype::F64, None);
        }
    }
    specs.table("embeddings.word", config.vocab_size, hidden, 1);
    if config.position_biased_input {
        specs.table("embeddings.position", config.max_positions, hidden, 1);
    }
    if config.type_vocab_size > 0 {
        specs.table("embeddings.token_type", config.type_vocab_size, hidden, 1);
    }
    specs.norm("embeddings.norm", hidden);
    for layer in 0..config.num_layers {
        let [qkv, output, ffn_in, ffn_out] = linears(config, layer);
        linear(&mut specs, &qkv);
        if let Some(relative) = &config.relative {
            if relative.content_to_position {
                specs.table(&in_layer(layer, "attention.position_key"), relative.rows(), hidden, config.num_heads);
            }
            if relative.position_to_content {
                specs.table(&in_layer(layer, "attention.position_query"), relative.rows(), hidden, config.num_heads);
            }
        }
        linear(&mut specs, &output);
        specs.norm(&in_layer(layer, "attention.norm"), hidden);
        linear(&mut specs, &ffn_in);
        linear(&mut specs, &ffn_out);
        specs.norm(&in_layer(layer, "ffn.norm"), hidden);
    }
    specs.push("head.weight".into(), Dtype::F32, Some(vec![2, hidden]));
    specs.push("head.bias".into(), Dtype::F32, Some(vec![2]));
    specs.0
}

struct Specs(Vec<TensorSpec>);

impl Specs {
    fn push(&mut self, name: String, dtype: Dtype, shape: Option<Vec<usize>>) {
        self.0.push(TensorSpec { name, dtype, shape, required: true });
    }

    fn push_optional(&mut self, name: String, dtype: Dtype, shape: Option<Vec<usize>>) {
        self.0.push(TensorSpec { name, dtype, shape, required: false });
    }

    /// An int8 table of `rows` vectors, with one scale per row and equal `parts` of it.
    fn table(&mut self, name: &str, rows: usize, width: usize, parts: usize) {
        self.push(format!("{name}.weight"), Dtype::I8, Some(vec![rows, width]));
        self.push(format!("{name}.scale"), Dtype::F32, Some(vec![rows, parts]));
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.push(format!("{name}.weight"), Dtype::F32, Some(vec![width]));
        self.push(format!("{name}.bias"), Dtype::F32, Some(vec![width]));
    }

    fn linear(&mut self, LinearSpec { name, shape }: &LinearSpec) {
        let packed = vec![shape.panels(), shape.groups(), NR, KG];
        let channels = vec![shape.panels(), NR];
        self.push(format!("{name}.weight"), Dtype::I8, Some(packed));
        self.push(format!("{name}.scale"), Dtype::F32, Some(channels.clone()));
        self.push(format!("{name}.bias"), Dtype::F32, Some(channels.clone()));
        self.push(format!("{name}.column_sum"), Dtype::I32, Some(channels));
        self.push_optional(format!("{name}.input_factor"), Dtype::F32, Some(vec![shape.k]));
    }

    fn half_linear(&mut self, LinearSpec { name, shape }: &LinearSpec) {
        self.push(format!("{name}.weight"), Dtype::F16, Some(vec![shape.n, shape.k]));
        self.push(format!("{name}.scale"), Dtype::F32, Some(vec![shape.n]));
        self.push(format!("{name}.bias"), Dtype::F32, Some(vec![shape.n]));
    }
}
