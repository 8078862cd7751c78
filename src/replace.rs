//! Files that are replaced whole: written beside their place and renamed, so that whoever reads one sees the old or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Writes `content` to the file `target`, replacing what was there; of a link, what it leads to. A pipe or a device is written into. A
/// killed process leaves `.<target>.<random>.tmp` behind. After a power cut, too, the old or the new content is there.
///
/// # Errors
/// If the file cannot be made, written or renamed; what was there before is kept.
pub fn replace(target: &Path, content: &[u8]) -> io::Result<()> {
    if is_special(target) {
        return OpenOptions::new().write(true).open(target)?.write_all(content);
    }
    let target = behind_links(target);
    let mut file = beside(&target)?;
    file.as_file_mut().write_all(content)?;
    publish(file, &target)
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

/// Whether two names lead to the same file, which is there: through links of any kind.
pub fn is_same_file(a: &Path, b: &Path) -> bool {
    let found = |path| fs::metadata(path).ok().and_then(|found| identity(&found));
    match (found(a), found(b)) {
        (Some(a), Some(b)) => a == b,
        _ => matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b),
    }
}

/// What all names of a file have in common, where the system tells: device and inode.
pub(crate) fn identity(found: &fs::Metadata) -> Option<(u64, u64)> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Some((found.dev(), found.ino())).filter(|(_, inode)| *inode != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = found;
        None
    }
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

/// An empty file beside `target` that is removed when dropped; readable for those who can read `target`, or for all if there is none. It has
/// the owner and the group of `target`, as far as this process may give it to them.
pub(crate) fn beside(target: &Path) -> io::Result<NamedTempFile> {
    /// Bytes of a name that leave room for what is added to it: names have 255 at most.
    const LONGEST: usize = 255 - ".".len() - ".123456.tmp".len();
    let name = target.file_name().map_or_else(|| "file".into(), |name| name.to_string_lossy());
    let prefix = format!(".{}.", &name[..name.floor_char_boundary(LONGEST)]);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
        options.mode(fs::metadata(target).map_or(0o644, |target| target.mode() & 0o666));
    }
    // The library's own way names the temporary file in errors, which nobody knows.
    let file = tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(".tmp")
        .make_in(folder_of(target), |path| options.open(path))?;
    #[cfg(unix)]
    if let Ok(found) = fs::metadata(target) {
        use std::os::unix::fs::{MetadataExt, fchown};
        let (file, group) = (file.as_file(), Some(found.gid()));
        // Only root gives files away; others may give theirs to a group that they are in.
        let _ = fchown(file, Some(found.uid()), group).or_else(|_| fchown(file, None, group));
    }
    Ok(file)
}

/// Gives a written file its name, replacing what was there, so that both are on the disk afterwards.
pub(crate) fn publish(file: NamedTempFile, target: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    file.persist(target).map_err(|error| error.error)?;
    sync_folder(folder_of(target));
    Ok(())
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

    #[cfg(target_os = "linux")]
    #[test]
    fn files_stay_with_their_owner_and_group() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

        if !rustix::process::geteuid().is_root() {
            crate::skip::skipped("files_stay_with_their_owner_and_group: only root gives files to others");
            return;
        }
        let folder = tempfile::tempdir().expect("temporary folder");
        let target = folder.path().join("model");
        fs::write(&target, "old").expect("written");
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).expect("changed");
        chown(&target, Some(1234), Some(5678)).expect("given away");
        replace(&target, b"new").expect("written");
        let found = fs::metadata(&target).expect("there");
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (1234, 5678, 0o640));
    }

    /// Who has the old file open, or by another name, keeps it.
    #[test]
    fn what_was_there_is_not_written_into() {
        use std::io::Read;

        let folder = tempfile::tempdir().expect("temporary folder");
        let path = |name: &str| folder.path().join(name);
        replace(&path("x"), b"old").expect("written");
        fs::hard_link(path("x"), path("other")).expect("a second name");
        let mut open = File::open(path("x")).expect("there");
        replace(&path("x"), b"new").expect("written");
        let mut content = String::new();
        open.read_to_string(&mut content).expect("read");
        assert_eq!([content, fs::read_to_string(path("other")).expect("there")], ["old", "old"]);

        // A file that could not be put in place is no loss.
        let file = beside(&path("x")).expect("made");
        fs::remove_file(file.path()).expect("gone");
        publish(file, &path("x")).expect_err("nothing to rename");
        assert_eq!(fs::read_to_string(path("x")).expect("there"), "new");
    }

    /// Of 255 bytes, some of them in the middle of a character where the name is cut.
    #[test]
    fn the_longest_name_can_be_replaced() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let target = folder.path().join(format!("x{}", "é".repeat(127)));
        for content in ["old", "new"] {
            replace(&target, content.as_bytes()).expect("written");
            assert_eq!(fs::read_to_string(&target).expect("there"), content);
        }
    }

    #[cfg(unix)]
    #[test]
    fn who_may_read_a_file_stays() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().expect("temporary folder");
        let target = folder.path().join("x.json");
        let mode = || fs::metadata(&target).expect("there").permissions().mode() & 0o777;
        replace(&target, b"old").expect("written");
        assert_eq!(mode() & 0o600, 0o600);
        fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).expect("changed");
        replace(&target, b"new").expect("written");
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn errors_do_not_name_temporary_files() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let error = replace(&folder.path().join("missing/x"), b"").expect_err("no folder");
        assert!(error.kind() == io::ErrorKind::NotFound && !error.to_string().contains(".tmp"), "{error}");
    }

    #[cfg(target_os = "linux")]
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

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pipe_that_only_this_process_can_name_is_writable() {
        use std::os::fd::AsRawFd;

        let (reader, writer) = io::pipe().expect("a pipe");
        let name = format!("/proc/self/fd/{}", writer.as_raw_fd());
        writable(Path::new(&name)).expect("as /dev/stdout, and what a shell makes of >(command)");
        drop(reader);
    }

    #[test]
    fn two_names_of_one_file_are_the_same_and_others_are_not() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a"), "x").expect("written");
        fs::write(path("b"), "x").expect("written");
        fs::hard_link(path("a"), path("c")).expect("a second name");
        let same = |a, b| is_same_file(&path(a), &path(b));
        assert_eq!((same("a", "a"), same("a", "b"), same("a", "c"), same("a", "none")), (true, false, true, false));
    }

    #[cfg(unix)]
    #[test]
    fn what_replaces_a_program_is_none() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().expect("temporary folder");
        let target = folder.path().join("x");
        fs::write(&target, "old").expect("written");
        fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).expect("changed");
        replace(&target, b"new").expect("written");
        assert_eq!(fs::metadata(&target).expect("there").permissions().mode() & 0o111, 0);
    }
}
