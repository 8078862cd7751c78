//! The one place where files are mapped into memory.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::{Advice, Mmap, UncheckedAdvice};

use super::ArtifactError;

/// A whole file, mapped read-only. Pages are read when touched, shared between processes, and can be dropped by the
/// system at any time, because the file holds them.
#[derive(Debug)]
pub struct Mapping {
    map: Mmap,
    /// Whether pages are to stay once they are there.
    keep: AtomicBool,
}

/// How a part of a map will be read. The system reads ahead on disk accordingly; what is read is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A few bytes here and there: only the pages touched are read, and no large pages are mapped where files have them in memory.
    Random,
    /// All of it, from front to back.
    Sequential,
    /// All of it, soon: it is read now, while this program does something else.
    Soon,
    /// No particular way.
    Normal,
}

impl Mapping {
    /// Maps `path`.
    ///
    /// The file must not be modified or truncated while it is mapped: a truncated page raises SIGBUS, and changed bytes
    /// change answers. Replace a model by writing beside it and renaming, as [`super::write`] does; the old map then stays
    /// intact until it is dropped.
    ///
    /// # Errors
    /// If the file cannot be opened or mapped.
    pub fn open(path: &Path) -> Result<Arc<Self>, ArtifactError> {
        let io = |action| move |source| ArtifactError::Io { action, path: path.to_owned(), source };
        // Opening a pipe would wait for a writer, so the kind is looked at first.
        if !std::fs::metadata(path).map_err(io("open"))?.is_file() {
            return Err(io("open")(std::io::Error::other("it is no regular file")));
        }
        let file = File::open(path).map_err(io("open"))?;
        // SAFETY: the map is shared and read-only. Rust's rule that the bytes behind `&[u8]` do not
        // change is the duty documented above: models are replaced by rename, never written in place. Little depends on it:
        // offsets and lengths are validated once and kept outside the map, and numbers viewed in it may have any bit pattern.
        let map = unsafe { Mmap::map(&file) }.map_err(io("map"))?;
        Ok(Arc::new(Self { map, keep: AtomicBool::new(false) }))
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Tells the system how `bytes` will be read, unless they are there and to be kept. That it does not listen is no error: only
    /// speed is at stake.
    pub fn advise(&self, bytes: Range<usize>, access: Access) {
        if self.keep.load(Ordering::Relaxed) {
            return;
        }
        let advice = match access {
            Access::Random => Advice::Random,
            Access::Sequential => Advice::Sequential,
            Access::Soon => Advice::WillNeed,
            Access::Normal => Advice::Normal,
        };
        let bytes = self.inside(bytes);
        let give = |advice| {
            if let Err(error) = self.map.advise_range(advice, bytes.start, bytes.len()) {
                log::debug!("bytes {bytes:?} of the model: the advice {advice:?} is not heeded: {error}");
            }
        };
        give(advice);
        #[cfg(target_os = "linux")]
        if access == Access::Random {
            give(Advice::NoHugePage);
        }
    }

    /// Lets the pages of `bytes` go from this process, unless they are to be kept. They are read again when they are touched,
    /// most likely from the page cache.
    pub fn release(&self, bytes: Range<usize>) {
        if self.keep.load(Ordering::Relaxed) {
            return;
        }
        let bytes = self.inside(bytes);
        // SAFETY: the map is shared and read-only, so no page of it holds anything that the file does not: a page that was let
        // go comes back with the same bytes.
        let released = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, bytes.start, bytes.len()) };
        if let Err(error) = released {
            log::debug!("bytes {bytes:?} of the model stay in memory: {error}");
        }
    }

    /// Reads the whole file into memory and maps its pages; they are not released from then on, but the system can still drop
    /// them where memory is short.
    pub fn prefault(&self) {
        // With advice to the contrary, every page would be a read of its own.
        self.advise(0..self.map.len(), Access::Sequential);
        if !self.populate() {
            let page = 4096;
            let sum = self.map.iter().step_by(page).fold(0u8, |sum, byte| sum.wrapping_add(*byte));
            std::hint::black_box(sum);
        }
        self.keep_pages();
    }

    /// Has the pages stay as long as the system lets them: of those that are read in order or at random it drops every one that
    /// it comes across, mapped or not.
    fn keep_pages(&self) {
        self.advise(0..self.map.len(), Access::Normal);
        self.keep.store(true, Ordering::Relaxed);
    }

    /// Reads and maps all pages, if the system can do that at once: Linux since 5.14.
    fn populate(&self) -> bool {
        #[cfg(target_os = "linux")]
        return self.map.advise(Advice::PopulateRead).is_ok();
        #[cfg(not(target_os = "linux"))]
        false
    }

    /// Reads the whole file into memory, where it has to stay.
    ///
    /// # Errors
    /// If the system does not allow it.
    pub fn lock(&self) -> io::Result<()> {
        self.advise(0..self.map.len(), Access::Sequential);
        self.map.lock()?;
        self.keep_pages();
        Ok(())
    }

    /// The part of `bytes` that is in the map.
    fn inside(&self, bytes: Range<usize>) -> Range<usize> {
        let end = bytes.end.min(self.map.len());
        bytes.start.min(end)..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::mapped;
    use crate::skip::skipped;

    /// A file of `len` bytes that is mapped.
    fn file(len: usize) -> (tempfile::NamedTempFile, Arc<Mapping>) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        std::fs::write(file.path(), bytes).expect("written");
        let map = Mapping::open(file.path()).expect("mapped");
        (file, map)
    }

    #[test]
    fn no_advice_changes_what_is_read() {
        let (_file, map) = file(100_000);
        let whole = 0..map.bytes().len();
        for access in [Access::Random, Access::Sequential, Access::Soon, Access::Normal] {
            for range in [whole.clone(), 0..0, 5000..5001, 99_999..usize::MAX, usize::MAX..usize::MAX] {
                map.advise(range.clone(), access);
                map.release(range);
            }
        }
        assert!(map.bytes().iter().enumerate().all(|(i, &byte)| byte == (i % 251) as u8));
    }

    #[test]
    fn pages_come_and_go_as_asked() {
        let (file, map) = file(1 << 20);
        let resident = || mapped(file.path()).map(|mapped| mapped.resident as usize);
        if resident().is_none() {
            skipped("pages_come_and_go_as_asked: no /proc/self/smaps");
            return;
        }
        std::hint::black_box(map.bytes().iter().map(|&byte| u64::from(byte)).sum::<u64>());
        assert_eq!(resident(), Some(1 << 20));
        map.release(0..(1 << 19));
        assert_eq!(resident(), Some(1 << 19));
        map.release(0..(1 << 20));
        assert_eq!(resident(), Some(0));
        map.prefault();
        assert_eq!(resident(), Some(1 << 20));
        map.release(0..(1 << 20));
        assert_eq!(resident(), Some(1 << 20), "prefaulted pages are kept");
    }

    #[test]
    fn pages_to_be_kept_are_not_those_that_go_first() {
        // `sr` and `rr` of proc_pid_smaps(5): advice that the system takes as leave to drop pages.
        let droppable = |file: &Path| {
            let smaps = std::fs::read_to_string("/proc/self/smaps").ok()?;
            let (_, ours) = smaps.split_once(file.to_str()?)?;
            let flags = ours.lines().find_map(|line| line.strip_prefix("VmFlags:"))?;
            Some(flags.split_whitespace().any(|flag| flag == "sr" || flag == "rr"))
        };
        let (file, map) = file(1 << 20);
        let whole = 0..(1 << 20);
        map.advise(whole.clone(), Access::Random);
        if droppable(file.path()).is_none() {
            skipped("pages_to_be_kept_are_not_those_that_go_first: no flags in /proc/self/smaps");
            return;
        }
        assert_eq!(droppable(file.path()), Some(true));
        map.prefault();
        assert_eq!(droppable(file.path()), Some(false));
        map.advise(whole, Access::Random);
        assert_eq!(droppable(file.path()), Some(false), "pages are there, and to be kept");
    }
}
