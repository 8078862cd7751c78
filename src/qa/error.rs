//! Everything that can go wrong between a question and its answer.

use std::path::{Path, PathBuf};

use crate::artifact::ArtifactError;
use crate::model::ModelError;
use crate::tokenizer::TokenizerError;

/// Why a question could not be answered. "No answer" is no error but an [`super::Answer`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QaError {
    /// The model file cannot be used.
    #[error("cannot use the model {}", path.display())]
    Artifact {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ArtifactError,
    },
    /// A tensor of an opened model file cannot be used.
    #[error(transparent)]
    Weights(#[from] ArtifactError),
    /// The model cannot be built, or fails on a window.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Question or context cannot be made into windows.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// An option has a value that cannot be.
    #[error("{option} (--{}) is {value}, but {problem}", option.replace('_', "-"))]
    Option {
        /// The field of [`AskOptions`](super::AskOptions); on the command line it has dashes.
        option: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        problem: String,
    },
}

impl QaError {
    /// The error of the model file at `path`, made of what is wrong with it.
    pub fn of_file(path: &Path) -> impl Fn(ArtifactError) -> Self {
        move |source| Self::Artifact { path: path.to_owned(), source }
    }
}
