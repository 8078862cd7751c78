//! `edgeqa inspect`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use edgeqa::artifact::schema::TOKENIZER_TENSORS;
use edgeqa::artifact::{Accuracy, Artifact, ArtifactError, FORMAT_VERSION, PADDING_SUFFIX, Promoted, Source};
use edgeqa::config::ModelConfig;
use edgeqa::errors::one_line;
use edgeqa::qa::QaError;
use edgeqa::shown::megabytes;
use serde::Serialize;

use super::args::InspectArgs;
use super::excerpt::clean;
use super::memory::Memory;
use super::{locate, open, pretty, print, reader, try_out, verify};

/// What is known about a model file.
#[derive(Serialize)]
struct Report<'a> {
    model: String,
    file_bytes: usize,
    format_version: u32,
    config: &'a ModelConfig,
    source: &'a Source,
    license: &'a str,
    tool: &'a str,
    /// Recommended null threshold.
    null_threshold: Option<f32>,
    /// Scores against fp32, if they were measured.
    accuracy: Option<&'a Accuracy>,
    data_sha256: &'a str,
    /// Whether the data have that checksum.
    verified: bool,
    /// Why nothing can be asked of the model although they do.
    problem: Option<String>,
    /// Bytes per part of the model; they add up to the file.
    bytes: BTreeMap<&'static str, usize>,
    /// Of this process, after the whole file was read.
    memory: Memory,
    tensors: Vec<Tensor<'a>>,
}

#[derive(Serialize)]
struct Tensor<'a> {
    name: &'a str,
    dtype: safetensors::Dtype,
    shape: &'a [usize],
    /// Where it starts in the file, in bytes.
    offset: usize,
    bytes: usize,
}

/// Prints the report, also of a file whose data have another checksum, or of which nothing can be asked.
pub fn run(args: &InspectArgs) -> anyhow::Result<()> {
    let path = locate::model(args.model.as_deref().or(args.named.as_deref()))?;
    let artifact = open(&path)?;
    let sound = verify(&artifact, &path);
    let verified = !matches!(&sound, Err(QaError::Artifact { source: ArtifactError::Checksum { .. }, .. }));
    let usable = sound.map_err(anyhow::Error::from).and_then(|()| try_out(&reader(&artifact, &path)?, &path));
    let problem = usable.as_ref().err().filter(|_| verified).map(|error| one_line(error.as_ref()));
    let report = Report::new(&artifact, &path, verified, problem);
    let text = if args.json {
        pretty(&report)?
    } else {
        let mut text = String::new();
        report.write(&mut text, args.tensors)?;
        text
    };
    print(&text)?;
    usable
}

impl<'a> Report<'a> {
    fn new(artifact: &'a Artifact, path: &Path, verified: bool, problem: Option<String>) -> Self {
        let metadata = artifact.metadata();
        let mut tensors: Vec<Tensor<'a>> = artifact
            .tensors()
            .iter()
            .map(|(name, info)| Tensor {
                name,
                dtype: info.dtype,
                shape: &info.shape,
                offset: info.bytes.start,
                bytes: info.bytes.len(),
            })
            .collect();
        tensors.sort_by_key(|tensor| (tensor.offset, tensor.bytes));
        let mut bytes = BTreeMap::from([("header", artifact.file_len() - artifact.data().len())]);
        for tensor in &tensors {
            *bytes.entry(part_of(tensor.name)).or_default() += tensor.bytes;
        }
        Self {
            model: path.to_string_lossy().into_owned(),
            file_bytes: artifact.file_len(),
            format_version: FORMAT_VERSION,
            config: &metadata.config,
            source: &metadata.source,
            license: &metadata.license,
            tool: &metadata.tool,
            null_threshold: metadata.null_threshold,
            accuracy: metadata.accuracy.as_ref(),
            data_sha256: artifact.data_sha256(),
            verified,
            problem,
            bytes,
            memory: Memory::now(Some(path)),
            tensors,
        }
    }

    fn write(&self, text: &mut String, all_tensors: bool) -> std::fmt::Result {
        let mut row = |name: &str, value: &str| writeln!(text, "{name:<14}{}", clean(value));
        row("model", &format!("{} ({})", self.model, size(self.file_bytes)))?;
        let source = self.source;
        let revision = source.revision.as_ref().map(|revision| format!(" at {revision}")).unwrap_or_default();
        let repo = source.repo.as_ref().map(|repo| format!(", {repo}{revision}")).unwrap_or_default();
        row("source", &format!("{}{repo}", source.kind))?;
        for (file, sha256) in &source.sha256 {
            row("", &format!("{file} sha256 {sha256}"))?;
        }
        row("licence", self.license)?;
        row("made by", &format!("{}, format version {}", self.tool, self.format_version))?;
        let c = self.config;
        row(
            "encoder",
            &format!(
                "{} layers, hidden {}, {} heads of {}, feed-forward {}",
                c.num_layers,
                c.hidden_size,
                c.num_heads,
                c.head_dim(),
                c.intermediate_size
            ),
        )?;
        let absolute = if c.position_biased_input { "absolute" } else { "no absolute" };
        row(
            "input",
            &format!(
                "vocabulary {}, up to {} tokens, {} token types, {absolute} positions",
                c.vocab_size, c.max_positions, c.type_vocab_size
            ),
        )?;
        match &c.relative {
            None => row("relative", "none")?,
            Some(relative) => {
                let terms = [("c2p", relative.content_to_position), ("p2c", relative.position_to_content)];
                let terms: Vec<&str> = terms.iter().filter(|(_, used)| *used).map(|(name, _)| *name).collect();
                row(
                    "relative",
                    &format!(
                        "{}, {} buckets, distances up to {}",
                        terms.join(" + "),
                        relative.position_buckets,
                        relative.max_relative_positions
                    ),
                )?;
            }
        }
        let threshold = self.null_threshold.map_or("0 (none recommended)".into(), |t| t.to_string());
        row("threshold", &threshold)?;
        match self.accuracy {
            None => row("accuracy", "not measured against fp32")?,
            Some(accuracy) => {
                let Accuracy { data, data_sha256, questions, fp32, int8, identical, .. } = accuracy;
                let drawn = accuracy.subset.map_or(String::new(), |drawn| format!(", drawn with seed {}", drawn.seed));
                row(
                    "accuracy",
                    &format!("F1 {:.2}, EM {:.2}; fp32: F1 {:.2}, EM {:.2}", int8.f1, int8.exact, fp32.f1, fp32.exact),
                )?;
                let ratio = accuracy.f1_ratio().map_or("undefined".into(), |ratio| format!("{ratio:.4}"));
                row("", &format!("F1 ratio {ratio}, {identical} of {questions} answers identical"))?;
                row("", &format!("on {data} (sha256 {data_sha256}){drawn}, threshold {}", accuracy.null_threshold))?;
                if let Some(Promoted { layers, f1_ratio_before }) = accuracy.promoted {
                    let value = format!(
                        "too good: layers promoted to half precision because of these questions: {layers}, F1 ratio before \
                         {f1_ratio_before:.4}"
                    );
                    row("", &value)?;
                }
            }
        }
        for (n, (part, bytes)) in self.bytes.iter().enumerate() {
            row(if n == 0 { "bytes" } else { "" }, &format!("{part:<20}{:>12}", bytes))?;
        }
        for (name, value) in std::iter::once(self.memory.weights_row()).chain(self.memory.rows()) {
            row(name, &value)?;
        }
        row("tensors", &self.tensors.len().to_string())?;
        if all_tensors {
            for Tensor { name, dtype, shape, offset, bytes } in &self.tensors {
                row("", &format!("{name} {dtype:?} {shape:?} at {offset}, {bytes} bytes"))?;
            }
        }
        let state = if self.verified { "verified (sha256" } else { "MISMATCH (the data should have sha256" };
        row("checksum", &format!("{state} {})", self.data_sha256))?;
        match &self.problem {
            Some(problem) => row("problem", problem),
            None => Ok(()),
        }
    }
}

/// The part of the model that a tensor belongs to.
fn part_of(tensor: &str) -> &'static str {
    match tensor {
        name if TOKENIZER_TENSORS.contains(&name) => "tokenizer",
        name if name.ends_with(PADDING_SUFFIX) => "padding",
        name if name.starts_with("embeddings.") => "embeddings",
        name if name.contains(".attention.position_") => "relative positions",
        name if name.starts_with("encoder.") => "encoder",
        name if name.starts_with("head.") => "head",
        _ => "other",
    }
}

/// A number of bytes for people.
fn size(bytes: usize) -> String {
    if bytes < 1_000_000 { format!("{bytes} bytes") } else { format!("{} MB", megabytes(bytes as u64)) }
}
