//! Weights of a Hugging Face folder (`model.safetensors`), found by their names.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use edgeqa::artifact::map::Mapping;
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use crate::checkpoint::{Checkpoint, Dense, Layer, Matrix, Norm, PositionTerm, RelativeEmbedding};
use crate::config::SourceConfig;

/// What the names of the weights of a question-answering model begin with. Heads of other tasks may be there, too.
const PREFIXES: [&str; 2] = ["deberta.", "qa_outputs."];
/// What torch's DataParallel puts before all names.
const WRAPPER: &str = "module.";
/// Names in an error message beyond this number are counted only.
const NAMES_SHOWN: usize = 3;

/// Reads all weights of the model that `config` describes. Values of type F16 and BF16 are widened to `f32`.
///
/// # Errors
/// If the file is no safetensors file, a weight is missing, has another type or shape, or belongs to a model that `config` does not
/// describe; the message names it.
pub fn import(path: &Path, config: &SourceConfig) -> anyhow::Result<Checkpoint> {
    let map = Mapping::open(path)?;
    let tensors = SafeTensors::deserialize(map.bytes()).map_err(|problem| {
        anyhow!("{} is no safetensors file, or a damaged one ({problem}); copy or download it again", path.display())
    })?;
    let is_wrapped = !tensors.is_empty() && tensors.names().iter().all(|name| name.starts_with(WRAPPER));
    let reader = Reader { tensors, wrapper: if is_wrapped { WRAPPER } else { "" }, used: RefCell::default() };
    let import = || {
        let checkpoint = reader.checkpoint(config)?;
        checkpoint.validate()?;
        reader.refuse_unused(config)?;
        Ok::<_, anyhow::Error>(checkpoint)
    };
    import().with_context(|| format!("cannot import {}", path.display()))
}

/// Whether transformers saves this tensor with a model that computes without it.
fn is_spare(name: &str, config: &SourceConfig) -> bool {
    let model = &config.model;
    match name {
        "deberta.embeddings.position_ids" => true,
        "deberta.embeddings.position_embeddings.weight" => !model.position_biased_input,
        "deberta.encoder.rel_embeddings.weight" => config.relative_attention && model.relative.is_none(),
        "deberta.encoder.LayerNorm.weight" | "deberta.encoder.LayerNorm.bias" => model.relative.is_none(),
        _ => false,
    }
}

struct Reader<'a> {
    tensors: SafeTensors<'a>,
    /// What all names begin with before those of the model.
    wrapper: &'static str,
    /// Names of the tensors that were read.
    used: RefCell<BTreeSet<String>>,
}

impl Reader<'_> {
    fn checkpoint(&self, config: &SourceConfig) -> anyhow::Result<Checkpoint> {
        let model = &config.model;
        let embeddings = |name: &str| self.matrix(&format!("deberta.embeddings.{name}.weight"));
        let relative = match &model.relative {
            None => None,
            Some(_) => Some(RelativeEmbedding {
                table: self.matrix("deberta.encoder.rel_embeddings.weight")?,
                norm: if config.norm_rel_ebd { Some(self.norm("deberta.encoder.LayerNorm")?) } else { None },
            }),
        };
        Ok(Checkpoint {
            word: embeddings("word_embeddings")?,
            position: model.position_biased_input.then(|| embeddings("position_embeddings")).transpose()?,
            token_type: (model.type_vocab_size > 0).then(|| embeddings("token_type_embeddings")).transpose()?,
            embedding_norm: self.norm("deberta.embeddings.LayerNorm")?,
            relative,
            layers: (0..model.num_layers).map(|l| self.layer(config, l)).collect::<anyhow::Result<_>>()?,
            head: self.dense("qa_outputs").context("the model has no span classifier")?,
            config: model.clone(),
        })
    }

    /// Without a weight that nobody asked for, the model would be another one.
    fn refuse_unused(&self, config: &SourceConfig) -> anyhow::Result<()> {
        let used = self.used.borrow();
        let mut unused = self.tensors.names();
        unused.retain(|full| {
            let name = full.strip_prefix(self.wrapper).unwrap_or(full);
            PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !used.contains(*full) && !is_spare(name, config)
        });
        unused.sort_unstable();
        let shown = unused.iter().take(NAMES_SHOWN).copied().collect::<Vec<_>>().join(", ");
        let more = match unused.len().saturating_sub(NAMES_SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        ensure!(
            unused.is_empty(),
            "the model that config.json describes does not have the weights {shown}{more}; give the config.json that was saved with \
             them (--config)"
        );
        Ok(())
    }

    fn layer(&self, config: &SourceConfig, layer: usize) -> anyhow::Result<Layer> {
        let name = |rest: &str| format!("deberta.encoder.layer.{layer}.{rest}");
        let query = self.dense(&name("attention.self.query_proj"))?;
        let key = self.dense(&name("attention.self.key_proj"))?;
        let term = |wanted: bool, shared: &Dense, own: &str| -> anyhow::Result<Option<PositionTerm>> {
            if !wanted {
                return Ok(None);
            }
            let projection = if config.share_att_key { shared.clone() } else { self.dense(&name(own))? };
            Ok(Some(PositionTerm::Projection(projection)))
        };
        let relative = config.model.relative.as_ref();
        let (c2p, p2c) = relative.map_or((false, false), |r| (r.content_to_position, r.position_to_content));
        Ok(Layer {
            position_key: term(c2p, &key, "attention.self.pos_key_proj")?,
            position_query: term(p2c, &query, "attention.self.pos_query_proj")?,
            query,
            key,
            value: self.dense(&name("attention.self.value_proj"))?,
            output: self.dense(&name("attention.output.dense"))?,
            attention_norm: self.norm(&name("attention.output.LayerNorm"))?,
            ffn_in: self.dense(&name("intermediate.dense"))?,
            ffn_out: self.dense(&name("output.dense"))?,
            ffn_norm: self.norm(&name("output.LayerNorm"))?,
        })
    }

    fn dense(&self, name: &str) -> anyhow::Result<Dense> {
        Ok(Dense { weight: self.matrix(&format!("{name}.weight"))?, bias: self.vector(&format!("{name}.bias"))? })
    }

    fn norm(&self, name: &str) -> anyhow::Result<Norm> {
        Ok(Norm { weight: self.vector(&format!("{name}.weight"))?, bias: self.vector(&format!("{name}.bias"))? })
    }

    fn matrix(&self, name: &str) -> anyhow::Result<Matrix> {
        let (shape, data) = self.values(name)?;
        let [rows, cols] = shape[..] else { bail!("tensor {name} has shape {shape:?} instead of two dimensions") };
        Ok(Matrix { rows, cols, data })
    }

    fn vector(&self, name: &str) -> anyhow::Result<Vec<f32>> {
        let (shape, data) = self.values(name)?;
        ensure!(shape.len() == 1, "tensor {name} has shape {shape:?} instead of one dimension");
        Ok(data)
    }

    fn values(&self, name: &str) -> anyhow::Result<(Vec<usize>, Vec<f32>)> {
        let name = format!("{}{name}", self.wrapper);
        let Ok(tensor) = self.tensors.tensor(&name) else {
            bail!(
                "tensor {name} is missing: is this a DebertaV2ForQuestionAnswering checkpoint? If it is, give the config.json that was \
                 saved with it (--config)"
            )
        };
        let bytes = tensor.data();
        let data = match tensor.dtype() {
            Dtype::F32 => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Dtype::F16 => bytes.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Dtype::BF16 => bytes.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            other => bail!("tensor {name} has type {other:?}: only F32, F16 and BF16 weights can be converted"),
        };
        self.used.borrow_mut().insert(name);
        Ok((tensor.shape().to_vec(), data))
    }
}
