//! The one place where files are mapped into memory.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use super::ArtifactError;

/// A whole file, mapped read-only. Pages are read when touched, shared between processes, and can be dropped by the
/// system at any time, because the file holds them.
#[derive(Debug)]
pub struct Mapping {
    map: Mmap,
}

impl Mapping {
    /// Maps `path`.
    ///
    /// The file must not be modified or truncated while it is mapped: a truncated page raises SIGBUS, and changed bytes
    /// change answers. Replace a model by writing beside it and renaming, as [`super::write`] does; the old map then stays
    /// intact until it is dropped.
    ///
    /// # Errors
    /// If the file cannot be opened or mapped.
    pub fn open(path: &Path) -> Result<Arc<Self>, ArtifactError> {
        let io = |action| move |source| ArtifactError::Io { action, path: path.to_owned(), source };
        // Opening a pipe would wait for a writer, so the kind is looked at first.
        if !std::fs::metadata(path).map_err(io("open"))?.is_file() {
            return Err(io("open")(std::io::Error::other("it is no regular file")));
        }
        let file = File::open(path).map_err(io("open"))?;
        // SAFETY: the map is read-only and private to this process's view. Rust's rule that the bytes behind `&[u8]` do not
        // change is the duty documented above: models are replaced by rename, never written in place. Nothing in
        // memory safety depends on the values: every offset and length is validated once and kept outside the map, and
        // all types viewed in the map (integers and floats) accept any bit pattern.
        let map = unsafe { Mmap::map(&file) }.map_err(io("map"))?;
        Ok(Arc::new(Self { map }))
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }
}
