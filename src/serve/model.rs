//! The model in use, how it is proven, and how another one takes its place.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::artifact::{Artifact, ArtifactError};
use crate::qa::probe::probe;
use crate::qa::{Answer, QaError, Reader};
use crate::threads::Threads;

/// How often a model is opened at most, if each time another one takes its name meanwhile.
const OPENINGS: usize = 3;

/// Why a file is not used as the model.
#[derive(Debug, thiserror::Error)]
pub enum ModelProblem {
    /// It is no valid model, or does not have its checksum.
    #[error(transparent)]
    Invalid(#[from] QaError),
    /// It is valid, but does not answer as a model must.
    #[error("the self-test failed: {0}; convert or copy the model again")]
    SelfTest(String),
    /// It cannot be kept in memory as it should be.
    #[error("{0}")]
    Memory(String),
    /// It was written to while it was read or in use.
    #[error("{} was changed in place; replace models with `edgeqa model install`, never by writing into them", .0.display())]
    Changed(PathBuf),
}

impl ModelProblem {
    /// Whether the same file may be taken at another time: rights, descriptors and memory come and go.
    pub fn may_pass(&self) -> bool {
        matches!(self.code(), "unreadable" | "memory")
    }

    /// A stable name of the kind of problem.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(QaError::Artifact { source, .. } | QaError::Weights(source)) => match source {
                ArtifactError::Io { .. } => "unreadable",
                ArtifactError::Truncated { .. } => "truncated",
                ArtifactError::Overlong { .. } => "overlong",
                ArtifactError::Checksum { .. } | ArtifactError::Header { .. } => "checksum",
                _ => "invalid",
            },
            Self::Invalid(_) => "invalid",
            Self::SelfTest(_) => "self_test",
            Self::Memory(_) => "memory",
            Self::Changed(_) => "changed",
        }
    }
}

/// What tells one file from another that has its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
}

impl Identity {
    /// That of the file that has this name now.
    ///
    /// # Errors
    /// If there is none.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&fs::metadata(path)?))
    }

    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// What is done with a model that was opened, before it is read: it may have to stay in memory.
pub type Settle = Box<dyn Fn(&Artifact) -> Result<(), String> + Send>;

/// A model whose checksum and self-test have passed.
#[derive(Debug)]
pub struct Proven {
    path: PathBuf,
    artifact: Artifact,
    reader: Reader,
    /// The mapped file, also after another one has taken its name.
    file: File,
    identity: Identity,
    /// The answer of the first self-test, which all later ones must repeat.
    expected: Answer,
}

impl Proven {
    /// Opens the model at `path`, compares all of it with its checksum, and asks it something.
    ///
    /// # Errors
    /// [`ModelProblem`], for the first thing that is wrong.
    pub fn open(path: &Path, threads: &Threads) -> Result<Self, ModelProblem> {
        let nothing: Settle = Box::new(|_| Ok(()));
        Self::open_settled(path, threads, &nothing)
    }

    /// The same, with `settle` done before all else.
    ///
    /// # Errors
    /// [`ModelProblem`].
    pub fn open_settled(path: &Path, threads: &Threads, settle: &Settle) -> Result<Self, ModelProblem> {
        let unusable = QaError::of_file(path);
        let changed = || ModelProblem::Changed(path.to_owned());
        let opened = (0..OPENINGS).find_map(|_| open_once(path).transpose());
        let (artifact, file, identity) = opened.ok_or_else(changed)?.map_err(&unusable)?;
        settle(&artifact).map_err(ModelProblem::Memory)?;
        artifact.verify().map_err(unusable)?;
        let reader = Reader::from_artifact(&artifact)?.on(threads.clone());
        let expected = probe(&reader).map_err(ModelProblem::SelfTest)?;
        let model = Self { path: path.to_owned(), artifact, reader, file, identity, expected };
        model.self_test()?;
        if file_identity(&model.file)? != identity {
            return Err(changed());
        }
        Ok(model)
    }

    /// Asks the question of the self-test again: the answer must be the same to the last bit.
    ///
    /// # Errors
    /// [`ModelProblem::SelfTest`], or [`ModelProblem::Changed`] if the file was written to.
    pub fn self_test(&self) -> Result<(), ModelProblem> {
        self.check_file()?;
        match probe(&self.reader).map_err(ModelProblem::SelfTest)? {
            answer if answer == self.expected => Ok(()),
            _ => Err(ModelProblem::SelfTest("the same question has another answer than before".into())),
        }
    }

    /// Looks whether the mapped file is as it was proven: touching what is not there any more would kill the process, and what was
    /// written to it is part of the model.
    ///
    /// # Errors
    /// [`ModelProblem::Changed`].
    pub fn check_file(&self) -> Result<(), ModelProblem> {
        if file_identity(&self.file)? != self.identity {
            return Err(ModelProblem::Changed(self.path.clone()));
        }
        Ok(())
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file.
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// What answers.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// What tells this file from another one.
    pub fn identity(&self) -> Identity {
        self.identity
    }
}

/// Maps the model at `path`, and opens its file with it; nothing if that was another one by then, or was written to.
fn open_once(path: &Path) -> Result<Option<(Artifact, File, Identity)>, ArtifactError> {
    let io = |source| ArtifactError::Io { action: "open", path: path.to_owned(), source };
    let before = Identity::at(path).map_err(io)?;
    let artifact = Artifact::open(path)?;
    let file = File::open(path).map_err(io)?;
    let identity = Identity::of(&file.metadata().map_err(io)?);
    let same = identity == before && identity.len == artifact.file_len() as u64;
    Ok(same.then_some((artifact, file, identity)))
}

fn file_identity(file: &File) -> Result<Identity, ModelProblem> {
    let unknown =
        |error: io::Error| ModelProblem::SelfTest(format!("the system does not tell the file's size: {error}"));
    Ok(Identity::of(&file.metadata().map_err(unknown)?))
}

/// Where the model in use is kept. Whoever takes it keeps it as long as needed, whatever comes in its place.
#[derive(Debug)]
pub struct Slot(RwLock<Arc<Proven>>);

impl Slot {
    /// With this model in it.
    pub fn new(model: Proven) -> Self {
        Self(RwLock::new(Arc::new(model)))
    }

    /// The model in use.
    pub fn get(&self) -> Arc<Proven> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another one in its place. What frees the memory of the one before does not hold others up.
    pub fn set(&self, model: Proven) {
        let model = Arc::new(model);
        let before = std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), model);
        drop(before);
    }
}
