//! What model files hold, read as bytes: a page of a map that the disk cannot give would end the process.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use crate::artifact::{Artifact, ArtifactError};
use crate::checksum;
use crate::errors::one_line;

/// Whether `new` holds the same bytes as `old`; not so if what `old` holds cannot be read.
///
/// # Errors
/// If one of them cannot be opened, or `new` not be read.
pub fn is_same(new: &Path, old: &Path) -> io::Result<bool> {
    let open = |path| File::open(path).map(|file| BufReader::with_capacity(1 << 16, file));
    let mut new = open(new)?;
    let mut old = open(old)?;
    loop {
        let left = new.fill_buf()?;
        let Ok(right) = old.fill_buf() else { return Ok(false) };
        let len = left.len().min(right.len());
        if left[..len] != right[..len] || left.is_empty() != right.is_empty() {
            return Ok(false);
        }
        if len == 0 {
            return Ok(true);
        }
        new.consume(len);
        old.consume(len);
    }
}

/// What is wrong with the content of the model at `path`, if anything is; not that it cannot be opened or mapped.
pub fn damage(path: &Path) -> Option<String> {
    if File::open(path).is_err() {
        return None;
    }
    if let Err(error) = checksum::of_file(path) {
        return Some(error.to_string());
    }
    match Artifact::open(path).and_then(|artifact| artifact.verify()) {
        Err(ArtifactError::Io { .. }) | Ok(()) => None,
        Err(problem) => Some(one_line(&problem)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_are_compared_to_their_ends() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let long = vec![7; 200_000];
        let a = file("a", &long);
        assert!(is_same(&a, &file("b", &long)).unwrap());
        assert!(!is_same(&a, &file("c", &long[1..])).unwrap());
        assert!(!is_same(&file("d", b""), &a).unwrap());
        assert!(!is_same(&a, &file("e", &[&long[1..], &[8]].concat())).unwrap());
    }

    /// As one on a bad sector: Linux has nothing at address 0.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_cannot_be_read_is_damaged_and_no_other() {
        let unreadable = Path::new("/proc/self/mem");
        assert!(damage(unreadable).is_some_and(|problem| problem.contains("Input/output error")));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "content").unwrap();
        assert!(!is_same(&file, unreadable).unwrap() && is_same(unreadable, &file).is_err());
        // Whoever may not open one does not know what it holds.
        let none = folder.path().join("none");
        assert!(is_same(&file, &none).is_err() && damage(&none).is_none());
    }
}
