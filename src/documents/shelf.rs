//! A library that follows its folder.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::folder::{left_out, of_other_kinds};
use super::{DocumentsError, Library, LibraryOptions, Skipped};
use crate::errors::one_line;
use crate::shown::count;

/// A library that is replaced whole when its folder changes. Whoever got it from [`Shelf::library`] keeps the one that it was.
///
/// The folder is looked at by listing it, as often as [`Shelf::refresh`] is called; a change is seen by
/// time stamps, sizes and inodes, on every file system. What becomes of files that cannot be read: [`Library::renewed`]. A
/// folder that cannot be listed leaves the library as it is. While a library is made again, the old one is still there,
/// so for that time there are two indexes; texts that did not change are shared.
#[derive(Debug)]
pub struct Shelf {
    folder: PathBuf,
    options: LibraryOptions,
    current: RwLock<Arc<Library>>,
    skipped: Mutex<Vec<Skipped>>,
    /// See [`Shelf::problem`].
    problem: Mutex<Option<String>>,
    /// Locked while the folder is looked at, so that this is done once at a time; nobody who asks needs it.
    looking: Mutex<()>,
}

/// What [`Shelf::refresh`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// The texts are the same.
    Same,
    /// There is a new library.
    New,
    /// The folder cannot be listed: the library is the old one.
    Failed,
}

impl Shelf {
    /// How often a folder should be looked at.
    pub const INTERVAL: Duration = Duration::from_secs(5);

    /// Reads the documents in `folder`, as [`Library::open`].
    ///
    /// # Errors
    /// As [`Library::open`].
    pub fn open(folder: &Path, options: &LibraryOptions) -> Result<(Self, Vec<Skipped>), DocumentsError> {
        let (library, skipped) = Library::open(folder, options)?;
        let shelf = Self {
            folder: folder.to_owned(),
            options: options.clone(),
            problem: Mutex::new(empty(folder, &library)),
            current: RwLock::new(Arc::new(library)),
            skipped: Mutex::new(skipped.clone()),
            looking: Mutex::default(),
        };
        Ok((shelf, skipped))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The library as it is now. The lock is held for no longer than a pointer takes to copy.
    pub fn library(&self) -> Arc<Library> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is not in the library, or not in its newest version, `most` of it at most, and how much there is of it in all. The lock is
    /// held for no longer than the former takes to copy.
    pub fn skipped(&self, most: usize) -> (Vec<Skipped>, usize) {
        let skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        (skipped.iter().take(most).cloned().collect(), skipped.len())
    }

    /// Why nothing, or nothing new, can be answered from the folder as it was when it was looked at last: it could not be listed, or holds
    /// no text. `None` if it is as it should be.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what is the matter with the folder, or that nothing is. A change is logged.
    fn note(&self, now: Option<String>) {
        // Whoever reads the log may take long, and others need the lock.
        let before = {
            let mut problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *problem, now.clone())
        };
        match now {
            Some(now) if before.as_ref() != Some(&now) => log::warn!("{now}"),
            None if before.is_some() => log::info!("{} is as it should be again", self.folder.display()),
            _ => {}
        }
    }

    /// Looks at the folder once, and reads files that have changed. What was not skipped before, or for another reason, is logged; and on
    /// one line the files of other kinds, if they are not the same.
    pub fn refresh(&self) -> Refresh {
        self.look(Library::clone)
    }

    /// [`Shelf::refresh`], with all files read, also where nothing tells that they have changed.
    pub fn read_again(&self) -> Refresh {
        self.look(Library::without_stamps)
    }

    /// Looks at the folder once, for what is not as it was when the library that `known` makes of the present one was read.
    fn look(&self, known: impl Fn(&Library) -> Library) -> Refresh {
        let _looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.library();
        let (new, skipped) = match known(&old).renewed(&self.folder, &self.options) {
            Ok(renewed) => renewed,
            Err(error) => {
                self.note(Some(format!("{}; answering from what was read before", one_line(&error))));
                return Refresh::Failed;
            }
        };
        self.note(empty(&self.folder, &new));
        let (unknown, others) = {
            let known = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
            let others = if of_other_kinds(&known).eq(of_other_kinds(&skipped)) { None } else { left_out(&skipped) };
            let known: HashSet<&Skipped> = known.iter().collect();
            (skipped.iter().filter(|skipped| !known.contains(skipped)).collect::<Vec<_>>(), others)
        };
        for skipped in unknown {
            let stays = if new.holds(&skipped.file) { "; what was last read of it stays" } else { "" };
            log::log!(skipped.reason.level(), "{skipped}{stays}");
        }
        // Before it is logged, for those who wait for that.
        *self.skipped.lock().unwrap_or_else(PoisonError::into_inner) = skipped;
        if let Some(others) = others {
            log::warn!("{others}");
        }
        let same = new.is_same(&old);
        if !same {
            let (passages, files) = (count(new.passage_count(), "passage"), count(new.file_count(), "file"));
            log::info!("documents have changed: {passages} of {files}");
        }
        // Also if texts are the same: time stamps may not be.
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        if same { Refresh::Same } else { Refresh::New }
    }
}

/// What is the matter with a folder whose library has no passage.
fn empty(folder: &Path, library: &Library) -> Option<String> {
    let words = "holds no .txt or .md file with text: questions without a context have no answer";
    (library.passage_count() == 0).then(|| format!("{} {words}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_while_the_folder_is_read() {
        let folder = tempfile::tempdir().expect("temporary folder");
        std::fs::write(folder.path().join("picture.gif"), "GIF").expect("written");
        std::fs::write(folder.path().join("a.txt"), "A.").expect("written");
        let (shelf, skipped) = Shelf::open(folder.path(), &LibraryOptions::default()).expect("a shelf");
        // As it is while somebody else refreshes it.
        let reading = shelf.looking.lock().expect("no panic");
        assert_eq!(shelf.problem(), None);
        assert_eq!((shelf.skipped(0), shelf.skipped(9)), ((vec![], skipped.len()), (skipped.clone(), skipped.len())));
        assert_eq!((skipped.len(), shelf.library().file_count()), (1, 1));
        drop(reading);
        assert_eq!(shelf.refresh(), Refresh::Same);
    }
}
