//! The hub cache's folder and the files in it.

use super::HubError;
use super::listing::FileEntry;
use edgeqa::checksum;
use hf_hub::Cache;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;

/// Opens the cache in `dir`, else where the environment says.
pub(super) fn open_cache(dir: Option<&Path>) -> Result<Cache, HubError> {
    if let Some(dir) = dir {
        return Ok(Cache::new(dir.to_owned()));
    }
    if super::session::env_text("HF_HOME").is_some() {
        return Ok(Cache::from_env());
    }
    // The default needs a home folder.
    match std::env::home_dir() {
        Some(home) if !home.as_os_str().is_empty() => Ok(Cache::default()),
        _ => Err(HubError::NoCacheFolder),
    }
}

/// The ETag becomes a file name in the cache, with its own endings beside it.
pub(super) fn is_usable_etag(etag: &str) -> bool {
    let name = etag.strip_prefix("W/").unwrap_or(etag);
    (1..=128).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Removes a partial file that has nothing left to fetch, which the client could not go on with.
/// Returns whether there is one to continue.
pub(super) fn keep_part(part: &Path, size: Option<u64>) -> io::Result<bool> {
    let Ok(length) = fs::metadata(part).map(|data| data.len()) else {
        return Ok(false);
    };
    if size.is_some_and(|size| length >= size) {
        remove_part(part)?;
        return Ok(false);
    }
    Ok(length > 0)
}

/// Removes a partial file, unless another process is at work on it.
pub(super) fn remove_part(part: &Path) -> io::Result<()> {
    // The client holds this lock during a transfer.
    match File::create(part.with_extension("lock"))?.try_lock() {
        Ok(()) => remove(part),
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Removes a file or a link, if it is there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Says how the file differs from what was announced.
pub(super) fn difference(path: &Path, expected: &FileEntry) -> io::Result<Option<String>> {
    let length = fs::metadata(path)?.len();
    if let Some(size) = expected.size
        && size != length
    {
        return Ok(Some(format!("{length} bytes instead of {size}")));
    }
    let Some(sha256) = &expected.sha256 else {
        return Ok(None);
    };
    let (_, found) = checksum::of_file(path)?;
    Ok((found != *sha256).then(|| format!("SHA-256 {found} instead of {sha256}")))
}

/// Puts a blob that the cache has already into the snapshot, in place of whatever link is there.
#[cfg(unix)]
pub(super) fn link(blob: &Path, pointer: &Path, name: &str) -> io::Result<()> {
    let none = || io::Error::from(ErrorKind::InvalidInput);
    if let Some(folder) = pointer.parent() {
        fs::create_dir_all(folder)?;
    }
    let blob_name = blob.file_name().ok_or_else(none)?;
    // From snapshots/COMMIT/… up to the repo's folder, whose blobs/ may have a folder of its own.
    let up = "../".repeat(2 + name.matches('/').count());
    let folder = match blob.parent().and_then(Path::file_name) {
        Some(folder) if folder == "blobs" => Path::new(&up).join("blobs"),
        Some(folder) => Path::new(&up).join("blobs").join(folder),
        None => return Err(none()),
    };
    // Whoever looks meanwhile finds the old link or the new one.
    let link_name = pointer.file_name().ok_or_else(none)?.to_string_lossy();
    let new = pointer.with_file_name(format!(".{link_name}.{}.tmp", std::process::id()));
    remove(&new)?;
    std::os::unix::fs::symlink(folder.join(blob_name), &new)?;
    fs::rename(&new, pointer)
}

/// Elsewhere the client transfers the file again.
#[cfg(not(unix))]
pub(super) fn link(_: &Path, _: &Path, _: &str) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn links_are_replaced_and_lead_to_the_blob() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("blobs")).expect("a folder");
        fs::write(path("blobs/b"), "right").expect("written");
        for name in ["model.onnx", "onnx/model.onnx"] {
            let pointer = path("snapshots/c").join(name);
            link(&path("blobs/b"), &pointer, name).expect("a link");
            assert_eq!(fs::read_to_string(&pointer).expect("the blob"), "right");
            fs::remove_file(&pointer).expect("removed");
            symlink("gone", &pointer).expect("a link to nothing");
            for _ in 0..2 {
                link(&path("blobs/b"), &pointer, name).expect("a link");
                assert_eq!(fs::read_to_string(&pointer).expect("the blob"), "right");
            }
        }
        assert_eq!(fs::read_dir(path("snapshots/c/onnx")).expect("a folder").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_partial_file_that_somebody_is_at_work_on_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let (part, lock) = (folder.path().join("b.part"), folder.path().join("b.lock"));
        assert!(!keep_part(&part, Some(9)).expect("nothing to do"));
        fs::write(&part, "content").expect("written");
        assert!(keep_part(&part, Some(8)).expect("to continue") && keep_part(&part, None).expect("to continue"));
        let other = File::create(&lock).expect("a lock");
        other.lock().expect("locked");
        assert!(!keep_part(&part, Some(7)).expect("not to continue") && part.is_file());
        drop(other);
        assert!(!keep_part(&part, Some(7)).expect("removed") && !part.exists());
        remove(&part).expect("nothing to do");
    }
}
