//! `config.json` of a Hugging Face model: what it implies, and what is refused by name.

use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use edgeqa::config::{ModelConfig, RelativeConfig};
use serde::Deserialize;

/// What to do about a file that does not describe a whole model.
const ADVICE: &str = "give the config.json that was saved with the model (--config)";

/// A model's shapes and the options that only concern how its weights are read.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceConfig {
    /// The model's shapes.
    pub model: ModelConfig,
    /// Whether the model is saved with a relative-position embedding, which it need not use.
    pub relative_attention: bool,
    /// Whether relative positions are projected with the layer's own key and query weights.
    pub share_att_key: bool,
    /// Whether the relative-position embedding goes through a LayerNorm.
    pub norm_rel_ebd: bool,
}

#[derive(Deserialize)]
struct Raw {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    #[serde(default = "default_activation")]
    hidden_act: String,
    #[serde(default = "default_positions")]
    max_position_embeddings: usize,
    #[serde(default)]
    type_vocab_size: usize,
    #[serde(default = "default_eps")]
    layer_norm_eps: f32,
    #[serde(default)]
    relative_attention: bool,
    #[serde(default = "unset")]
    max_relative_positions: i64,
    #[serde(default = "unset")]
    position_buckets: i64,
    #[serde(default)]
    pos_att_type: Option<Names>,
    #[serde(default)]
    norm_rel_ebd: Option<String>,
    #[serde(default)]
    share_att_key: bool,
    #[serde(default = "yes")]
    position_biased_input: bool,
    embedding_size: Option<usize>,
    attention_head_size: Option<usize>,
    #[serde(default)]
    conv_kernel_size: Option<i64>,
}

/// A list, or one string with `|` between the names: both occur on the hub.
#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    List(Vec<String>),
    Joined(String),
}

// The defaults of transformers' DebertaV2Config.
fn default_activation() -> String {
    "gelu".into()
}
fn default_positions() -> usize {
    512
}
fn default_eps() -> f32 {
    1e-7
}
fn unset() -> i64 {
    -1
}
fn yes() -> bool {
    true
}

impl SourceConfig {
    /// Reads and resolves a `config.json`.
    ///
    /// # Errors
    /// If the file cannot be read, is no such configuration, or asks for something that is not supported; the message names
    /// the field.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("cannot use {}", path.display()))
    }

    /// Resolves the text of a `config.json`.
    ///
    /// # Errors
    /// As [`SourceConfig::read`].
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let kind: serde_json::Value =
            serde_json::from_str(text).map_err(|problem| anyhow!("it is not valid JSON ({problem}); {ADVICE}"))?;
        match kind.get("model_type").and_then(|t| t.as_str()) {
            Some("deberta-v2") => {}
            Some(other) => bail!("model_type is {other:?}: only DeBERTa-v2 and -v3 (\"deberta-v2\") can be converted"),
            None => bail!("model_type is missing: only DeBERTa-v2 and -v3 (\"deberta-v2\") can be converted"),
        }
        let raw: Raw = serde_json::from_str(text)
            .map_err(|problem| anyhow!("it is not the whole configuration of a DeBERTa model ({problem}); {ADVICE}"))?;
        raw.refuse_unsupported()?;
        raw.resolve()
    }
}

impl Raw {
    fn refuse_unsupported(&self) -> anyhow::Result<()> {
        ensure!(self.hidden_act == "gelu", "hidden_act is {:?}: only \"gelu\" (erf) is supported", self.hidden_act);
        if let Some(size) = self.conv_kernel_size {
            ensure!(size <= 0, "conv_kernel_size is {size}: the convolution layer is not supported");
        }
        if let Some(size) = self.embedding_size {
            ensure!(
                size == self.hidden_size,
                "embedding_size {size} differs from hidden_size {}: an embedding projection is not supported",
                self.hidden_size
            );
        }
        if let Some(size) = self.attention_head_size {
            ensure!(
                size.checked_mul(self.num_attention_heads) == Some(self.hidden_size),
                "attention_head_size {size} x {} heads is not hidden_size {}: this is not supported",
                self.num_attention_heads,
                self.hidden_size
            );
        }
        Ok(())
    }

    fn resolve(self) -> anyhow::Result<SourceConfig> {
        let names: Vec<String> = match self.pos_att_type {
            None => Vec::new(),
            Some(Names::List(names)) => names,
            Some(Names::Joined(names)) => names.split('|').map(|n| n.trim().to_owned()).collect(),
        };
        let names: Vec<String> = names.into_iter().map(|n| n.to_lowercase()).filter(|n| !n.is_empty()).collect();
        if let Some(other) = names.iter().find(|n| *n != "c2p" && *n != "p2c") {
            bail!("pos_att_type has {other:?}: only \"c2p\" and \"p2c\" are supported");
        }
        let has = |name: &str| names.iter().any(|n| n == name);
        let (content_to_position, position_to_content) = (has("c2p"), has("p2c"));
        let positive = |value: i64| usize::try_from(value).ok().filter(|v| *v > 0);
        let relative = (self.relative_attention && !names.is_empty()).then(|| RelativeConfig {
            position_buckets: positive(self.position_buckets).unwrap_or(0),
            max_relative_positions: positive(self.max_relative_positions).unwrap_or(self.max_position_embeddings),
            content_to_position,
            position_to_content,
        });
        let norm = self.norm_rel_ebd.unwrap_or_else(|| "none".into()).to_lowercase();
        let norm_rel_ebd = norm.split('|').any(|n| n.trim() == "layer_norm");
        let model = ModelConfig {
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            num_layers: self.num_hidden_layers,
            num_heads: self.num_attention_heads,
            intermediate_size: self.intermediate_size,
            max_positions: self.max_position_embeddings,
            type_vocab_size: self.type_vocab_size,
            position_biased_input: self.position_biased_input,
            layer_norm_eps: self.layer_norm_eps,
            score_terms: 1 + usize::from(content_to_position) + usize::from(position_to_content),
            relative,
        };
        model.validate().map_err(|problem| anyhow!("{problem}; {ADVICE}"))?;
        let Self { relative_attention, share_att_key, .. } = self;
        Ok(SourceConfig { model, relative_attention, share_att_key, norm_rel_ebd })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(changes: &[(&str, serde_json::Value)]) -> anyhow::Result<SourceConfig> {
        let mut config = serde_json::json!({
            "model_type": "deberta-v2", "vocab_size": 128_100, "hidden_size": 384, "num_hidden_layers": 12,
            "num_attention_heads": 6, "intermediate_size": 1536, "hidden_act": "gelu", "type_vocab_size": 0,
            "relative_attention": true, "max_relative_positions": -1, "position_buckets": 256,
            "norm_rel_ebd": "layer_norm", "share_att_key": true, "pos_att_type": "p2c|c2p",
            "layer_norm_eps": 1e-7, "max_position_embeddings": 512, "position_biased_input": false
        });
        for (key, value) in changes {
            config[*key] = value.clone();
        }
        SourceConfig::parse(&config.to_string())
    }

    #[test]
    fn resolves_the_published_configuration() {
        let config = parse(&[]).expect("supported");
        let relative = config.model.relative.as_ref().expect("relative");
        assert_eq!((relative.span(), relative.max_relative_positions), (256, 512));
        assert_eq!((config.model.head_dim(), config.model.score_terms), (64, 3));
        assert!(config.norm_rel_ebd && config.share_att_key);
        assert_eq!(config, parse(&[("pos_att_type", serde_json::json!(["c2p", "p2c"]))]).expect("supported"));
    }

    #[test]
    fn scale_counts_named_terms_even_without_relative_attention() {
        let config = parse(&[("relative_attention", false.into())]).expect("supported");
        assert_eq!((config.model.relative, config.model.score_terms), (None, 3));
    }

    #[test]
    fn refuses_by_name() {
        for (key, value) in [
            ("model_type", serde_json::json!("bert")),
            ("conv_kernel_size", serde_json::json!(3)),
            ("embedding_size", serde_json::json!(128)),
            ("attention_head_size", serde_json::json!(32)),
            ("hidden_act", serde_json::json!("gelu_new")),
            ("pos_att_type", serde_json::json!("p2p")),
            ("hidden_size", serde_json::json!(385)),
            ("num_hidden_layers", serde_json::json!(0)),
            ("num_attention_heads", serde_json::json!(0)),
            ("num_attention_heads", serde_json::json!(7)),
            ("max_position_embeddings", serde_json::json!(0)),
            ("position_buckets", serde_json::json!(1)),
        ] {
            let error = format!("{:#}", parse(&[(key, value)]).expect_err(key));
            assert!(error.contains(key), "{key}: {error}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would_and_what_to_do() {
        let short = format!("{:#}", parse(&[("max_position_embeddings", 8.into())]).expect_err("too few positions"));
        for words in ["position_buckets 256", "max_position_embeddings", "at least 130, but it is 8; ", ADVICE] {
            assert!(short.contains(words), "{words:?} is missing in {short}");
        }
        assert_eq!(parse(&[("max_relative_positions", 130.into())]).map(drop).map_err(|e| e.to_string()), Ok(()));
        let error = |text| format!("{:#}", SourceConfig::parse(text).expect_err(text));
        for (text, words) in
            [(r#"{"model_type": "deberta-v2"}"#, "missing field `vocab_size`"), ("{", "not valid JSON")]
        {
            assert!(error(text).contains(words) && error(text).ends_with(ADVICE), "{}", error(text));
        }
    }
}
