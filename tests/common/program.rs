//! The `edgeqa` command as a script would call it.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use super::{metadata, write_model};

/// A folder with a model in it, and the program started there without any settings of this machine.
pub struct Bench {
    pub folder: TempDir,
    pub model: PathBuf,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempdir().expect("a folder");
        let model = write_model(folder.path(), &metadata());
        Self { folder, model }
    }

    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, content).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgeqa"));
        command.args(args).current_dir(self.folder.path()).env_clear().env("HOME", self.folder.path());
        command
    }

    /// Runs `ask` with the model and windows that fit it.
    pub fn ask(&self, args: &[&str], stdin: impl AsRef<[u8]>) -> Output {
        let model = self.model.to_str().expect("UTF-8");
        run(self.command(&["ask", "--model", model, "--doc-stride", "16"]).args(args), stdin)
    }
}

pub fn run(command: &mut Command, stdin: impl AsRef<[u8]>) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("started");
    // A program that stops early does not read everything.
    let _ = child.stdin.take().expect("piped").write_all(stdin.as_ref());
    child.wait_with_output().expect("ended")
}

pub fn success(output: Output) -> String {
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success(), "{errors}");
    assert_eq!(errors, "");
    String::from_utf8(output.stdout).expect("UTF-8")
}

pub fn failure(output: Output, code: i32) -> String {
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{errors}");
    errors
}

pub fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}
