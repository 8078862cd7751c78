//! The file that a conversion writes: possible, and none of those that it reads.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use edgeqa::replace::{behind_links, folder_of, is_special, writable};

/// Refuses what cannot be replaced by a file. Best done before there is anything to write.
///
/// # Errors
/// If `out` is no file, or its folder does not exist or takes none; the message says what to do.
pub fn check(out: &Path) -> anyhow::Result<()> {
    let target = &behind_links(out);
    ensure!(!target.is_dir(), "{} is a folder; give a file with --out", out.display());
    ensure!(
        !is_special(target),
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

/// Refuses a target that is one of `inputs`, also under another name.
///
/// # Errors
/// If it is one; the message says what to do.
pub(crate) fn check_inputs<'a>(out: &Path, inputs: impl IntoIterator<Item = &'a PathBuf>) -> anyhow::Result<()> {
    // What does not exist yet is no input.
    let Ok(target) = fs::canonicalize(out) else { return Ok(()) };
    for input in inputs {
        ensure!(
            fs::canonicalize(input).ok().as_ref() != Some(&target),
            "{} is an input; give another file with --out",
            out.display()
        );
    }
    Ok(())
}
