//! Folders of named weights: what is taken from them, and what is refused.

use std::path::{Path, PathBuf};

use edgeqa_quantize::config::SourceConfig;
use edgeqa_quantize::convert::{CalibrationText, Input, Options, Summary, convert};
use edgeqa_quantize::import::folder::import;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{Tensors, fixtures, read_tensors, write_tensors};

/// The folder of `base-hf` with other entries in its `config.json`, and with other tensors.
struct Model(TempDir);

impl Model {
    fn new(config: &[(&str, Value)], change: impl FnOnce(&mut Tensors)) -> Self {
        let (folder, base) = (tempfile::tempdir().expect("temporary folder"), fixtures().join("base-hf"));
        let text = std::fs::read_to_string(base.join("config.json")).expect("config.json");
        let mut json: Value = serde_json::from_str(&text).expect("JSON");
        for (key, value) in config {
            json[*key] = value.clone();
        }
        std::fs::write(folder.path().join("config.json"), json.to_string()).expect("written");
        let mut tensors = read_tensors(&base.join("model.safetensors"));
        change(&mut tensors);
        write_tensors(&folder.path().join("model.safetensors"), &tensors);
        Self(folder)
    }

    fn out(&self) -> PathBuf {
        self.0.path().join("int8.safetensors")
    }

    fn convert(&self) -> anyhow::Result<Summary> {
        self.convert_with(None, fixtures().join("tokenizer.json"))
    }

    fn convert_with(&self, config: Option<PathBuf>, tokenizer: PathBuf) -> anyhow::Result<Summary> {
        let input = Input::local(self.0.path(), config, Some(tokenizer))?;
        let options = Options { calibration: CalibrationText::None, ..Options::default() };
        convert(&input, &self.out(), &options, |_, _, _| {})
    }

    fn is_refused(&self, words: &[&str]) {
        let error = format!("{:#}", self.convert().expect_err("refused"));
        assert!(words.iter().all(|word| error.contains(word)), "{words:?} in {error}");
        assert!(!self.out().exists());
    }
}

fn add(name: &str) -> impl FnOnce(&mut Tensors) {
    let name = name.to_owned();
    |tensors| drop(tensors.insert(name, (vec![2, 3], vec![0.5; 6])))
}

#[test]
fn weights_that_config_json_does_not_describe_are_refused() {
    let changed = |key, value| Model::new(&[(key, value)], |_| {});
    let advice = ["model.safetensors", "--config"];
    let refused = |model: Model, words: &[&str]| model.is_refused(&[words, &advice].concat());
    // Three of sixteen are named.
    let layer = ["deberta.encoder.layer.1.attention.output.LayerNorm.bias", "and 13 more"];
    refused(changed("num_hidden_layers", json!(1)), &layer);
    refused(
        changed("norm_rel_ebd", json!("none")),
        &["deberta.encoder.LayerNorm.bias, deberta.encoder.LayerNorm.weight;"],
    );
    let table = "deberta.encoder.rel_embeddings.weight";
    refused(changed("relative_attention", json!(false)), &[table]);
    for name in [
        "deberta.embeddings.token_type_embeddings.weight",
        "deberta.encoder.conv.conv.weight",
        "deberta.encoder.layer.0.attention.self.pos_key_proj.weight",
        "qa_outputs.dense.weight",
    ] {
        refused(Model::new(&[], add(name)), &[name]);
    }
}

/// Neither does transformers load a table of another size.
#[test]
fn relative_positions_of_another_size_are_refused() {
    for (buckets, rows) in [(8, 16), (18, 36)] {
        Model::new(&[("position_buckets", json!(buckets))], |_| {})
            .is_refused(&["relative-position embedding: shape is 32 x 32", &format!("implies {rows} x 32")]);
    }
}

#[test]
fn names_that_torch_wraps_are_those_of_the_model() {
    let wrap = |tensors: &mut Tensors| {
        *tensors =
            std::mem::take(tensors).into_iter().map(|(name, tensor)| (format!("module.{name}"), tensor)).collect();
    };
    let plain = Model::new(&[], |_| {}).convert().expect("converts");
    assert_eq!(Model::new(&[], wrap).convert().expect("converts").data_sha256, plain.data_sha256);
    let unused = "deberta.encoder.conv.conv.weight";
    Model::new(&[], |tensors| {
        add(unused)(tensors);
        wrap(tensors);
    })
    .is_refused(&[&format!("the weights module.{unused};")]);
}

#[test]
fn weights_that_models_are_saved_with_and_do_not_use_are_left_out() {
    let plain = Model::new(&[], |_| {}).convert().expect("converts");
    for name in [
        "deberta.embeddings.position_ids",
        "deberta.embeddings.position_embeddings.weight",
        "lm_predictions.lm_head.dense.weight",
        "cls.predictions.bias",
    ] {
        let summary = Model::new(&[], add(name)).convert().unwrap_or_else(|error| panic!("{name}: {error:#}"));
        assert_eq!((&summary.data_sha256, summary.parameters), (&plain.data_sha256, plain.parameters), "{name}");
    }
    // Relative attention without a term that would use it.
    Model::new(&[("pos_att_type", json!([]))], |_| {}).convert().expect("converts");
    // What a model with positions in its input must have is not spare.
    Model::new(&[("position_biased_input", json!(true))], |_| {})
        .is_refused(&["position_embeddings.weight is missing"]);
}

#[test]
fn parameters_are_the_values_of_the_file() {
    for name in ["base-hf", "c2p-hf", "mix-hf", "nonorm-hf", "noshare-hf", "noshare-p2c-hf", "pos-hf", "types-hf"] {
        let folder = fixtures().join(name);
        let weights = folder.join("model.safetensors");
        let config = SourceConfig::read(&folder.join("config.json")).expect("config");
        let values: usize = read_tensors(&weights).values().map(|(_, values)| values.len()).sum();
        assert_eq!(import(&weights, &config).expect("weights").parameters(), values, "{name}");
    }
}

#[test]
fn a_model_that_computes_no_numbers_is_refused() {
    let giant =
        |name: &'static str| Model::new(&[], move |tensors| tensors.get_mut(name).expect("a weight").1.fill(f32::MAX));
    for (name, words) in [
        ("qa_outputs.weight", "the logits of the fp32 model are not finite"),
        ("deberta.encoder.layer.1.output.LayerNorm.weight", "the outputs of layer 1 of the fp32 model are not finite"),
    ] {
        giant(name).is_refused(&[words, "model.safetensors cannot be used", "nothing was written"]);
    }
}

#[test]
fn int8_that_is_plainly_bad_is_warned_of() {
    assert_eq!(Model::new(&[], |_| {}).convert().expect("converts").warnings, Vec::<String>::new());
    // The steps of the last layer's inputs are those of one channel that is far larger than all others.
    let spiked = Model::new(&[], |tensors| {
        for (name, count) in
            [("0.output.LayerNorm", 1), ("1.attention.output.LayerNorm", 1), ("1.output.dense", usize::MAX)]
        {
            let values = &mut tensors.get_mut(&format!("deberta.encoder.layer.{name}.weight")).expect("a weight").1;
            values.iter_mut().take(count).for_each(|value| *value *= 1000.0);
        }
    });
    let summary = spiked.convert().expect("converts");
    assert!(matches!(&summary.warnings[..], [warning] if warning.contains("--sensitivity")), "{:?}", summary.noise);
}

#[test]
fn two_inputs_of_one_name_keep_their_checksums() {
    let model = Model::new(&[], |_| {});
    let put = |folder: &str, source: &Path| {
        let target = model.0.path().join(folder).join("same.json");
        std::fs::create_dir(target.parent().expect("a folder")).expect("made");
        std::fs::copy(source, &target).expect("copied");
        target
    };
    let config = put("a", &model.0.path().join("config.json"));
    let tokenizer = put("b", &fixtures().join("tokenizer.json"));
    let plain = model.convert().expect("converts").source.sha256;
    let found = model.convert_with(Some(config), tokenizer).expect("converts").source.sha256;
    for (name, other) in [
        ("model.safetensors", "model.safetensors"),
        ("config/same.json", "config.json"),
        ("tokenizer/same.json", "tokenizer.json"),
    ] {
        assert_eq!(found[name], plain[other], "{name}");
    }
    assert_eq!(found.len(), 3);
}
