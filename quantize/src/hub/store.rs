//! The hub cache's folder and the files in it.

use super::HubError;
use super::listing::FileEntry;
use hf_hub::Cache;
use std::fs;
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
        fs::remove_file(part)?;
        return Ok(false);
    }
    Ok(length > 0)
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
    let found = crate::checksum::sha256(path)?;
    Ok((found != *sha256).then(|| format!("SHA-256 {found} instead of {sha256}")))
}

/// Puts a blob that the cache has already into the snapshot.
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
    std::os::unix::fs::symlink(folder.join(blob_name), pointer)
}

/// Elsewhere the client transfers the file again.
#[cfg(not(unix))]
pub(super) fn link(_: &Path, _: &Path, _: &str) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}
