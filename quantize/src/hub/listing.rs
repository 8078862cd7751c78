//! The repo's file list, and which of the files are needed.

use super::HubError;
use edgeqa::shown::commands;
use serde::Deserialize;

/// The configuration, required.
pub(super) const CONFIG: &str = "config.json";
/// The fast tokenizer, required.
pub(super) const TOKENIZER: &str = "tokenizer.json";
/// The preferred weights.
pub(super) const SAFETENSORS: &str = "model.safetensors";
/// ONNX graphs in order of preference.
pub(super) const ONNX: [&str; 2] = ["onnx/model.onnx", "model.onnx"];
/// What is appended to the graph's name for a file with its tensors.
const ONNX_DATA_SUFFIXES: [&str; 2] = [".data", "_data"];

/// Names in an error message beyond this number are counted only.
const NAMES_SHOWN: usize = 12;
const WEIGHT_SUFFIXES: [&str; 9] =
    [".safetensors", ".bin", ".onnx", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".gguf"];
const TOKENIZER_FILES: [&str; 9] = [
    "spm.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "added_tokens.json",
];

#[derive(Deserialize)]
struct RawListing {
    sha: Option<String>,
    siblings: Option<Vec<RawFile>>,
}

#[derive(Deserialize)]
struct RawFile {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<RawLfs>,
}

#[derive(Deserialize)]
struct RawLfs {
    sha256: Option<String>,
    size: Option<u64>,
}

/// One file of the repo, with what the hub announces about its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileEntry {
    /// The path in the repo.
    pub name: String,
    /// The length in bytes.
    pub size: Option<u64>,
    /// The SHA-256 of a file in large-file storage, in lower case.
    pub sha256: Option<String>,
}

/// The answer of the hub's info request.
#[derive(Debug)]
pub(super) struct Listing {
    /// The commit that the revision stands for.
    pub commit: String,
    files: Vec<FileEntry>,
}

/// The weights that were chosen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Safetensors(FileEntry),
    /// The graph; external data is already among the plan's other files.
    Onnx(FileEntry),
}

/// The files to fetch.
#[derive(Debug)]
pub(super) struct Plan {
    pub config: FileEntry,
    pub tokenizer: FileEntry,
    /// The tensors of an ONNX graph that lie beside it.
    pub external: Vec<FileEntry>,
    pub weights: Choice,
}

/// What files with a graph's tensors are called.
pub(super) fn external_names(graph: &str) -> impl Iterator<Item = String> {
    ONNX_DATA_SUFFIXES.iter().map(move |suffix| format!("{graph}{suffix}"))
}

/// Whether `text` is a full commit sha.
pub(super) fn is_commit(text: &str) -> bool {
    is_lower_hex(text, 40)
}

/// Whether `text` is `digits` long and of lower-case hexadecimal digits only.
pub(super) fn is_lower_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl Listing {
    /// Reads the JSON; the error says what is wrong with it.
    pub fn parse(body: &str) -> Result<Self, String> {
        let raw: RawListing =
            serde_json::from_str(body).map_err(|error| format!("not the JSON of a repo's info ({error})"))?;
        let commit = raw.sha.ok_or("the repo's info has no sha")?;
        if !is_commit(&commit) {
            return Err("the repo's info has a sha that is no commit sha".to_owned());
        }
        let siblings = raw.siblings.ok_or("the repo's info has no list of files")?;
        let files = siblings
            .into_iter()
            .map(|file| {
                let (sha256, lfs_size) = match file.lfs {
                    Some(lfs) => (lfs.sha256, lfs.size),
                    None => (None, None),
                };
                FileEntry {
                    name: file.rfilename,
                    size: file.size.or(lfs_size),
                    sha256: sha256.map(|text| text.to_ascii_lowercase()).filter(|text| is_lower_hex(text, 64)),
                }
            })
            .collect();
        Ok(Self { commit, files })
    }

    fn find(&self, name: &str) -> Option<&FileEntry> {
        self.files.iter().find(|file| file.name == name)
    }

    fn require(&self, name: &str, place: &str) -> Result<FileEntry, HubError> {
        self.find(name).cloned().ok_or_else(|| HubError::MissingFile { place: place.to_owned(), file: name.to_owned() })
    }

    /// Chooses the files, or says which are missing and how to make them.
    pub fn plan(&self, repo: &str, revision: &str, place: &str) -> Result<Plan, HubError> {
        let config = self.require(CONFIG, place)?;
        let Some(tokenizer) = self.find(TOKENIZER).cloned() else {
            return Err(HubError::MissingTokenizer {
                place: place.to_owned(),
                present: self.names(|name| TOKENIZER_FILES.contains(&base_name(name))),
                python_args: python_args(repo, revision),
            });
        };
        if let Some(weights) = self.find(SAFETENSORS) {
            return Ok(Plan { config, tokenizer, external: Vec::new(), weights: Choice::Safetensors(weights.clone()) });
        }
        if let Some(graph) = ONNX.iter().find_map(|name| self.find(name)) {
            let external = external_names(&graph.name).filter_map(|name| self.find(&name).cloned()).collect();
            return Ok(Plan { config, tokenizer, external, weights: Choice::Onnx(graph.clone()) });
        }
        Err(HubError::NoUsableWeights {
            place: place.to_owned(),
            present: self.names(|name| WEIGHT_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))),
            advice: self.weights_advice(repo, revision),
        })
    }

    fn weights_advice(&self, repo: &str, revision: &str) -> String {
        let has = |test: &dyn Fn(&str) -> bool| self.files.iter().any(|file| test(&file.name));
        let kind = if has(&|name| name.starts_with("pytorch_model") && name.ends_with(".bin")) {
            "PyTorch's pickle format is not read: convert it to safetensors first"
        } else if has(&|name| name == "model.safetensors.index.json") {
            "weights split over several files are not read: save them as one file first"
        } else if has(&|name| WEIGHT_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))) {
            "these forms are not read: save the model as safetensors first, if transformers can \
             load it"
        } else {
            return "choose a repo or a revision with weights".to_owned();
        };
        let args = python_args(repo, revision);
        format!(
            "{kind}:\n  python -c \"from transformers import AutoModelForQuestionAnswering as M; \
             M.from_pretrained({args}).save_pretrained('DIR', max_shard_size='50GB')\"\nput tokenizer.json into DIR too, and use that local folder \
             instead of the repo id"
        )
    }

    /// The file names that pass `keep`, for an error message.
    fn names(&self, keep: impl Fn(&str) -> bool) -> String {
        let kept: Vec<&str> = self.files.iter().map(|file| file.name.as_str()).filter(|name| keep(name)).collect();
        if kept.is_empty() {
            return "none".to_owned();
        }
        let mut text = kept.iter().take(NAMES_SHOWN).map(|name| printable(name, 80)).collect::<Vec<_>>().join(", ");
        if kept.len() > NAMES_SHOWN {
            text.push_str(&format!(" and {} more", kept.len() - NAMES_SHOWN));
        }
        text
    }
}

/// At most `limit` characters of `text`, control characters replaced.
pub(super) fn printable(text: &str, limit: usize) -> String {
    text.chars().take(limit).map(|c| if commands(c) { ' ' } else { c }).collect()
}

fn base_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Arguments of `from_pretrained`; both texts have passed the checks of ids and revisions.
fn python_args(repo: &str, revision: &str) -> String {
    if revision == super::DEFAULT_REVISION { format!("'{repo}'") } else { format!("'{repo}', revision='{revision}'") }
}
