//! A library that follows its folder.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{DocumentsError, Library, LibraryOptions, Skipped};
use crate::errors::one_line;

/// A library that is replaced whole when its folder changes. Whoever got it from [`Shelf::library`] keeps the one that it was.
///
/// The folder is looked at by listing it, as often as [`Shelf::watch`] or whoever calls [`Shelf::refresh`] does; a change is seen by
/// time stamps, sizes and inodes, on every file system. What becomes of files that cannot be read: [`Library::renewed`]. A
/// folder that cannot be listed leaves the library as it is. While a library is made again, the old one is still there,
/// so for that time there are two indexes; texts that did not change are shared.
#[derive(Debug)]
pub struct Shelf {
    folder: PathBuf,
    options: LibraryOptions,
    current: RwLock<Arc<Library>>,
    state: Mutex<State>,
}

/// What was said about the folder; locked while it is looked at.
#[derive(Debug, Default)]
struct State {
    skipped: Vec<Skipped>,
    problem: Option<String>,
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
    /// How often a folder is looked at, unless something else is asked for.
    pub const INTERVAL: Duration = Duration::from_secs(5);

    /// Reads the documents in `folder`, as [`Library::open`].
    ///
    /// # Errors
    /// As [`Library::open`].
    pub fn open(folder: &Path, options: &LibraryOptions) -> Result<(Self, Vec<Skipped>), DocumentsError> {
        let (library, skipped) = Library::open(folder, options)?;
        let state = Mutex::new(State { skipped: skipped.clone(), problem: None });
        let (folder, options) = (folder.to_owned(), options.clone());
        Ok((Self { folder, options, current: RwLock::new(Arc::new(library)), state }, skipped))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The library as it is now. The lock is held for no longer than a pointer takes to copy.
    pub fn library(&self) -> Arc<Library> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is not in the library, or not in its newest version.
    pub fn skipped(&self) -> Vec<Skipped> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).skipped.clone()
    }

    /// Looks at the folder once. What was not skipped before, or for another reason, is logged as a warning.
    pub fn refresh(&self) -> Refresh {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.library();
        let (new, skipped) = match old.renewed(&self.folder, &self.options) {
            Ok(renewed) => renewed,
            Err(error) => {
                let problem = one_line(&error);
                if state.problem.as_ref() != Some(&problem) {
                    log::warn!("{problem}; answering from what was read before");
                }
                state.problem = Some(problem);
                return Refresh::Failed;
            }
        };
        for skipped in skipped.iter().filter(|skipped| !state.skipped.contains(skipped)) {
            let stays = if new.text(&skipped.file).is_some() { "; its last good version stays" } else { "" };
            log::warn!("{skipped}{stays}");
        }
        *state = State { skipped, problem: None };
        let same = new.is_same(&old);
        if !same {
            let (passages, files) = (new.passage_count(), new.file_count());
            log::info!("documents have changed: {passages} passages of {files} files");
        }
        // Also if texts are the same: time stamps may not be.
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        if same { Refresh::Same } else { Refresh::New }
    }

    /// Starts a thread that looks at the folder every `interval`, until the [`Watch`] is dropped.
    ///
    /// # Errors
    /// [`DocumentsError::Thread`] if the system starts no more threads.
    pub fn watch(self: &Arc<Self>, interval: Duration) -> Result<Watch, DocumentsError> {
        let (stop, stopped) = mpsc::channel::<()>();
        let shelf = Arc::clone(self);
        let thread = thread::Builder::new().name("documents".into()).spawn(move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                shelf.refresh();
            }
        });
        let failed = |source| DocumentsError::Thread { path: self.folder.clone(), source };
        Ok(Watch { stop: Some(stop), thread: Some(thread.map_err(failed)?) })
    }
}

/// A thread that keeps a [`Shelf`] up to date. It ends when this is dropped.
#[derive(Debug)]
pub struct Watch {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
