//! The fp32 path and the int8 artifact against logits that ONNX Runtime computed (`tests/tools/ort_logits.py`).

use std::path::{Path, PathBuf};

use edgeqa::artifact::{Artifact, PADDING_SUFFIX};
use edgeqa::model::{ModelWeights, Session};
use edgeqa_quantize::config::SourceConfig;
use edgeqa_quantize::convert::{Input, Options, convert};
use edgeqa_quantize::{float, import};

use crate::skip::skipped;

fn repo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[derive(serde::Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    input_ids: Vec<i64>,
    start: Vec<f32>,
    end: Vec<f32>,
}

impl Golden {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let golden: Self = serde_json::from_str(&text).expect("a golden file");
        assert!(golden.cases.len() >= 7, "{}: too few cases", path.display());
        golden
    }
}

/// Largest absolute difference, and RMS difference relative to the standard deviation, of one case.
fn errors(case: &Case, session: &Session) -> (f32, f64) {
    let got = session.logits(&case.input_ids, None).expect("logits");
    assert_eq!((got.start.len(), got.end.len()), (case.start.len(), case.end.len()));
    let want: Vec<f32> = case.start.iter().chain(&case.end).copied().collect();
    let got: Vec<f32> = got.start.iter().chain(&got.end).copied().collect();
    let max = want.iter().zip(&got).map(|(w, g)| (w - g).abs()).fold(0.0, f32::max);
    let n = want.len() as f64;
    let mean = want.iter().map(|w| f64::from(*w)).sum::<f64>() / n;
    let variance = want.iter().map(|w| (f64::from(*w) - mean).powi(2)).sum::<f64>() / n;
    let square = want.iter().zip(&got).map(|(w, g)| f64::from(w - g).powi(2)).sum::<f64>() / n;
    (max, (square / variance).sqrt())
}

fn check_float(model: &Path, config: &Path, golden: &Path) {
    let config = SourceConfig::read(config).expect("config");
    let graph = import::onnx::read(model).expect("ONNX");
    let checkpoint = import::onnx::import(&graph, &config).expect("import");
    let session = Session::new(&float::weights(&checkpoint)).expect("session");
    for case in Golden::read(golden).cases {
        let (max, _) = errors(&case, &session);
        println!("{} fp32, length {}: max difference {max:.2e}", model.display(), case.input_ids.len());
        assert!(max <= 1e-4, "{} at length {}: {max:e}", model.display(), case.input_ids.len());
    }
}

fn check_int8(artifact: &Path, golden: &Path, bound: f64) {
    let artifact = Artifact::open(artifact).expect("artifact");
    let session = Session::new(&ModelWeights::from_artifact(&artifact).expect("weights")).expect("session");
    let golden = Golden::read(golden);
    let cases: Vec<_> = golden.cases.iter().filter(|c| c.input_ids.len() >= 24).collect();
    assert!(!cases.is_empty(), "no sequence is long enough");
    for case in cases {
        let (_, rms) = errors(case, &session);
        println!("int8, length {}: relative RMS error {rms:.3}", case.input_ids.len());
        assert!(rms <= bound, "length {}: {rms}", case.input_ids.len());
    }
}

/// Random tokens are unlike the text that the model is calibrated for; on text, the error is a third of the bound.
#[test]
fn shipped_int8_model_is_close_to_onnx_runtime_fp32() {
    check_int8(&repo().join("models/demo/model.safetensors"), &repo().join("tests/golden/demo_logits.json"), 0.15);
}

/// Whether the bytes of a tensor do not depend on the last digits of fp32 sums. Those of linear layers do, by calibration, except for the
/// biases that no factor is moved to, and so do those of relative positions, which are projected.
fn is_exact(name: &str) -> bool {
    let own_bias = name.ends_with(".bias") && !name.contains(".qkv.");
    !name.starts_with("encoder.") || name.contains(".norm.") || own_bias || name.ends_with(PADDING_SUFFIX)
}

/// Calibration chooses by fp32 sums, whose last digits depend on the instruction set, so another one may choose otherwise. This asks
/// for the same bytes where that changes nothing, for fewer than a twentieth of the other weights to differ (no layer has as many), and
/// of the whole to be as close to ONNX Runtime as the shipped model.
#[test]
fn shipped_model_is_what_the_tool_makes() {
    let demo = repo().join("../shared/demo");
    if !demo.is_dir() {
        skipped("shipped_model_is_what_the_tool_makes: no ../shared/demo");
        return;
    }
    let temp = tempfile::tempdir().expect("temporary folder");
    let made = |weights: &str| {
        let out = temp.path().join(format!("{weights}.int8"));
        let input = Input::local(&demo.join(weights), None, None).expect("input");
        let options = Options { license: Some("Apache-2.0".into()), null_threshold: Some(-3.3), ..Options::default() };
        convert(&input, &out, &options, |_, _, _| {}).expect("converts");
        Artifact::open(&out).expect("artifact")
    };
    // Both at a time: much of a conversion has one thread only.
    let (from_graph, from_folder) = std::thread::scope(|scope| {
        let from_folder = scope.spawn(|| made("model.safetensors"));
        (made("model.onnx"), from_folder.join().expect("converts"))
    });
    assert_eq!(from_graph.data_sha256(), from_folder.data_sha256(), "the folder's weights give other bytes");
    let shipped = Artifact::open(&repo().join("models/demo/model.safetensors")).expect("the shipped model");
    assert_eq!(shipped.tensors().len(), from_graph.tensors().len());
    let (mut weights, mut moved) = (0, 0);
    for (name, info) in shipped.tensors() {
        let other = &from_graph.tensors()[name];
        assert_eq!((info.dtype, &info.shape), (other.dtype, &other.shape), "{name}");
        let bytes = |artifact: &Artifact| artifact.view::<u8>(name).expect("bytes");
        let (ours, theirs) = (bytes(&shipped), bytes(&from_graph));
        if is_exact(name) {
            assert!(*ours == *theirs, "{name} has other bytes than the shipped one");
        } else if info.dtype == safetensors::Dtype::I8 {
            weights += ours.len();
            moved += ours.iter().zip(theirs.iter()).filter(|(a, b)| a != b).count();
        }
    }
    println!("{moved} of {weights} weights differ from the shipped ones");
    assert!(moved * 20 < weights, "{moved} of {weights} weights differ from the shipped ones");
    check_int8(&temp.path().join("model.onnx.int8"), &repo().join("tests/golden/demo_logits.json"), 0.15);
}

#[test]
fn fp32_path_equals_onnx_runtime_on_the_demo_model() {
    let demo = repo().join("../shared/demo");
    if !demo.is_dir() {
        skipped("fp32_path_equals_onnx_runtime_on_the_demo_model: no ../shared/demo");
        return;
    }
    let golden = repo().join("tests/golden/demo_logits.json");
    check_float(&demo.join("model.onnx"), &demo.join("config.json"), &golden);
}

/// Measures a graph of the real shapes: a folder with `model.onnx`, `outliers.onnx` (both from `../shared/xsmall/fill.py`), their int8 artifacts
/// `*.safetensors`, goldens `*.json`, and `config.json`.
#[test]
fn real_shapes_are_within_the_bars() {
    let Some(folder) = std::env::var_os("EDGEQA_REAL_SHAPES").map(PathBuf::from) else {
        skipped("real_shapes_are_within_the_bars: EDGEQA_REAL_SHAPES names no folder");
        return;
    };
    for (name, bound) in [("model", 0.08), ("outliers", 0.03)] {
        let file = |extension| folder.join(name).with_extension(extension);
        check_float(&file("onnx"), &folder.join("config.json"), &file("json"));
        check_int8(&file("safetensors"), &file("json"), bound);
    }
}
