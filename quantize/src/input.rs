//! The files that a model is read from.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use edgeqa::artifact::{Artifact, ArtifactError, Source};
use edgeqa::checksum;

use crate::checkpoint::Checkpoint;
use crate::config::SourceConfig;
use crate::hub::Downloaded;
use crate::import;
use crate::import::onnx::OnnxModel;

/// The files of one model.
#[derive(Clone, Debug)]
pub struct Input {
    /// An `.onnx` or `.safetensors` file.
    pub weights: PathBuf,
    /// Its `config.json`.
    pub config: PathBuf,
    /// Its `tokenizer.json`.
    pub tokenizer: PathBuf,
    /// Hub repository and commit, if they were fetched.
    pub hub: Option<(String, String)>,
}

impl Input {
    /// Resolves what a user names: an ONNX or safetensors file, or a Hugging Face folder; `config` and `tokenizer` default to the
    /// files beside the weights.
    ///
    /// # Errors
    /// If a file is missing, or the weights are no original; the message says which and what can be done.
    pub fn local(path: &Path, config: Option<PathBuf>, tokenizer: Option<PathBuf>) -> anyhow::Result<Self> {
        let weights = weights_file(path)?;
        let input = Self {
            config: config.unwrap_or_else(|| beside(&weights, "config.json")),
            tokenizer: tokenizer.unwrap_or_else(|| beside(&weights, "tokenizer.json")),
            weights,
            hub: None,
        };
        for (file, option) in [(&input.config, "--config"), (&input.tokenizer, "--tokenizer")] {
            need(file, option)?;
        }
        Ok(input)
    }

    /// Every file that is read; `graph` is what the weights are if they are one.
    pub(crate) fn files(&self, graph: Option<&OnnxModel>) -> Vec<ModelFile> {
        files(&self.weights, &self.config, Some(&self.tokenizer), graph)
    }

    /// The files that a hub download returned.
    pub fn downloaded(files: Downloaded) -> Self {
        Self {
            weights: files.weights.path().to_owned(),
            config: files.config,
            tokenizer: files.tokenizer,
            hub: Some((files.repo, files.commit)),
        }
    }
}

/// The weights that `path` names: itself, or a file in this folder.
///
/// # Errors
/// If there are none that can be read, or they are no original; the message says what can be done.
pub(crate) fn weights_file(path: &Path) -> anyhow::Result<PathBuf> {
    let weights = if path.is_dir() { weights_in(path)? } else { path.to_owned() };
    ensure!(is_file(&weights)?, "cannot open {}: no such file or folder", weights.display());
    refuse_pointer(&weights)?;
    if !is_onnx(&weights) {
        refuse_no_original(&weights)?;
    }
    Ok(weights)
}

/// Whether there is a file.
///
/// # Errors
/// If there is something else, or it cannot be found out.
pub(crate) fn is_file(path: &Path) -> anyhow::Result<bool> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(true),
        Ok(_) => bail!("{} is no regular file; name another one, or remove it", path.display()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot open {}", path.display())),
    }
}

/// Makes sure that there is a file that belongs to weights, which `option` names elsewhere.
///
/// # Errors
/// If there is none, or it is a pointer.
pub(crate) fn need(file: &Path, option: &str) -> anyhow::Result<()> {
    ensure!(is_file(file)?, "{} does not exist; put it beside the weights or name it with {option}", file.display());
    refuse_pointer(file)
}

/// Refuses what is no safetensors file, not all of one, or one that this tool has made.
fn refuse_no_original(weights: &Path) -> anyhow::Result<()> {
    let name = weights.display();
    match Artifact::open(weights) {
        // Faults of any safetensors file; what is read next says more of the last.
        Err(ArtifactError::NotEdgeqa | ArtifactError::Io { .. } | ArtifactError::HeaderLength { .. }) => Ok(()),
        Err(ArtifactError::NotSafetensors(problem)) => bail!(
            "{name} is no model: it is not called .onnx, and is no safetensors file ({problem}); give an ONNX export, or a folder with \
             model.safetensors; if it is one of these, copy or download it again"
        ),
        Err(error @ (ArtifactError::Truncated { .. } | ArtifactError::Overlong { .. })) => {
            Err(error).with_context(|| format!("{name} is damaged"))
        }
        _ => bail!("{name} is an edgeqa model already; give the original that it was made from"),
    }
}

/// Refuses what Git leaves in the place of a file that it keeps elsewhere.
///
/// # Errors
/// If `path` is such a text, or cannot be read.
pub(crate) fn refuse_pointer(path: &Path) -> anyhow::Result<()> {
    const POINTER: &[u8] = b"version https://git-lfs";
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(POINTER.len() as u64).read_to_end(&mut start));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(
        start != POINTER,
        "{} is a Git LFS pointer, not the file that it stands for; get that with `git lfs pull`, or download it",
        path.display()
    );
    Ok(())
}

/// The file `name` that belongs to `weights`.
pub(crate) fn beside(weights: &Path, name: &str) -> PathBuf {
    let folder = weights.parent().unwrap_or(Path::new(""));
    let near = folder.join(name);
    // The hub's repositories keep exports in a sub-folder `onnx`.
    if near.is_file() || !folder.ends_with("onnx") { near } else { folder.join("..").join(name) }
}

fn weights_in(folder: &Path) -> anyhow::Result<PathBuf> {
    for name in ["model.safetensors", "model.onnx", "onnx/model.onnx"] {
        let path = folder.join(name);
        if is_file(&path)? {
            return Ok(path);
        }
    }
    if folder.join("model.safetensors.index.json").is_file() {
        bail!(
            "{}: weights in several files are not supported; save the model in one model.safetensors",
            folder.display()
        );
    }
    if folder.join("pytorch_model.bin").is_file() {
        bail!(
            "{} only holds pytorch_model.bin, which cannot be read safely; convert it first: \
             AutoModelForQuestionAnswering.from_pretrained(DIR).save_pretrained(DIR)",
            folder.display()
        );
    }
    bail!("{} holds neither model.safetensors nor model.onnx", folder.display());
}

pub(crate) fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx"))
}

/// Reads the weights, and the graph if there is one.
///
/// # Errors
/// If the files are damaged or no supported model.
pub(crate) fn import(input: &Input, config: &SourceConfig) -> anyhow::Result<(Checkpoint, Option<OnnxModel>)> {
    if is_onnx(&input.weights) {
        let model = import::onnx::read(&input.weights)?;
        let checkpoint = import::onnx::import(&model, config)?;
        Ok((checkpoint, Some(model)))
    } else {
        Ok((import::folder::import(&input.weights, config)?, None))
    }
}

/// What a file of a model holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Weights,
    Config,
    Tokenizer,
    /// Tensors of an ONNX graph.
    Data,
}

impl Role {
    /// Its name among those of checksums.
    fn name(self) -> &'static str {
        match self {
            Role::Weights => "weights",
            Role::Config => "config",
            Role::Tokenizer => "tokenizer",
            Role::Data => "data",
        }
    }
}

/// A file that a model is read from.
#[derive(Clone, Debug)]
pub(crate) struct ModelFile {
    pub(crate) role: Role,
    pub(crate) path: PathBuf,
    /// Its file name; of a [`Role::Data`] file, its path in the folder of the weights.
    place: PathBuf,
}

impl ModelFile {
    fn new(role: Role, path: &Path) -> Self {
        Self { role, path: path.to_owned(), place: path.file_name().unwrap_or_default().into() }
    }

    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The files of a model: weights, configuration, the tokenizer if it is read, and those where `graph` keeps data outside of itself.
pub(crate) fn files(
    weights: &Path,
    config: &Path,
    tokenizer: Option<&Path>,
    graph: Option<&OnnxModel>,
) -> Vec<ModelFile> {
    let folder = weights.parent().unwrap_or(Path::new(""));
    let data = graph.into_iter().flat_map(|graph| &graph.external).map(|path| {
        let place = path.strip_prefix(folder).unwrap_or(path).to_owned();
        ModelFile { place, ..ModelFile::new(Role::Data, path) }
    });
    let mut files = vec![ModelFile::new(Role::Weights, weights), ModelFile::new(Role::Config, config)];
    files.extend(tokenizer.map(|path| ModelFile::new(Role::Tokenizer, path)));
    files.extend(data);
    files
}

/// Bytes of a file.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn size(path: &Path) -> anyhow::Result<u64> {
    Ok(fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len())
}

/// The checksum of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checksum {
    pub(crate) role: Role,
    /// Different for every file of a model.
    pub(crate) name: String,
    pub(crate) sha256: String,
}

/// The sha256 of files, each under its file name, or what it is and its file name, as in `config/c.json`, where another file has the
/// same.
///
/// # Errors
/// If one cannot be read.
pub(crate) fn checksums(files: &[ModelFile]) -> anyhow::Result<Vec<Checksum>> {
    let sum = |file: &ModelFile| -> anyhow::Result<Checksum> {
        let (role, path, name) = (file.role, &file.path, file.name());
        let unique = files.iter().filter(|other| other.name() == name).count() == 1;
        let name = if unique { name } else { format!("{}/{}", role.name(), file.place.display()) };
        let (_, sha256) = checksum::of_file(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Checksum { role, name, sha256 })
    };
    files.iter().map(sum).collect()
}

/// The sums by name.
pub(crate) fn by_name(checksums: &[Checksum]) -> BTreeMap<String, String> {
    checksums.iter().map(|sum| (sum.name.clone(), sum.sha256.clone())).collect()
}

/// Where the weights come from, files with these checksums.
pub(crate) fn source(input: &Input, checksums: &[Checksum], is_graph: bool) -> Source {
    let (repo, revision) = input.hub.clone().unzip();
    let kind = if is_graph { "onnx" } else { "safetensors" };
    Source { kind: kind.into(), repo, revision, sha256: by_name(checksums) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_a_checksum_under_a_name_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let names = |given: &[&str]| -> Vec<String> {
            for name in given {
                fs::create_dir_all(path(name).parent().expect("a folder")).expect("a folder");
                fs::write(path(name), name).expect("written");
            }
            let [weights, config, tokenizer, external @ ..] = given else { panic!("too few files") };
            let external = external.iter().map(|name| path(name)).collect();
            let graph = OnnxModel { proto: Default::default(), path: path(weights), external };
            let files = files(&path(weights), &path(config), Some(&path(tokenizer)), Some(&graph));
            let sums = checksums(&files).expect("checksums");
            for (file, sum) in files.iter().zip(&sums) {
                assert_eq!(
                    (file.role, checksum::of_file(&file.path).ok().map(|(_, sum)| sum)),
                    (sum.role, Some(sum.sha256.clone()))
                );
            }
            assert_eq!(by_name(&sums).len(), files.len());
            sums.into_iter().map(|sum| sum.name).collect()
        };
        assert_eq!(names(&["m.onnx", "c.json", "b/t.json", "d/x"]), ["m.onnx", "c.json", "t.json", "x"]);
        assert_eq!(
            names(&["m.onnx", "a/c.json", "b/c.json", "x", "d/x", "d/e/x", "y"]),
            ["m.onnx", "config/c.json", "tokenizer/c.json", "data/x", "data/d/x", "data/d/e/x", "y"]
        );
    }
}
