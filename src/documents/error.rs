//! Why there is no library.

use std::io;
use std::path::PathBuf;

/// Why a folder cannot be used. Single files that cannot be read are no error but [`super::Skipped`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentsError {
    /// The folder cannot be listed.
    #[error("cannot read the documents in {}: {source}; give a folder with .txt and .md files", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
