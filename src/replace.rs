//! Files that are replaced whole: written beside their place and renamed, so that whoever reads one sees the old or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Writes `content` to the file `target`, replacing what was there; of a link, what it leads to. A pipe or a device is written into. A
/// killed process leaves `.<target>.<random>.tmp` behind.
///
/// # Errors
/// If the file cannot be made, written or renamed; what was there before is kept.
pub fn replace(target: &Path, content: &[u8]) -> io::Result<()> {
    if is_special(target) {
        return OpenOptions::new().write(true).open(target)?.write_all(content);
    }
    let target = behind_links(target);
    let mut file = beside(&target)?;
    file.write_all(content)?;
    file.persist(&target)?;
    Ok(())
}

/// Sees whether [`replace`] could write `target`, and writes nothing. Best done before there is anything to write.
///
/// # Errors
/// If no file can be made beside it, or it is a folder.
pub fn writable(target: &Path) -> io::Result<()> {
    if is_special(target) {
        return Ok(());
    }
    let target = behind_links(target);
    if target.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    beside(&target).map(drop)
}

/// Whether something is there that is no file and no folder: a rename would put a file in its place.
pub fn is_special(target: &Path) -> bool {
    fs::metadata(target).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// The file that `target` leads to, which may not be there yet: a rename would replace a link, not what it leads to.
pub fn behind_links(target: &Path) -> PathBuf {
    let mut target = target.to_owned();
    // As many as Linux follows.
    for _ in 0..40 {
        match fs::read_link(&target) {
            // An absolute one replaces the folder.
            Ok(next) => target = folder_of(&target).join(next),
            Err(_) => break,
        }
    }
    target
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
pub fn folder_of(path: &Path) -> &Path {
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
        for impossible in [&folder.path().join("missing/x"), folder.path()] {
            assert!(writable(impossible).is_err() && replace(impossible, b"").is_err(), "{}", impossible.display());
        }
        writable(&target).expect("writable");
        assert_eq!(std::fs::read_to_string(&target).expect("there"), "new");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_and_what_is_no_file_is_written_into() {
        use std::io::Read;
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().expect("temporary folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("results")).expect("a folder");
        symlink("latest", path("link")).expect("a link");
        symlink(path("results").join("1.json"), path("latest")).expect("a link");
        for content in ["new", "newer"] {
            replace(&path("link"), content.as_bytes()).expect("written");
            assert_eq!(fs::read_to_string(path("results/1.json")).expect("there"), content);
        }
        assert!(path("link").is_symlink() && path("latest").is_symlink());
        assert_eq!(fs::read_dir(path("results")).expect("a folder").count(), 1);
        symlink("circle", path("circle")).expect("a link");
        replace(&path("circle"), b"x").expect("a link to itself leads nowhere");

        rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .expect("a pipe");
        let reader = std::thread::spawn({
            let pipe = path("pipe");
            move || {
                let mut content = String::new();
                File::open(pipe).and_then(|mut pipe| pipe.read_to_string(&mut content)).map(|_| content)
            }
        });
        replace(&path("pipe"), b"through").expect("written");
        assert_eq!(reader.join().expect("a reader").expect("read"), "through");
        assert!(is_special(&path("pipe")));
    }

    #[test]
    fn a_bare_name_is_in_the_working_directory() {
        assert_eq!(folder_of(Path::new("x")), Path::new("."));
        assert_eq!(folder_of(Path::new("a/x")), Path::new("a"));
    }
}
