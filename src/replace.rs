//! Files that are replaced whole: written beside their place and renamed, so that whoever reads one sees the old or the new one.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// Writes `content` to the file `target`, replacing what was there. A killed process leaves `.<target>.<random>.tmp` behind.
///
/// # Errors
/// If the file cannot be made, written or renamed; what was there before is kept.
pub fn replace(target: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = beside(target)?;
    file.write_all(content)?;
    file.persist(target)?;
    Ok(())
}

/// An empty file beside `target`, readable for all, that is removed when dropped.
pub(crate) fn beside(target: &Path) -> io::Result<NamedTempFile> {
    let name = target.file_name().map_or_else(|| "file".into(), |name| name.to_string_lossy());
    let prefix = format!(".{name}.");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    builder.tempfile_in(folder_of(target))
}

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes renames in `folder` reach the disk. Some file systems cannot sync a directory; that loses nothing.
pub(crate) fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_content_is_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let target = folder.path().join("x.json");
        for content in ["old and longer", "new"] {
            replace(&target, content.as_bytes()).expect("written");
            assert_eq!(std::fs::read_to_string(&target).expect("there"), content);
        }
        assert!(replace(&folder.path().join("missing/x"), b"").is_err());
        assert!(replace(folder.path(), b"").is_err(), "a folder is no file");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn a_bare_name_is_in_the_working_directory() {
        assert_eq!(folder_of(Path::new("x")), Path::new("."));
        assert_eq!(folder_of(Path::new("a/x")), Path::new("a"));
    }
}
