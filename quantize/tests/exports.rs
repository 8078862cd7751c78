//! Every exporter variant in `tests/fixtures/exports` (made by `tests/tools/make_exports.py`) converts, or is refused with a
//! reason; what converts computes what torch computed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use edgeqa::artifact::Artifact;
use edgeqa::model::Session;
use edgeqa_quantize::config::SourceConfig;
use edgeqa_quantize::convert::{CalibrationText, Input, Options, Summary, convert};
use edgeqa_quantize::gate::Gate;
use edgeqa_quantize::{float, import, parallel};

use crate::common::fixtures;

#[derive(serde::Deserialize)]
struct Variant {
    folder: String,
    hf: String,
    expect: String,
}

fn variants() -> BTreeMap<String, Variant> {
    let text = std::fs::read_to_string(fixtures().join("index.json")).expect("index");
    let variants: BTreeMap<String, Variant> = serde_json::from_str(&text).expect("index");
    assert!(variants.len() >= 50, "only {} variants", variants.len());
    variants
}

fn run(path: &Path, out: &Path) -> anyhow::Result<Summary> {
    let input = Input::local(path, None, Some(fixtures().join("tokenizer.json")))?;
    convert(&input, out, &Options::default(), |_, _, _| {})
}

/// Variants that cannot be converted, and the words that must say why.
const REFUSED: [(&str, &str); 7] = [
    ("cfg-conv3", "conv_kernel_size is 3"),
    ("cfg-embproj", "embedding_size 24 differs"),
    ("cfg-gelunew", "hidden_act is \"gelu_new\""),
    ("int8-dynamic", "already quantised"),
    ("ort-extended", "optimised for one runtime"),
    ("fp16", "computes in fp16 cannot be proven"),
    ("dynamo4-noopt", "tract cannot run"),
];

/// Exporters that replaced the relative-position embedding by its projections. These are torch's or the optimiser's
/// floating-point results, so the artifact cannot have the very bytes of the folder's.
const PROJECTED: [&str; 6] = ["dynamo4-mix", "dynamo5-mix", "onnxsim", "onnxslim", "ort-basic", "ort-basic-op14"];

/// Int8 is as close to fp32 as int8 can be: an error in a scale, a bias or a factor costs far more.
#[track_caller]
fn assert_close(name: &str, made: &Summary) {
    let noise = &made.noise;
    assert_eq!(noise.layer_snr_db.len(), made.layers, "{name}");
    assert!(noise.layer_snr_db.iter().all(|snr| *snr >= Some(36.0)), "{name}: {noise:?}");
    assert!(noise.logit_error.is_some_and(|error| error <= 0.03), "{name}: {noise:?}");
}

#[test]
fn every_variant_converts_to_the_bytes_of_its_folder_or_says_why_not() {
    let folders: Mutex<BTreeMap<String, String>> = Mutex::default();
    let check = |name: &str, variant: &Variant| {
        let temp = tempfile::tempdir().expect("temporary folder");
        let out = temp.path().join("onnx.safetensors");
        let result = run(&fixtures().join(&variant.folder).join("model.onnx"), &out);
        assert_eq!(variant.expect == "refuse", REFUSED.iter().any(|(refused, _)| *refused == name), "{name}");
        if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            let error = format!("{:#}", result.expect_err(name));
            assert!(error.contains(reason), "{name}: {error}");
            assert!(!out.exists(), "{name}: a refused model left a file");
            return;
        }
        let summary = result.unwrap_or_else(|e| panic!("{name}: {e:#}"));
        let proof = summary.proof.as_ref().expect("a graph is proven");
        assert!(proof.max_difference <= 1e-5 && proof.range > 0.1, "{name}: {proof:?}");
        assert!(proof.lengths.is_sorted_by(|a, b| a < b), "{name}: {proof:?}");
        assert_eq!(summary.warnings.len(), usize::from(name == "ts4-op17-static40"), "{name}: {:?}", summary.warnings);
        let known = folders.lock().expect("no panic").get(&variant.hf).cloned();
        let folder = known.unwrap_or_else(|| {
            let out = temp.path().join("folder.safetensors");
            let made = run(&fixtures().join(&variant.hf), &out).unwrap_or_else(|e| panic!("{}: {e:#}", variant.hf));
            assert_close(&variant.hf, &made);
            made.data_sha256
        });
        assert_eq!(summary.data_sha256 == folder, !PROJECTED.contains(&name), "{name} against {}", variant.hf);
        folders.lock().expect("no panic").insert(variant.hf.clone(), folder);
    };
    parallel::for_each(variants().into_iter().collect(), |(name, variant)| check(&name, &variant));
    let folders = folders.lock().expect("no panic").len();
    assert!(folders >= 20, "only {folders} folders");
}

#[test]
fn a_wrong_configuration_of_the_right_shapes_is_not_proven() {
    let temp = tempfile::tempdir().expect("temporary folder");
    let config = std::fs::read_to_string(fixtures().join("dynamo4/config.json")).expect("config.json");
    let config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
    for (key, value) in [
        ("num_attention_heads", serde_json::json!(2)),
        ("max_relative_positions", serde_json::json!(24)),
        ("layer_norm_eps", serde_json::json!(1e-3)),
    ] {
        let mut wrong = config.clone();
        wrong[key] = value;
        let path = temp.path().join("config.json");
        std::fs::write(&path, wrong.to_string()).expect("write");
        let model = fixtures().join("dynamo4/model.onnx");
        let input = Input::local(&model, Some(path), Some(fixtures().join("tokenizer.json"))).expect("input");
        let out = temp.path().join("out.safetensors");
        let error = convert(&input, &out, &Options::default(), |_, _, _| {}).expect_err(key);
        assert!(format!("{error:#}").contains("the imported model is not the graph"), "{key}: {error:#}");
        assert!(!out.exists());
    }
}

#[derive(serde::Deserialize)]
struct Expected {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    input_ids: Vec<i64>,
    token_type_ids: Option<Vec<i64>>,
    start_logits: Vec<f32>,
    end_logits: Vec<f32>,
}

#[test]
fn imported_models_compute_what_torch_computed() {
    let mut compared = 0;
    for (name, variant) in variants() {
        let folder = fixtures().join(&variant.folder);
        // Without a proof, the fp16 and the unoptimised dynamo graphs can be imported too.
        if REFUSED[..5].iter().any(|(refused, _)| *refused == name) {
            continue;
        }
        let config = SourceConfig::read(&folder.join("config.json")).expect("config");
        let path = folder.join("model.onnx");
        let model = import::onnx::read(&path).expect("ONNX");
        let checkpoint = import::onnx::import(&model, &config).unwrap_or_else(|e| panic!("{name}: {e:#}"));
        let session = Session::new(&float::weights(&checkpoint)).expect("session");
        let text = std::fs::read_to_string(folder.join("expected.json")).expect("expected.json");
        let expected: Expected = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        for case in expected.cases {
            let zeros = vec![0; case.input_ids.len()];
            let types = (config.model.type_vocab_size > 0).then(|| case.token_type_ids.unwrap_or(zeros));
            let got = session.logits(&case.input_ids, types.as_deref()).expect("logits");
            for (want, got) in [(&case.start_logits, &got.start), (&case.end_logits, &got.end)] {
                assert_eq!(want.len(), got.len());
                for (want, got) in want.iter().zip(got) {
                    assert!((want - got).abs() <= 2e-5, "{name} length {}: {want} {got}", case.input_ids.len());
                }
            }
            compared += 1;
        }
    }
    assert!(compared >= 200, "only {compared} comparisons");
}

#[test]
fn same_input_gives_same_bytes_and_a_refusal_keeps_the_old_file() {
    let temp = tempfile::tempdir().expect("temporary folder");
    let (a, b) = (temp.path().join("a.safetensors"), temp.path().join("b.safetensors"));
    let model = fixtures().join("ts4-op17/model.onnx");
    run(&model, &a).expect("converts");
    run(&model, &b).expect("converts");
    let bytes = std::fs::read(&a).expect("artifact");
    assert!(bytes == std::fs::read(&b).expect("artifact"), "two runs differ");
    run(&fixtures().join("fp16/model.onnx"), &a).expect_err("refused");
    assert!(bytes == std::fs::read(&a).expect("artifact"), "the old file changed");
    let left: Vec<_> = std::fs::read_dir(temp.path()).expect("folder").collect();
    assert_eq!(left.len(), 2, "temporary files were left: {left:?}");
}

#[test]
fn dry_run_leaves_nothing_and_an_input_is_never_overwritten() {
    let temp = tempfile::tempdir().expect("temporary folder");
    let out = temp.path().join("model.safetensors");
    let folder = fixtures().join("base-hf");
    let input = Input::local(&folder, None, Some(fixtures().join("tokenizer.json"))).expect("input");
    let options = Options { dry_run: true, ..Options::default() };
    let summary = convert(&input, &out, &options, |_, _, _| {}).expect("converts");
    assert!(!summary.written && summary.proof.is_none());
    assert_eq!(std::fs::read_dir(temp.path()).expect("folder").count(), 0);
    let refused = |input: &Input, out: &Path, options: &Options, words: &str| {
        let error = convert(input, out, options, |_, _, _| {}).expect_err("refused");
        assert!(error.to_string().contains(words), "{words:?} is missing in {error:#}");
    };
    for file in [&input.weights, &input.config, &input.tokenizer] {
        refused(&input, file, &options, "is an input");
    }
    // What is read beside the model.
    let path = |name: &str| temp.path().join(name);
    std::fs::write(path("text"), "A text. What is it?").expect("written");
    std::fs::write(path("questions"), "{}").expect("written");
    let calibrated = Options { calibration: CalibrationText::File(path("text")), ..options.clone() };
    refused(&input, &path("text"), &calibrated, "is an input");
    let squad = path("questions");
    let gate = Gate { squad, limit: None, seed: 0, min_f1_ratio: 0.9, promote: false, threads: None, cache: None };
    refused(&input, &path("questions"), &Options { gate: Some(gate), ..options.clone() }, "is an input");
    // Only the graph tells where its tensors are.
    for name in ["model.onnx", "model.onnx.data", "config.json"] {
        std::fs::copy(fixtures().join("dynamo4-external").join(name), path(name)).expect("copied");
    }
    let external = Input::local(&path("model.onnx"), None, Some(fixtures().join("tokenizer.json"))).expect("input");
    refused(&external, &path("model.onnx.data"), &options, "is an input");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(path("text"), path("link")).expect("a link");
        refused(&input, &path("link"), &calibrated, "is an input");
        refused(&input, Path::new("/dev/null"), &options, "neither a file nor a folder");
    }
    refused(&input, temp.path(), &options, "is a folder");
}

#[test]
fn metadata_keep_where_the_model_comes_from() {
    let temp = tempfile::tempdir().expect("temporary folder");
    let out = temp.path().join("model.safetensors");
    let input =
        Input::local(&fixtures().join("dynamo4-external/model.onnx"), None, Some(fixtures().join("tokenizer.json")));
    let options = Options { license: Some("cc-by-4.0".into()), null_threshold: Some(-1.5), ..Options::default() };
    convert(&input.expect("input"), &out, &options, |_, _, _| {}).expect("converts");
    let artifact = Artifact::open(&out).expect("opens");
    let metadata = artifact.metadata();
    assert_eq!((metadata.license.as_str(), metadata.null_threshold), ("cc-by-4.0", Some(-1.5)));
    assert_eq!(metadata.source.kind, "onnx");
    let files: Vec<&str> = metadata.source.sha256.keys().map(String::as_str).collect();
    assert!(files.contains(&"model.onnx") && files.contains(&"config.json") && files.contains(&"tokenizer.json"));
    assert!(files.iter().any(|f| f.contains("data")), "external data are a source too: {files:?}");
}

#[test]
fn external_data_are_followed_through_links_and_checked() {
    let temp = tempfile::tempdir().expect("temporary folder");
    let source = fixtures().join("dynamo4-external");
    let (model, data) = (temp.path().join("model.onnx"), temp.path().join("model.onnx.data"));
    let bytes = std::fs::read(source.join("model.onnx")).expect("model");
    std::fs::write(&model, &bytes).expect("write");
    std::fs::copy(source.join("config.json"), temp.path().join("config.json")).expect("copy");
    let out = temp.path().join("out.safetensors");
    let fails = |words: &str| {
        let error = format!("{:#}", run(&model, &out).expect_err(words));
        assert!(error.contains(words) && error.contains("external data of"), "{error}");
    };
    fails("model.onnx.data: no such file");
    std::fs::create_dir(&data).expect("a folder");
    fails("model.onnx.data is no regular file");
    std::fs::remove_dir(&data).expect("removed");
    let stored = source.canonicalize().expect("path").join("model.onnx.data");
    #[cfg(unix)]
    {
        // As in a hub cache, where every file is a link to a blob elsewhere.
        std::os::unix::fs::symlink(&stored, &data).expect("link");
        run(&model, &out).expect("converts");
        std::fs::remove_file(&out).and_then(|()| std::fs::remove_file(&data)).expect("remove");
    }
    let whole = std::fs::read(&stored).expect("data");
    std::fs::write(&data, &whole[..whole.len() - 1]).expect("write");
    fails("too few");
    std::fs::write(&data, &whole).expect("write");
    // The length of some tensor, a digit of which is another one.
    let mut longer = bytes.clone();
    let at = longer.windows(6).position(|w| w == b"length").expect("a length") + b"length".len();
    let digit = at + longer[at..].iter().position(u8::is_ascii_digit).expect("a number");
    longer[digit] = if longer[digit] == b'9' { b'8' } else { longer[digit] + 1 };
    std::fs::write(&model, longer).expect("write");
    fails("is not that of the tensor's values");
    let mut moved = bytes.clone();
    let (from, to) = (b"model.onnx.data", b"../el.onnx.data");
    while let Some(at) = moved.windows(from.len()).position(|w| w == from) {
        moved[at..at + to.len()].copy_from_slice(to);
    }
    assert!(moved != bytes);
    std::fs::write(&model, moved).expect("write");
    fails("leads out of the model's folder");
}

#[test]
fn damaged_graphs_are_errors() {
    let temp = tempfile::tempdir().expect("temporary folder");
    let folder = fixtures().join("ts4-op17");
    let bytes = std::fs::read(folder.join("model.onnx")).expect("model");
    std::fs::copy(folder.join("config.json"), temp.path().join("config.json")).expect("copy");
    let (model, out) = (temp.path().join("model.onnx"), temp.path().join("out.safetensors"));
    for i in 0..60 {
        let mut damaged = bytes.clone();
        if i % 2 == 0 {
            damaged.truncate(bytes.len() * (i + 1) / 61);
        } else {
            let at = bytes.len() * i / 60;
            damaged[at..(at + 16).min(bytes.len())].fill(0xa5);
        }
        std::fs::write(&model, &damaged).expect("write");
        // Damage to a weight can go unnoticed (it is the same in both models), a missing part cannot; neither may panic or leave a partial
        // file.
        if let Err(error) = run(&model, &out) {
            assert!(format!("{error:#}").contains("model.onnx"), "{error:#}");
            assert!(!out.exists());
        } else {
            assert!(i % 2 == 1, "{} of {} bytes are enough", damaged.len(), bytes.len());
            std::fs::remove_file(&out).expect("artifact");
        }
    }
}

#[test]
fn what_is_made_already_is_no_original() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo/model.safetensors");
    let error = Input::local(&model, None, None).expect_err("refused").to_string();
    assert!(error.contains("is an edgeqa model already; give the original"), "{error}");
}

/// A file that merely is cut off is not taken for one that edgeqa made.
#[test]
fn what_is_no_model_is_said_to_be_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let weights = folder.path().join("weights");
    let error = |bytes: &[u8]| {
        std::fs::write(&weights, bytes).expect("written");
        format!("{:#}", Input::local(&weights, None, None).expect_err("refused"))
    };
    let text = error(b"The lighthouse stands on Kelp Rock, and its keeper was Ada Morrow.");
    assert!(text.contains("is no model") && text.contains(".onnx"), "{text}");
    let original = std::fs::read(fixtures().join("base-hf/model.safetensors")).expect("weights");
    let cut = error(&original[..original.len() - 1]);
    assert!(
        cut.contains("weights is damaged: the file is truncated") && !cut.contains("edgeqa model already"),
        "{cut}"
    );
}
