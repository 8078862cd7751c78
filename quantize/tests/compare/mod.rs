//! Comparing an int8 model with the fp32 one that it was made from: the command, and the library behind it.

mod command;
mod library;

use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::{Command, Output};

use edgeqa::eval::Dataset;
use edgeqa::qa::Reader;
use edgeqa_quantize::convert::{Input, Options, convert};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::fixtures;

/// Four paragraphs, the third of several windows; every other question has no answer, and whatever is answered to the rest is right in part:
/// the model's weights are random.
fn data() -> Value {
    let text = "ada kept the light on the rock, and a log of ships. a seal came in the night. ";
    let paragraph = |p: usize| {
        let qas: Vec<Value> = ["who kept the light?", "what came?", "why on a rock?", "which ships?"]
            .iter()
            .enumerate()
            .map(|(q, question)| {
                let answers = if q % 2 == 0 {
                    json!([{"text": "ada"}, {"text": "the light"}, {"text": text}])
                } else {
                    json!([])
                };
                json!({"id": format!("{p}-{q}"), "question": question, "answers": answers})
            })
            .collect();
        json!({"context": text.repeat([1, 2, 5, 1][p]), "qas": qas})
    };
    json!({"data": [{"paragraphs": (0..4).map(paragraph).collect::<Vec<_>>()}]})
}

fn dataset() -> Dataset {
    Dataset::parse("made.json", data().to_string().as_bytes()).expect("a dataset")
}

/// A folder with an int8 model, made of `ts5-op17`, and data.
struct Bench {
    folder: TempDir,
    int8: PathBuf,
    data: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (int8, file) = (folder.path().join("int8.safetensors"), folder.path().join("dev.json"));
        let tokenizer = Some(fixtures().join("tokenizer.json"));
        let input = Input::local(&fixtures().join("ts5-op17/model.onnx"), None, tokenizer).expect("input");
        convert(&input, &int8, &Options::default(), |_, _, _| {}).expect("converts");
        fs::write(&file, data().to_string()).expect("written");
        Self { folder, int8, data: file }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.int8).expect("a model")
    }

    /// Compares with the export `fp32`; logits are kept in the folder `cache`.
    fn command(&self, fp32: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgeqa-quantize"));
        command.arg("compare").arg("--fp32").arg(fixtures().join(fp32));
        command.arg("--int8").arg(&self.int8).arg("--squad").arg(&self.data);
        command.env("XDG_CACHE_HOME", self.path("cache")).env_remove("RUST_LOG").args(args);
        command
    }

    fn run(&self, fp32: &str, args: &[&str]) -> Output {
        self.command(fp32, args).output().expect("runs")
    }

    fn json(&self, fp32: &str, args: &[&str]) -> Value {
        let output = self.command(fp32, args).arg("--json").output().expect("runs");
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The one file in the default cache.
    fn cached(&self) -> PathBuf {
        let mut files: Vec<PathBuf> = fs::read_dir(self.path("cache/edgeqa/fp32"))
            .expect("a cache")
            .map(|entry| entry.expect("a file").path())
            .collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("a thread")
}
