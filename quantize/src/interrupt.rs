//! What a signal to end leaves behind: no artifact without its final name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use edgeqa::artifact::write::{Pending, TensorData, write};
use edgeqa::artifact::{ArtifactError, Metadata};

/// The files that have no final name yet. Whoever makes one, or gives one its name, holds this meanwhile.
static UNNAMED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unnamed() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNNAMED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on, SIGHUP, SIGINT and SIGTERM remove the artifacts that have no final name yet, and then end the process as they always do.
/// Signals that are ignored stay so (of `nohup`, say; seen on Linux only), and where there are none, nothing is done. A limit on the size
/// of files makes writing fail, instead of ending the process with SIGXFSZ. For programs: a library leaves signals alone.
///
/// # Errors
/// If the system gives no handler or thread.
pub fn watch() -> anyhow::Result<()> {
    #[cfg(unix)]
    watch_signals()?;
    Ok(())
}

#[cfg(unix)]
fn watch_signals() -> anyhow::Result<()> {
    use std::{fs, process, thread};

    use anyhow::Context;
    use edgeqa::command_line::outlive_file_limits;
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;

    outlive_file_limits().context("cannot listen for signals")?;
    let ignored = ignored(&fs::read_to_string("/proc/self/status").unwrap_or_default());
    let heeded = [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
    let mut signals = Signals::new(heeded).context("cannot listen for signals")?;
    let obey = move || {
        if let Some(signal) = signals.forever().next() {
            // Kept to the end, so that no other file is made.
            let files = unnamed();
            for file in files.iter() {
                let _ = fs::remove_file(file);
            }
            let _ = emulate_default_handler(signal);
            process::exit(128 + signal);
        }
    };
    thread::Builder::new().name("signals".into()).spawn(obey).context("cannot start a thread")?;
    Ok(())
}

/// The signals that a process with this `/proc/PID/status` ignores: signal `n` is bit `n - 1`.
#[cfg(unix)]
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

/// A complete artifact without its final name, removed when dropped, and by the signals that are [`watch`]ed.
pub(crate) struct Unnamed {
    pending: Option<Pending>,
    path: PathBuf,
}

impl Unnamed {
    /// Writes an artifact beside `target`; a signal waits until that is done.
    ///
    /// # Errors
    /// Those of [`write()`].
    pub(crate) fn write(target: &Path, metadata: &Metadata, tensors: &TensorData) -> Result<Self, ArtifactError> {
        let mut files = unnamed();
        let pending = write(target, metadata, tensors)?;
        let path = pending.path().to_owned();
        files.insert(path.clone());
        Ok(Self { pending: Some(pending), path })
    }

    /// Where it is now.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its final name.
    ///
    /// # Errors
    /// If it cannot be renamed.
    pub(crate) fn publish(mut self) -> Result<(), ArtifactError> {
        let mut files = unnamed();
        let published = self.pending.take().map_or(Ok(()), Pending::publish);
        files.remove(&self.path);
        published
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        let mut files = unnamed();
        drop(self.pending.take());
        files.remove(&self.path);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_their_mask() {
        assert_eq!(ignored("Name:\tx\nSigBlk:\t0000000000000003\nSigIgn:\t0000000000000003\n"), 3);
        assert_eq!((ignored("SigIgn:\tx"), ignored("")), (0, 0));
    }
}
