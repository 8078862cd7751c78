//! The file format: determinism, alignment, and one clear error per kind of damage.

use std::path::{Path, PathBuf};

use edgeqa::artifact::write::{TensorData, write};
use edgeqa::artifact::{
    ALIGNMENT, Accuracy, Artifact, ArtifactError, Drawn, MAX_HEADER, Metadata, OverallScores, Promoted,
};
use edgeqa::model::{ModelWeights, Session};
use edgeqa::tokenizer::QaTokenizer;
use serde_json::{Value, json};

use crate::common;
use crate::common::{metadata, write_model};
use edgeqa::eval::Random;

struct Temp {
    folder: tempfile::TempDir,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Temp {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = write_model(folder.path(), &metadata());
        let bytes = std::fs::read(&path).expect("artifact");
        Self { folder, path, bytes }
    }

    fn header_len(&self) -> usize {
        u64::from_le_bytes(self.bytes[..8].try_into().expect("8 bytes")) as usize
    }

    fn open(&self, bytes: &[u8]) -> Result<Artifact, ArtifactError> {
        let path = self.folder.path().join("damaged.safetensors");
        std::fs::write(&path, bytes).expect("write");
        Artifact::open(&path)
    }

    fn edited(&self, change: impl FnOnce(&mut Value)) -> ArtifactError {
        self.open(&common::edit_header(&self.bytes, change)).expect_err("a changed header is refused")
    }
}

fn message(error: &ArtifactError, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{text:?} does not say {word:?}");
    }
}

#[test]
fn a_written_file_is_aligned_verified_deterministic_and_standard() {
    let temp = Temp::new();
    let opened = Artifact::open(&temp.path).expect("opens");
    opened.verify().expect("verifies");
    assert_eq!(opened.metadata(), &metadata());
    for (name, info) in opened.tensors().iter().filter(|(n, _)| !n.ends_with(".pad")) {
        assert_eq!(info.bytes.start % ALIGNMENT, 0, "{name}");
    }
    let again = temp.folder.path().join("again.safetensors");
    write(&again, &metadata(), &common::tensors(&metadata().config)).expect("written").publish().expect("renamed");
    assert!(std::fs::read(again).expect("artifact") == temp.bytes, "two writes differ");
    let parsed = safetensors::SafeTensors::deserialize(&temp.bytes).expect("a valid safetensors file");
    assert!(parsed.len() > 50);
}

#[test]
fn an_unpublished_file_is_removed_and_the_old_one_stays() {
    let temp = Temp::new();
    let pending = write(&temp.path, &metadata(), &common::tensors(&metadata().config)).expect("written");
    assert!(pending.path().exists());
    drop(pending);
    assert_eq!(std::fs::read_dir(temp.folder.path()).expect("folder").count(), 1);
    assert!(std::fs::read(&temp.path).expect("artifact") == temp.bytes);
}

#[test]
fn writing_checks_its_tensors() {
    let temp = tempfile::tempdir().expect("temporary folder");
    let path = temp.path().join("x");
    let refused = |change: &dyn Fn(&mut TensorData)| {
        let mut data = common::tensors(&metadata().config);
        change(&mut data);
        write(&path, &metadata(), &data).expect_err("refused")
    };
    let missing = refused(&|d| drop(d.remove("head.bias")));
    assert!(matches!(&missing, ArtifactError::Missing { tensor } if tensor == "head.bias"));
    let superfluous = refused(&|d| drop(d.insert("extra".into(), vec![])));
    assert!(matches!(&superfluous, ArtifactError::Superfluous { tensor } if tensor == "extra"));
    let shape = refused(&|d| d.get_mut("head.weight").expect("there").truncate(4));
    assert!(matches!(&shape, ArtifactError::Shape { tensor, .. } if tensor == "head.weight"));
    let nowhere = write(Path::new("/nonexistent/folder/x"), &metadata(), &common::tensors(&metadata().config))
        .expect_err("refused");
    message(&nowhere, &["cannot create a file in", "/nonexistent/folder"]);
    assert_eq!(std::fs::read_dir(temp.path()).expect("folder").count(), 0);
}

#[test]
fn every_truncation_is_an_error_and_names_the_tensor() {
    let temp = Temp::new();
    let data = 8 + temp.header_len();
    let lengths = (0..data).step_by(13).chain((data..temp.bytes.len()).step_by(101)).chain([temp.bytes.len() - 1]);
    for length in lengths {
        let error = temp.open(&temp.bytes[..length]).expect_err("truncated");
        match error {
            ArtifactError::NotSafetensors(_) if length < data => {}
            // An empty file cannot be mapped on every system.
            ArtifactError::Io { .. } if length == 0 => {}
            ArtifactError::Truncated { ref tensor, expected, found } if length >= data => {
                assert_eq!((expected, found), (temp.bytes.len() as u64, length as u64));
                message(&error, &[tensor, "copy or download it again"]);
            }
            other => panic!("length {length}: {other}"),
        }
    }
    let mut longer = temp.bytes.clone();
    longer.push(0);
    let error = temp.open(&longer).expect_err("refused");
    let (len, longer) = (temp.bytes.len() as u64, temp.bytes.len() as u64 + 1);
    assert!(
        matches!(error, ArtifactError::Overlong { expected, found } if (expected, found) == (len, longer)),
        "{error}"
    );
    message(&error, &[&len.to_string(), &longer.to_string(), "copy or download it again"]);
}

/// Nothing of a header that is too long is parsed, which takes many times its bytes.
#[test]
fn headers_have_a_longest_length() {
    let temp = Temp::new();
    let with = |header_len: usize| {
        let mut file = (header_len as u64).to_le_bytes().to_vec();
        file.extend(br#"{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#);
        file.resize(8 + header_len, b' ');
        temp.open(&file).expect_err("no model")
    };
    assert!(matches!(with(MAX_HEADER), ArtifactError::NotEdgeqa));
    let error = with(MAX_HEADER + 1);
    assert!(matches!(error, ArtifactError::HeaderLength { found } if found == MAX_HEADER as u64 + 1), "{error}");
    message(&error, &["header", "edgeqa-quantize", "download"]);
}

#[test]
fn foreign_files_and_versions_are_told_apart() {
    let temp = Temp::new();
    assert!(matches!(temp.open(b"GGUF rubbish that is long enough"), Err(ArtifactError::NotSafetensors(_))));
    assert!(matches!(Artifact::open(temp.folder.path()), Err(ArtifactError::Io { action: "open", .. })));
    assert!(matches!(Artifact::open(Path::new("no-such-file")), Err(ArtifactError::Io { action: "open", .. })));
    let set = |key: &'static str, value: &'static str| temp.edited(move |h| h["__metadata__"][key] = json!(value));
    let remove =
        |key: &'static str| temp.edited(move |h| drop(h["__metadata__"].as_object_mut().expect("object").remove(key)));
    assert!(matches!(remove("format"), ArtifactError::NotEdgeqa));
    assert!(matches!(
        temp.edited(|h| drop(h.as_object_mut().expect("object").remove("__metadata__"))),
        ArtifactError::NotEdgeqa
    ));
    message(&set("format_version", "1"), &["format version 1", "reads version 3", "make the model again"]);
    message(&set("layout", "i8-panel8-k4"), &["i8-panel8-k4", "i8-panel16-k4", "convert"]);
    for key in ["config", "source", "license", "tool", "data_sha256", "header_sha256", "layout", "format_version"] {
        let error = remove(key);
        assert!(matches!(&error, ArtifactError::Metadata { key: k, .. } if *k == key), "{key}: {error}");
    }
    message(&set("config", "{}"), &["config", "missing field"]);
    message(&set("null_threshold", "NaN"), &["null_threshold", "finite"]);
    message(&set("data_sha256", "abc"), &["data_sha256", "sha256"]);
    message(&set("header_sha256", "abc"), &["header_sha256", "sha256"]);
    message(&set("accuracy", "{}"), &["accuracy", "missing field"]);
    let mut accuracy = serde_json::to_value(accuracy()).expect("JSON");
    accuracy["int8"]["f1"] = json!(100.5);
    let text: &'static str = Box::leak(accuracy.to_string().into_boxed_str());
    message(&set("accuracy", text), &["accuracy", "100.5"]);
}

fn accuracy() -> Accuracy {
    Accuracy {
        data: "dev.json".into(),
        data_sha256: "ab".repeat(32),
        questions: 50,
        subset: Some(Drawn { limit: 48, seed: 7 }),
        null_threshold: -1.5,
        fp32: OverallScores { exact: 60.0, f1: 80.0 },
        int8: OverallScores { exact: 58.0, f1: 78.0 },
        identical: 47,
        promoted: Some(Promoted { layers: 2, f1_ratio_before: 0.5 }),
    }
}

#[test]
fn measured_scores_are_kept_and_impossible_ones_are_refused() {
    let temp = tempfile::tempdir().expect("temporary folder");
    let metadata = Metadata { accuracy: Some(accuracy()), ..metadata() };
    let artifact = Artifact::open(&common::write_model(temp.path(), &metadata)).expect("opens");
    assert_eq!(artifact.metadata(), &metadata);
    assert_eq!(accuracy().f1_ratio(), Some(0.975));
    type Change = fn(&mut Accuracy);
    let wrong: [Change; 8] = [
        |a| a.fp32.exact = -0.1,
        |a| a.int8.f1 = f64::NAN,
        |a| a.questions = 0,
        |a| a.identical = 51,
        |a| a.null_threshold = f32::INFINITY,
        |a| a.promoted = Some(Promoted { layers: 0, f1_ratio_before: 0.5 }),
        |a| a.promoted = Some(Promoted { layers: 1, f1_ratio_before: -0.5 }),
        |a| a.promoted = Some(Promoted { layers: 1, f1_ratio_before: f64::NAN }),
    ];
    for (n, change) in wrong.iter().enumerate() {
        let mut accuracy = accuracy();
        change(&mut accuracy);
        assert!(accuracy.validate().is_err(), "{n}: {accuracy:?}");
    }
    let nothing = Accuracy { fp32: OverallScores { exact: 0.0, f1: 0.0 }, ..accuracy() };
    assert!(nothing.validate().is_ok() && nothing.f1_ratio().is_none());
    // A file without the entry is read, and so is one with an entry that is not known.
    let mut json = serde_json::to_value(accuracy()).expect("JSON");
    json.as_object_mut().expect("an object").remove("promoted");
    json["of_another_version"] = json!(1);
    let read: Accuracy = serde_json::from_value(json).expect("scores");
    assert_eq!(read, Accuracy { promoted: None, ..accuracy() });
}

#[test]
fn impossible_configurations_are_refused() {
    let temp = Temp::new();
    let changes: [(&str, Value, &str); 10] = [
        ("num_heads", json!(0), "num_heads"),
        ("num_heads", json!(5), "divisible"),
        ("hidden_size", json!(u64::MAX), "config"),
        ("vocab_size", json!(1u64 << 40), "vocab_size"),
        ("num_layers", json!(1_000_000), "num_layers"),
        ("layer_norm_eps", json!(-1.0), "layer_norm_eps"),
        ("layer_norm_eps", json!(1e7), "layer_norm_eps"),
        ("score_terms", json!(2), "score_terms"),
        ("unknown", json!(1), "unknown field"),
        (
            "relative",
            json!({"position_buckets": 1, "max_relative_positions": 4, "content_to_position": true,
            "position_to_content": true}),
            "position_buckets",
        ),
    ];
    for (key, value, word) in changes {
        let error = temp.edited(|header| {
            let text = header["__metadata__"]["config"].as_str().expect("text").to_owned();
            let mut config: Value = serde_json::from_str(&text).expect("JSON");
            config[key] = value.clone();
            header["__metadata__"]["config"] = json!(config.to_string());
        });
        message(&error, &[word]);
    }
}

/// Values that are possible, but not those that the file was written with.
#[test]
fn a_changed_header_is_told_from_the_one_that_was_written() {
    let temp = Temp::new();
    let with = |from: &str, to: &str| {
        let at = temp.bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect(from);
        let mut bytes = temp.bytes.clone();
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        temp.open(&bytes).expect_err(to)
    };
    for (from, to) in [
        (r#"\"max_relative_positions\":32"#, r#"\"max_relative_positions\":92"#),
        (r#"e-7,"#, r#"e-9,"#),
        ("CC0-1.0", "MIT-1.0"),
    ] {
        let error = with(from, to);
        assert!(matches!(&error, ArtifactError::Header { found: Some(_), .. }), "{to}: {error}");
        message(&error, &["checksum mismatch", "header", "copy or download it again"]);
    }
    // The entry is where no writer of ours puts it.
    let spaced = temp.edited(|_| ());
    assert!(matches!(&spaced, ArtifactError::Header { .. }), "another order of entries: {spaced}");
    let mut header = String::from_utf8(temp.bytes[8..8 + temp.header_len()].to_vec()).expect("text");
    header = header.replacen("\"header_sha256\"", "\"header\\u005fsha256\"", 1);
    header.truncate(header.trim_end().len());
    header += &" ".repeat((8 + header.len()).next_multiple_of(ALIGNMENT) - 8 - header.len());
    let data = &temp.bytes[8 + temp.header_len()..];
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat();
    let elsewhere = temp.open(&bytes).expect_err("no such entry");
    assert!(matches!(&elsewhere, ArtifactError::Header { found: None, .. }), "{elsewhere}");
    message(&elsewhere, &["checksum mismatch", "written another way"]);
}

#[test]
fn wrong_tensors_are_named() {
    let temp = Temp::new();
    let name = "encoder.1.ffn.in.scale";
    let rename = |to: &'static str| {
        temp.edited(move |h| {
            let info = h.as_object_mut().expect("object").remove(name).expect("there");
            h[to] = info;
        })
    };
    let missing = rename("encoder.9.ffn.in.scale");
    assert!(matches!(&missing, ArtifactError::Missing { tensor } if tensor == name), "{missing}");
    let superfluous = temp.edited(|h| {
        let end = h.as_object().expect("object").values().filter_map(|i| i["data_offsets"][1].as_u64()).max();
        h["extra"] = json!({"dtype": "U8", "shape": [0], "data_offsets": [end, end]});
    });
    assert!(matches!(&superfluous, ArtifactError::Superfluous { tensor } if tensor == "extra"), "{superfluous}");
    let dtype = temp.edited(|h| h[name]["dtype"] = json!("I32"));
    assert!(matches!(&dtype, ArtifactError::Dtype { tensor, .. } if tensor == name), "{dtype}");
    let shape = temp.edited(|h| h[name]["shape"] = json!([1, 32]));
    assert!(matches!(&shape, ArtifactError::Shape { tensor, .. } if tensor == name), "{shape}");
    // One space more in the header moves every tensor by a byte.
    let mut moved = temp.bytes.clone();
    let header_len = temp.header_len();
    moved[..8].copy_from_slice(&(header_len as u64 + 1).to_le_bytes());
    moved.insert(8 + header_len, b' ');
    let moved = temp.open(&moved).expect_err("refused");
    assert!(matches!(moved, ArtifactError::Alignment { .. }), "{moved}");
    message(&moved, &["no multiple of 64"]);
    let hole = temp.edited(|h| h[name]["data_offsets"][0] = json!(0));
    assert!(matches!(hole, ArtifactError::NotSafetensors(_)), "{hole}");
    // Which of two would count depends on who reads them.
    for (at, entry, repeated) in [
        (9, r#""head.bias":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"#, "head.bias"),
        (9 + r#""__metadata__":{"#.len(), r#""license":"MIT","#, "license"),
        (9 + r#""__metadata__":{"#.len(), r#""__metadata__":"x","license":"MIT","#, "license"),
    ] {
        let mut bytes = temp.bytes.clone();
        assert!(bytes[8..].starts_with(br#"{"__metadata__":{"#));
        bytes.splice(at..at, entry.bytes());
        bytes[..8].copy_from_slice(&((temp.header_len() + entry.len()) as u64).to_le_bytes());
        let error = temp.open(&bytes).expect_err("refused");
        message(&error, &[&format!("{repeated:?} is twice in its header")]);
    }
}

#[test]
fn damaged_values_are_named() {
    let temp = Temp::new();
    let opened = Artifact::open(&temp.path).expect("opens");
    let start = |name: &str| opened.tensors()[name].bytes.start;
    let with = |at: usize, value: &[u8]| {
        let mut bytes = temp.bytes.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        temp.open(&bytes)
    };
    for name in ["embeddings.word.scale", "encoder.0.attention.qkv.scale", "head.bias"] {
        for value in [f32::NAN, f32::INFINITY] {
            let error = with(start(name) + 4, &value.to_le_bytes()).expect_err("refused");
            assert!(matches!(&error, ArtifactError::NonFinite { tensor, index: 1, .. } if tensor == name), "{error}");
        }
    }
    let flipped = with(start("encoder.1.ffn.out.weight"), &[99]).expect("a start does not read the weights");
    assert!(matches!(flipped.verify(), Err(ArtifactError::Checksum { .. })));
    let pad = opened.tensors().iter().find(|(n, _)| n.ends_with(".pad")).expect("a filler").1.bytes.start;
    assert!(matches!(with(pad, &[1]).expect("opens").verify(), Err(ArtifactError::Checksum { .. })));
}

#[test]
fn verify_checks_what_kernels_rely_on_beyond_the_checksum() {
    let temp = tempfile::tempdir().expect("temporary folder");
    let path = temp.path().join("x");
    let verify = |change: &dyn Fn(&mut TensorData)| {
        let mut data = common::tensors(&metadata().config);
        change(&mut data);
        write(&path, &metadata(), &data).expect("written").publish().expect("renamed");
        Artifact::open(&path).expect("opens").verify().expect_err("refused")
    };
    let range = verify(&|d| d.get_mut("encoder.0.ffn.in.weight").expect("there")[3] = 0x80);
    assert!(matches!(&range, ArtifactError::WeightRange { tensor, index: 3 } if tensor == "encoder.0.ffn.in.weight"));
    let sum = verify(&|d| d.get_mut("encoder.0.ffn.in.column_sum").expect("there")[4] ^= 1);
    assert!(matches!(&sum, ArtifactError::ColumnSum { tensor, channel: 1 } if tensor == "encoder.0.ffn.in.column_sum"));
}

/// 10,000 random damages, half of them in the tensor data alone, where most files still open, and half of them in header,
/// data and length: whatever opens must run.
#[test]
fn random_corruption_never_panics() {
    let temp = Temp::new();
    let mut random = Random(2024);
    let header_end = 8 + temp.header_len();
    let (mut refused, mut opened, mut answered) = (0, 0, 0);
    for i in 0..10_000 {
        let mut bytes = temp.bytes.clone();
        let data_only = i % 2 == 0;
        for _ in 0..=random.index(4) {
            let at = match random.index(3) {
                _ if data_only => header_end + random.index(bytes.len() - header_end),
                0 => random.index(bytes.len()),
                _ => random.index(header_end.min(bytes.len())),
            };
            match if data_only { 6 } else { random.index(8) } {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, random.number() as u8),
                2 => drop(bytes.drain(at..(at + 1 + random.index(16)).min(bytes.len()))),
                3 => bytes[..8.min(at)].fill(random.number() as u8),
                4 => bytes[at..].iter_mut().take(8).for_each(|b| *b = [0, 0x7f, 0x80, 0xff][random.index(4)]),
                // A digit in the JSON stays a digit: sizes and offsets that parse but lie.
                5 => {
                    if let Some(digit) = bytes.iter_mut().skip(at).find(|b| b.is_ascii_digit()) {
                        *digit = b'0' + random.index(10) as u8;
                    }
                }
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << random.index(8);
                    }
                }
            }
            if bytes.is_empty() {
                break;
            }
        }
        let Ok(artifact) = temp.open(&bytes) else {
            refused += 1;
            continue;
        };
        opened += 1;
        let _ = artifact.verify();
        let _ = QaTokenizer::from_artifact(&artifact);
        let weights = ModelWeights::from_artifact(&artifact).expect("a validated file has all weights");
        let ids = [2, 50, 3, 100, 7, 3];
        answered += usize::from(Session::new(&weights).expect("builds").logits(&ids, None).is_ok());
    }
    assert!(refused > 2000 && opened > 1000 && answered > 500, "{refused} refused, {opened} opened, {answered} ran");
}
