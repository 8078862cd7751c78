//! The accuracy gate on a model made hostile to int8. The right answers are those of the fp32 model itself, so that random weights
//! have something to lose.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use edgeqa::artifact::Artifact;
use edgeqa::eval::{Dataset, evaluate};
use edgeqa::model::Session;
use edgeqa::qa::{AskOptions, Reader};
use edgeqa::tokenizer::QaTokenizer;
use edgeqa_quantize::config::SourceConfig;
use edgeqa_quantize::convert::{Input, Options, Summary, convert};
use edgeqa_quantize::gate::Gate;
use edgeqa_quantize::{float, import};
use safetensors::{Dtype, SafeTensors};

use crate::common::{fixtures, read_tensors, write_tensors};

/// A threshold that no null odds exceed: every question is answered.
const ANSWER_ALL: f32 = 1e9;

fn repo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

struct Model {
    folder: tempfile::TempDir,
    squad: PathBuf,
}

impl Model {
    /// A model of the fixtures, its tensors changed by `change`, and questions whose right answers are its own.
    fn new(change: impl Fn(&str, &[usize], &mut [f32])) -> Self {
        let model = Self::without_questions(change);
        model.write_questions();
        model
    }

    fn without_questions(change: impl Fn(&str, &[usize], &mut [f32])) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let exports = fixtures();
        std::fs::copy(exports.join("base-hf/config.json"), folder.path().join("config.json")).expect("copy");
        std::fs::copy(exports.join("tokenizer.json"), folder.path().join("tokenizer.json")).expect("copy");
        let mut tensors = read_tensors(&exports.join("base-hf/model.safetensors"));
        for (name, (shape, values)) in &mut tensors {
            change(name, shape, values);
        }
        write_tensors(&folder.path().join("model.safetensors"), &tensors);
        let squad = folder.path().join("squad.json");
        Self { folder, squad }
    }

    /// Ordinary texts, with the answers of the fp32 model as the only right ones.
    fn write_questions(&self) {
        let source = repo().join("models/demo/squad.json");
        let mut json: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&source).expect("questions")).expect("JSON");
        let config = SourceConfig::read(&self.folder.path().join("config.json")).expect("config");
        let checkpoint =
            import::folder::import(&self.folder.path().join("model.safetensors"), &config).expect("import");
        let tokenizer = std::fs::read(self.folder.path().join("tokenizer.json")).expect("tokenizer");
        let tokenizer = QaTokenizer::from_json(&tokenizer, config.model.vocab_size).expect("tokenizer");
        let session = Session::new(&float::weights(&checkpoint)).expect("session");
        let reader = Reader::new(tokenizer, session, ANSWER_ALL);
        let dataset = Dataset::read(&source).expect("questions");
        let one = NonZeroUsize::MIN;
        let predictions = evaluate(&reader, &dataset, &AskOptions::default(), one, &()).expect("answers");
        let mut predictions = predictions.iter();
        for article in json["data"].as_array_mut().expect("articles") {
            for paragraph in article["paragraphs"].as_array_mut().expect("paragraphs") {
                for question in paragraph["qas"].as_array_mut().expect("questions") {
                    let text = &predictions.next().expect("an answer").text;
                    question["answers"] = serde_json::json!([{ "text": text, "answer_start": 0 }]);
                }
            }
        }
        std::fs::write(&self.squad, json.to_string()).expect("written");
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("int8.safetensors")
    }

    fn options(&self, min_f1_ratio: f64, promote: bool, cache: Option<PathBuf>) -> Options {
        let squad = self.squad.clone();
        let gate = Gate { squad, limit: None, seed: 0, min_f1_ratio, promote, threads: None, cache };
        Options { null_threshold: Some(ANSWER_ALL), gate: Some(gate), ..Options::default() }
    }

    fn convert(&self, min_f1_ratio: f64, promote: bool) -> anyhow::Result<Summary> {
        let options = self.options(min_f1_ratio, promote, None);
        convert(&Input::local(self.folder.path(), None, None)?, &self.out(), &options, |_, _, _| {})
    }

    /// Converts with the program.
    fn program(&self, options: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_edgeqa-quantize"))
            .args([self.folder.path(), Path::new("--out"), &self.out()])
            .args(["--null-threshold", "1e9"])
            .args(options)
            .output()
            .expect("runs")
    }

    /// Converts with the program if int8 answers the questions well enough.
    fn gated_program(&self, options: &[&str]) -> Output {
        let squad = self.squad.to_str().expect("UTF-8");
        self.program(&[&["--squad", squad, "--no-cache"], options].concat())
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.folder.path()).expect("a folder").count()
    }
}

/// Two intermediate channels always have the same value, and giant weights of opposite signs read them: they cancel in floating
/// point, and leave nothing of the other weights in int8, whatever the scales and factors.
fn hostile(name: &str, shape: &[usize], values: &mut [f32]) {
    match name {
        "deberta.encoder.layer.1.intermediate.dense.weight" => values.copy_within(..shape[1], shape[1]),
        "deberta.encoder.layer.1.intermediate.dense.bias" => {
            values[0] = 1.0; // far from zero, so that the channels are never silent
            values[1] = 1.0;
        }
        "deberta.encoder.layer.1.output.dense.weight" => {
            for (n, row) in values.chunks_exact_mut(shape[1]).enumerate() {
                let giant = 1000.0 + 10.0 * n as f32;
                row[0] += giant;
                row[1] -= giant;
            }
        }
        _ => {}
    }
}

#[test]
fn a_harmless_model_passes_without_promotion_and_carries_its_scores() {
    let model = Model::new(|_, _, _| {});
    let summary = model.convert(0.8, false).expect("passes");
    let gate = summary.gate.expect("a gate");
    assert!(gate.promoted.is_empty() && gate.f1_ratio >= Some(0.8), "{gate:?}");
    assert!(!gate.warnings.iter().any(|warning| warning.contains("candidates")), "{:?}", gate.warnings);
    let artifact = Artifact::open(&model.out()).expect("an artifact");
    let accuracy = artifact.metadata().accuracy.clone().expect("scores");
    assert_eq!(Some(&accuracy), summary.accuracy.as_ref());
    assert_eq!((accuracy.questions, accuracy.data.as_str(), accuracy.subset), (36, "squad.json", None));
    assert_eq!(accuracy.promoted, None, "the questions chose nothing");
    assert_eq!(accuracy.data_sha256, Dataset::read(&model.squad).expect("questions").sha256);
    assert_eq!((accuracy.fp32.f1, accuracy.fp32.exact), (100.0, 100.0));
    assert!(accuracy.identical >= 30, "{accuracy:?}");
    // The header says what evaluating the file gives.
    let reader = Reader::from_artifact(&artifact).expect("a reader");
    let dataset = Dataset::read(&model.squad).expect("questions");
    let two = NonZeroUsize::new(2).expect("two");
    let again = evaluate(&reader, &dataset, &AskOptions::default(), two, &()).expect("answers");
    let texts = edgeqa::eval::files::texts(&again);
    let metrics = edgeqa::eval::Metrics::new(&dataset, &texts, None, None).expect("scores").all;
    assert_eq!((metrics.f1, metrics.exact), (accuracy.int8.f1, accuracy.int8.exact));
}

/// Configurations of the same shapes can still differ in how the weights are read.
#[test]
fn kept_logits_are_those_of_one_configuration_also_if_it_has_the_name_of_the_tokenizer() {
    let model = Model::new(|_, _, _| {});
    let [config, tokenizer] = ["config.json", "tokenizer.json"].map(|file| {
        let folder = model.folder.path().join(format!("of-{file}"));
        std::fs::create_dir(&folder).expect("a folder");
        std::fs::copy(model.folder.path().join(file), folder.join("same.json")).expect("copied");
        folder.join("same.json")
    });
    let cache = model.folder.path().join("cache");
    let input = Input::local(model.folder.path(), Some(config), Some(tokenizer)).expect("input");
    let options = model.options(0.8, false, Some(cache.clone()));
    let sums = convert(&input, &model.out(), &options, |_, _, _| {}).expect("passes").source.sha256;
    let files: Vec<PathBuf> = std::fs::read_dir(&cache).expect("kept").map(|f| f.expect("a file").path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let bytes = std::fs::read(&files[0]).expect("logits");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("safetensors");
    let entries = header.metadata().as_ref().expect("metadata");
    let identity: serde_json::Value = serde_json::from_str(&entries["identity"]).expect("JSON");
    let mut expected = [&sums["model.safetensors"], &sums["config/same.json"]];
    expected.sort_unstable();
    assert_eq!(identity["model_sha256"], serde_json::json!(expected));
}

#[test]
fn a_hostile_layer_is_refused_without_promotion_and_promoted_with_it() {
    let model = Model::new(hostile);
    let before = model.files();
    let error = model.convert(0.85, false).expect_err("refused").to_string();
    assert!(error.contains("promotion is off") && error.contains("nothing was written"), "{error}");
    assert_eq!(model.files(), before, "a file was left behind");
    // The same through the program.
    let output = model.gated_program(&["--min-f1-ratio", "0.85", "--no-promotion"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("promotion is off"), "{stderr}");
    assert_eq!(model.files(), before, "a file was left behind");
    let output = model.gated_program(&["--min-f1-ratio", "0.85"]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains("encoder.1.ffn.out to half precision: F1 ratio"), "{stdout}");
    assert_eq!(model.files(), before + 1);
    std::fs::remove_file(model.out()).expect("written");
    let summary = model.convert(0.85, true).expect("passes");
    let gate = summary.gate.expect("a gate");
    assert!(gate.first_f1_ratio < Some(0.85) && gate.f1_ratio >= Some(0.85), "{gate:?}");
    assert_eq!(gate.promoted[0].layer, "encoder.1.ffn.out", "{gate:?}");
    let layers = gate.promoted.len();
    let warning = format!("{} candidates were tried on these questions", layers + 1);
    assert!(gate.warnings.iter().any(|w| w.starts_with(&warning)), "{:?}", gate.warnings);
    assert!(gate.promoted.len() <= 2 && gate.promoted[0].bytes > 0, "{gate:?}");
    let artifact = Artifact::open(&model.out()).expect("an artifact");
    artifact.verify().expect("sound");
    let threshold = artifact.metadata().accuracy.as_ref().map(|accuracy| accuracy.null_threshold);
    assert_eq!(threshold, Some(ANSWER_ALL));
    let first = &gate.promoted[0];
    assert!(first.bytes < artifact.file_len() / 2, "what the layer takes more: {first:?}");
    assert_ne!(first.seconds_before, first.seconds_after);
    assert!(summary.half.contains("encoder.1.ffn.out"));
    assert_eq!(artifact.tensors()["encoder.1.ffn.out.weight"].dtype, Dtype::F16);
    let carried = artifact.metadata().accuracy.as_ref().and_then(|a| a.f1_ratio()).expect("scores");
    assert!((carried - gate.f1_ratio.expect("a ratio")).abs() < 1e-12);
    let promoted = artifact.metadata().accuracy.as_ref().and_then(|a| a.promoted).expect("a choice");
    assert_eq!((promoted.layers, Some(promoted.f1_ratio_before)), (layers, gate.first_f1_ratio));
    // Asking for that layer from the start gives the same tensors.
    let half = [String::from("encoder.1.ffn.out")].into();
    let options = Options { null_threshold: Some(ANSWER_ALL), half, ..Options::default() };
    let input = Input::local(model.folder.path(), None, None).expect("input");
    let by_hand = convert(&input, &model.folder.path().join("by-hand"), &options, |_, _, _| {}).expect("converts");
    assert_eq!(by_hand.data_sha256 == summary.data_sha256, gate.promoted.len() == 1);
}

#[test]
fn sensitivity_names_the_hostile_layer_first() {
    let model = Model::without_questions(hostile);
    let output = model.program(&["--sensitivity", "--json", "--dry-run"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let costs: Vec<(&str, f64)> = (summary["sensitivity"].as_array().expect("a list").iter())
        .map(|cost| (cost["layer"].as_str().expect("a name"), cost["logit_error"].as_f64().expect("a number")))
        .collect();
    assert_eq!(costs[0].0, "encoder.1.ffn.out", "{costs:?}");
    assert!(costs[0].1 > 10.0 * costs[1].1, "{costs:?}");
    assert!(costs.is_sorted_by(|a, b| a.1 >= b.1) && costs.iter().all(|cost| cost.1 > 0.0), "{costs:?}");
    let names: BTreeSet<&str> = costs.iter().map(|cost| cost.0).collect();
    let layers =
        [0, 1].map(|l| ["attention.qkv", "attention.output", "ffn.in", "ffn.out"].map(|n| format!("encoder.{l}.{n}")));
    assert_eq!(names, layers.iter().flatten().map(String::as_str).collect());
    assert_eq!(costs.len(), names.len(), "{costs:?}");
    let output = model.program(&["--json", "--dry-run"]);
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(summary["sensitivity"], serde_json::json!([]), "not asked for");
}

#[test]
fn a_ratio_that_nothing_reaches_is_refused_with_exit_code_1() {
    let model = Model::new(|_, _, _| {});
    // No right answers: the fp32 model scores nothing.
    let text = std::fs::read_to_string(&model.squad).expect("questions");
    let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    for paragraph in
        json["data"].as_array_mut().expect("articles").iter_mut().flat_map(|a| a["paragraphs"].as_array_mut()).flatten()
    {
        for question in paragraph["qas"].as_array_mut().expect("questions") {
            question["answers"] = serde_json::json!([{ "text": "zzzz" }]);
        }
    }
    std::fs::write(&model.squad, json.to_string()).expect("written");
    let before = model.files();
    let output = model.gated_program(&["--limit", "5", "--no-calibration"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("the fp32 model itself has an F1 of 0"), "{stderr}");
    assert_eq!(model.files(), before, "a file was left behind");
}
