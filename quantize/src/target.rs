//! The files that a conversion or a comparison writes: possible, and none of those that it reads.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use edgeqa::replace::{behind_links, folder_of, is_same_file, is_special, writable};

/// Refuses what cannot be replaced by a file. Best done before there is anything to write.
///
/// # Errors
/// If `out` is no file, or its folder does not exist or takes none; the message says what to do.
pub fn check(out: &Path) -> anyhow::Result<()> {
    let target = &behind_links(out);
    ensure!(!target.is_dir(), "{} is a folder; give a file with --out", out.display());
    ensure!(!names_folder(target), "{} names a folder that does not exist; give a file with --out", out.display());
    // What `/dev/stdout` leads to has no name to look it up by if it is a pipe.
    ensure!(
        !is_special(out) && !is_special(target),
        "{} is neither a file nor a folder, so no file can take its place; give another one with --out",
        out.display()
    );
    let folder = folder_of(target);
    ensure!(
        folder.is_dir(),
        "the folder {} does not exist; make it first, or give another file with --out",
        folder.display()
    );
    writable(target).with_context(|| format!("cannot write {}; give another file with --out", out.display()))
}

/// Whether nothing but a folder can have this name.
fn names_folder(path: &Path) -> bool {
    let name = path.as_os_str().as_encoded_bytes();
    let name = name.strip_suffix(b"..").or(name.strip_suffix(b".")).unwrap_or(name);
    name.last().is_some_and(|last| std::path::is_separator((*last).into()))
}

/// Refuses a target that is one of `inputs`, also under another name.
///
/// # Errors
/// If it is one; the message says what to do.
pub fn check_inputs<'a>(out: &Path, inputs: impl IntoIterator<Item = &'a PathBuf>) -> anyhow::Result<()> {
    let is_input = inputs.into_iter().any(|input| is_same_file(input, out));
    ensure!(!is_input, "{} is an input; give another place with --out", out.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_folders_are_told_from_those_of_files() {
        for (name, folder) in
            [("m2/", true), ("a/m2//", true), ("m2/.", true), ("a/..", true), ("m2", false), ("a/.m", false)]
        {
            assert_eq!(names_folder(Path::new(name)), folder, "{name}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_no_file_to_write() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("m2/");
        let error = check(&out).expect_err("a folder").to_string();
        assert_eq!(error, format!("{} names a folder that does not exist; give a file with --out", out.display()));
        check(&folder.path().join("m2")).expect("a file");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
