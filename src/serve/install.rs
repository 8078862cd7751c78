//! Models that take another one's place on disk: proven first, renamed in one step, and the one before kept.
//!
//! Whatever happens in between (the power goes, the process is killed), the file's name always leads to the old or the new
//! model, complete and on disk.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

use super::content::{damage, is_same};
use super::model::{ModelProblem, Proven};
use super::previous;
use crate::artifact::Artifact;
use crate::qa::QaError;
use crate::replace::{folder_of, is_special, sync_folder};
use crate::threads::Threads;

/// Why no model was installed or brought back. What was there before is there still.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// It is no model that works.
    #[error("{} is not installed", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ModelProblem,
    },
    /// The copy of a model that works does not.
    #[error(
        "{} is not installed: it works, but its copy in {} did not ({reason}); try again, and if that does not help, replace the disk",
        path.display(), folder.display()
    )]
    Copy {
        /// The file.
        path: PathBuf,
        /// Where it was copied to.
        folder: PathBuf,
        /// The kind of problem.
        reason: &'static str,
    },
    /// Something cannot be done.
    #[error("cannot {action} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// The verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another installation is going on.
    #[error("another program installs a model in {} now; try again when it is done", .0.display())]
    Busy(PathBuf),
    /// What is there is a folder, a device or a pipe.
    #[error("{} is no file; give the path of one, such as /var/lib/edgeqa/model.safetensors", .0.display())]
    NoFile(PathBuf),
    /// There is nothing to bring back.
    #[error("there is no {}; `edgeqa model install` keeps one from the second time on", .0.display())]
    NoPrevious(PathBuf),
}

/// What to do about an error of the system, if that is plain.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; run it with sudo, or name another place with --to",
        io::ErrorKind::ReadOnlyFilesystem => "; mount that file system for writing, or name another place with --to",
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "; name another place with --to",
        io::ErrorKind::StorageFull => "; free some space there, or name another place with --to",
        _ => "",
    }
}

/// What an installation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Installed {
    /// The file was put in place; the checksum of its data.
    New(String),
    /// The same model was there already; the checksum of its data.
    Same(String),
}

/// Installs the model `from` as `to`, after its checksum and self-test, and keeps what was there as [`previous`], unless there is one and
/// what was there is damaged.
///
/// # Errors
/// [`InstallError`].
pub fn install(from: &Path, to: &Path, threads: &Threads) -> Result<Installed, InstallError> {
    let refused = |source| InstallError::Model { path: from.to_owned(), source };
    // Of `from` only what tells early that it is no model: what is copied is what has to be right.
    Artifact::open(from).map_err(|problem| refused(QaError::of_file(from)(problem).into()))?;
    check_target(to)?;
    let folder = folder_of(to);
    make_folder(folder).map_err(io_error("make the folder", folder))?;
    let _lock = lock(to)?;
    clean(to);
    if is_there(to)?
        && is_same(from, to).map_err(io_error("compare with the present model", from))?
        && let Ok(there) = Proven::open(to, threads)
    {
        make_readable(to)?;
        return Ok(Installed::Same(there.artifact().data_sha256().to_owned()));
    }
    let new = beside(to, "new")?;
    copy(from, new.path())?;
    let sha256 = proven_copy(new.path(), from, threads)?;
    let before = previous(to);
    let both = is_there(to)? && is_there(&before)?;
    match both.then(|| damage(to)).flatten() {
        Some(problem) => {
            let (present, kept) = (to.display(), before.display());
            log::warn!("{present} could not be used ({problem}), so that {kept} stays the previous model");
            rename(new, to)?;
        }
        None => put(new, to)?,
    }
    sync_folder(folder);
    Ok(Installed::New(sha256))
}

/// The checksum of the data of `copy`, which has to work. If it does not, says which of the two is bad, in the name that somebody knows.
fn proven_copy(copy: &Path, from: &Path, threads: &Threads) -> Result<String, InstallError> {
    let of_copy = match Proven::open(copy, threads) {
        Ok(model) => return Ok(model.artifact().data_sha256().to_owned()),
        Err(problem) => problem,
    };
    let path = from.to_owned();
    Err(match Proven::open(from, threads) {
        Err(source) => InstallError::Model { path, source },
        Ok(_) => InstallError::Copy { path, folder: folder_of(copy).to_owned(), reason: of_copy.code() },
    })
}

/// Brings the previous model back, after its checksum and self-test; the present one becomes the previous one. Returns the
/// checksum of the data of the one that is in place then.
///
/// # Errors
/// [`InstallError`].
pub fn rollback(to: &Path, threads: &Threads) -> Result<String, InstallError> {
    let before = previous(to);
    check_target(to)?;
    if !folder_of(to).is_dir() {
        return Err(InstallError::NoPrevious(before));
    }
    let _lock = lock(to)?;
    clean(to);
    if !is_there(&before)? {
        return Err(InstallError::NoPrevious(before));
    }
    let refused = |source| InstallError::Model { path: before.clone(), source };
    let sha256 = Proven::open(&before, threads).map_err(refused)?.artifact().data_sha256().to_owned();
    make_readable(&before)?;
    // In one step where the file system can. Elsewhere a killed process may leave the present model under both names.
    if renameat_with(CWD, &before, CWD, to, RenameFlags::EXCHANGE).is_err() {
        put(keep(&before, to, "back")?, to)?;
    }
    sync_folder(folder_of(to));
    Ok(sha256)
}

/// A rename would put a file in the place of a device or a pipe.
fn check_target(to: &Path) -> Result<(), InstallError> {
    match to.is_dir() || is_special(to) {
        true => Err(InstallError::NoFile(to.to_owned())),
        false => Ok(()),
    }
}

/// Makes a folder and those above it; those that are there stay as they are. What root makes is readable for the daemon, which is another
/// user; what others make is their own affair.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    // The working directory may be one that cannot be looked into.
    let above = folder_of(folder);
    if above != folder {
        make_folder(above)?;
    }
    match fs::create_dir(folder) {
        Ok(()) if rustix::process::geteuid().is_root() => {
            let mode = fs::metadata(folder)?.permissions().mode();
            fs::set_permissions(folder, Permissions::from_mode(mode | 0o755))
        }
        Ok(()) => Ok(()),
        // Somebody else made it meanwhile.
        Err(_) if folder.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

fn io_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError::Io { action, path: path.clone(), source }
}

/// Keeps others from installing into the same folder, until it is dropped or the process ends.
fn lock(to: &Path) -> Result<File, InstallError> {
    let folder = folder_of(to);
    let file = File::open(folder).map_err(io_error("open the folder", folder))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(InstallError::Busy(folder.to_owned())),
        Err(error) => Err(io_error("lock the folder", folder)(error.into())),
    }
}

/// The beginning of the names of unfinished files beside `to`.
fn prefix(to: &Path) -> String {
    format!(".{}.install-", to.file_name().unwrap_or_default().to_string_lossy())
}

/// Removes what a killed installation has left. Only the holder of the lock makes such files.
fn clean(to: &Path) {
    let prefix = prefix(to);
    for entry in fs::read_dir(folder_of(to)).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A file beside the model that is removed when dropped.
struct Unfinished(PathBuf);

impl Unfinished {
    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A name beside `to` that nothing has yet.
fn beside(to: &Path, role: &str) -> Result<Unfinished, InstallError> {
    let path = folder_of(to).join(format!("{}{role}", prefix(to)));
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &path)(error)),
        _ => Ok(Unfinished(path)),
    }
}

/// Whether there is something of this name.
fn is_there(path: &Path) -> Result<bool, InstallError> {
    path.try_exists().map_err(io_error("look at", path))
}

/// Copies a file and waits until it is on disk.
fn copy(from: &Path, to: &Path) -> Result<(), InstallError> {
    fs::copy(from, to).map_err(io_error("copy to", to))?;
    let file = File::open(to).map_err(io_error("open", to))?;
    // Readable for the daemon, whoever has installed it.
    file.set_permissions(Permissions::from_mode(0o644)).and_then(|()| file.sync_all()).map_err(io_error("write", to))
}

/// Makes a model readable for the daemon, if it is not: that is another user.
fn make_readable(path: &Path) -> Result<(), InstallError> {
    let error = io_error("make readable for all", path);
    let mode = fs::metadata(path).map_err(&error)?.permissions().mode();
    match mode & 0o444 {
        0o444 => Ok(()),
        _ => fs::set_permissions(path, Permissions::from_mode(0o644)).map_err(&error),
    }
}

/// Another name, beside `to`, for the file `path`, or a copy where the file system has no links.
fn keep(path: &Path, to: &Path, role: &str) -> Result<Unfinished, InstallError> {
    let kept = beside(to, role)?;
    // A link to a symbolic link would be lost with what that leads to.
    let real = path.canonicalize().map_err(io_error("find", path))?;
    if fs::hard_link(&real, kept.path()).is_err() {
        copy(&real, kept.path())?;
    }
    Ok(kept)
}

/// Puts `new` in the place of `to`, and what was there in that of [`previous`]. A killed process leaves the old model in place, then under
/// both names, then the new one in place.
///
/// # Errors
/// If something cannot be made or renamed; both names then lead to what they did before.
fn put(new: Unfinished, to: &Path) -> Result<(), InstallError> {
    let before = previous(to);
    if !is_there(to)? {
        return rename(new, to);
    }
    let old = keep(to, to, "old")?;
    let older = is_there(&before)?.then(|| keep(&before, to, "older")).transpose()?;
    rename(old, &before)?;
    rename(new, to).inspect_err(|_| {
        let _ = match older {
            Some(older) => rename(older, &before),
            None => fs::remove_file(&before).map_err(io_error("remove", &before)),
        };
    })
}

fn rename(file: Unfinished, to: &Path) -> Result<(), InstallError> {
    fs::rename(file.path(), to).map_err(io_error("rename to", to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_files_are_hidden_beside_the_model_and_cleaned() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model.safetensors");
        fs::write(&model, "model").unwrap();
        let kept = keep(&model, &model, "old").unwrap();
        assert_eq!(fs::read(kept.path()).unwrap(), b"model");
        let name = kept.path().file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(name, ".model.safetensors.install-old");
        std::mem::forget(kept);
        fs::write(previous(&model), "before").unwrap();
        let back = keep(&previous(&model), &model, "back").unwrap();
        assert_eq!(back.path().file_name().unwrap(), ".model.safetensors.install-back");
        std::mem::forget(back);
        clean(&model);
        let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["model.safetensors", "model.safetensors.previous"]);
    }

    #[test]
    fn a_copy_that_does_not_work_is_told_from_a_model_that_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/model.safetensors");
        let (copy, threads) = (folder.path().join("copy"), Threads::one());
        let mut bytes = fs::read(&from).unwrap();
        fs::write(&copy, &bytes).unwrap();
        assert_eq!(proven_copy(&copy, &from, &threads).unwrap().len(), 64);
        let end = bytes.len() - 1;
        bytes[end] ^= 1;
        fs::write(&copy, &bytes).unwrap();
        let error = proven_copy(&copy, &from, &threads).unwrap_err().to_string();
        let of_copy = format!("it works, but its copy in {} did not (checksum); try again", folder.path().display());
        assert!(error.contains(&format!("{} is not installed: {of_copy}", from.display())), "{error}");
        let bad = folder.path().join("bad");
        fs::write(&bad, &bytes).unwrap();
        assert!(matches!(proven_copy(&copy, &bad, &threads), Err(InstallError::Model { path, .. }) if path == bad));
    }

    #[test]
    fn a_model_that_cannot_be_replaced_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let to = path("model.safetensors");
        let new = || {
            let new = beside(&to, "new").unwrap();
            fs::write(new.path(), "new").unwrap();
            new
        };
        fs::write(&to, "present").unwrap();
        // A file that is gone cannot be renamed, as none can to a model that is mounted or must not be changed.
        let missing = |new: Unfinished| {
            fs::remove_file(new.path()).unwrap();
            new
        };
        assert!(put(missing(new()), &to).is_err());
        assert_eq!(fs::read(&to).unwrap(), b"present");
        assert!(!previous(&to).exists());
        fs::write(previous(&to), "before").unwrap();
        assert!(put(missing(new()), &to).is_err());
        let content = || [fs::read_to_string(&to).unwrap(), fs::read_to_string(previous(&to)).unwrap()];
        assert_eq!(content(), ["present", "before"]);
        put(new(), &to).unwrap();
        assert_eq!(content(), ["new", "present"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn one_installs_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model.safetensors");
        let first = lock(&model).unwrap();
        assert!(matches!(lock(&model), Err(InstallError::Busy(_))));
        drop(first);
        assert!(lock(&model).is_ok());
    }
}
