//! The hub cache's folder and the files in it.

use super::listing::{FileEntry, is_lower_hex};
use super::session::env_text;
use super::{HubError, HubOptions};
use edgeqa::checksum;
use hf_hub::Cache;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Opens the cache that `options` name, else the one that the environment does.
pub(super) fn open_cache(options: &HubOptions) -> Result<Cache, HubError> {
    if let Some(dir) = &options.cache_dir {
        return Ok(Cache::new(dir.clone()));
    }
    if let Some(dir) = env_text(options, "HF_HUB_CACHE") {
        return Ok(Cache::new(dir.into()));
    }
    Ok(Cache::new(home(options).ok_or(HubError::NoCacheFolder)?.join("hub")))
}

/// The file that `hf auth login` leaves the token in.
pub(super) fn token_path(options: &HubOptions, cache: &Cache) -> PathBuf {
    match home(options) {
        Some(home) if options.cache_dir.is_none() => home.join("token"),
        _ => cache.token_path(),
    }
}

/// The folder of the hub's clients.
fn home(options: &HubOptions) -> Option<PathBuf> {
    if let Some(home) = env_text(options, "HF_HOME") {
        return Some(home.into());
    }
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty())?;
    Some(home.join(".cache").join("huggingface"))
}

/// The ETag becomes a file name in the cache, with its own endings beside it.
pub(super) fn is_usable_etag(etag: &str) -> bool {
    let name = etag.strip_prefix("W/").unwrap_or(etag);
    (1..=128).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// How often, and how long apart, a lock that another process holds is tried.
const LOCK_TRIES: u32 = 25;
const LOCK_PAUSE: Duration = Duration::from_millis(200);

/// The lock file of a blob, which the hub's other clients hold, too, while they transfer it.
pub(super) fn lock_path(blob: &Path) -> PathBuf {
    blob.with_extension("lock")
}

/// Locks a blob until what is returned is dropped. None if another process keeps it for some seconds.
pub(super) fn lock(blob: &Path) -> io::Result<Option<File>> {
    if let Some(folder) = blob.parent() {
        fs::create_dir_all(folder)?;
    }
    let lock = File::create(lock_path(blob))?;
    for _ in 0..LOCK_TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

/// How much of a partial file can be continued. One that has nothing left to fetch is removed: it would have been taken.
pub(super) fn keep_part(part: &Path, size: Option<u64>) -> io::Result<u64> {
    let Ok(length) = fs::metadata(part).map(|data| data.len()) else {
        return Ok(0);
    };
    if size.is_some_and(|size| length >= size) {
        remove(part)?;
        return Ok(0);
    }
    Ok(length)
}

/// Whether the file is there and is the one that is announced.
pub(super) fn is_sound(path: &Path, expected: &FileEntry) -> bool {
    path.is_file() && matches!(difference(path, expected), Ok(None))
}

/// Whether the file has the SHA-256 that its blob is named after, if it is.
pub(super) fn is_named_rightly(path: &Path) -> bool {
    let blob = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = blob.file_name().and_then(|name| name.to_str()).filter(|name| is_lower_hex(name, 64));
    name.is_none_or(|name| checksum::of_file(&blob).is_ok_and(|(_, found)| found == name))
}

/// Whether the file holds a JSON value.
pub(super) fn is_json(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok())
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

/// Elsewhere there may be no links.
#[cfg(not(unix))]
pub(super) fn link(_: &Path, _: &Path, _: &str) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

/// Makes a complete partial file the blob, and puts it into the snapshot; where there are no links, itself.
pub(super) fn publish(part: &Path, blob: &Path, pointer: &Path, name: &str) -> io::Result<()> {
    if cfg!(unix) {
        fs::rename(part, blob)?;
        return link(blob, pointer, name);
    }
    if let Some(folder) = pointer.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::rename(part, pointer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_are_names_of_files() {
        for (etag, usable) in [("a".repeat(128), true), ("a".repeat(129), false), (String::new(), false)] {
            assert_eq!(is_usable_etag(&etag), usable, "{etag}");
        }
        assert!(is_usable_etag("W/a-b_0") && !is_usable_etag("W/") && !is_usable_etag("../a"));
    }

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
    fn partial_files_with_nothing_left_to_fetch_are_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let part = folder.path().join("b.part");
        let kept = |size| keep_part(&part, size).expect("seen to");
        assert_eq!(kept(Some(9)), 0);
        fs::write(&part, "content").expect("written");
        assert_eq!((kept(Some(8)), kept(None)), (7, 7));
        assert_eq!((kept(Some(7)), part.exists()), (0, false));
    }

    #[test]
    fn one_process_has_a_blob() {
        let folder = tempfile::tempdir().expect("a folder");
        let blob = folder.path().join("blobs/W/b");
        let held = lock(&blob).expect("a file").expect("a lock");
        assert!(lock(&blob).expect("a file").is_none());
        drop(held);
        assert!(lock(&blob).expect("a file").is_some());
    }
}
