//! A folder of documents that can be asked.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::encoding::decode;
use super::folder::{Document, Listing, Reason, Skipped, Stamp};
use super::index::{Builder, Index};
use super::passages::Format;
use super::reading::Reading;
use super::text::{Passage, Text};
use super::{DocumentAnswer, DocumentsError};
use crate::errors::one_line;
use crate::memory;
use crate::qa::{AskOptions, QaError, Reader, Scorer};
use crate::shown::clean;

/// What a library takes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryOptions {
    /// The largest file, in bytes; larger ones are skipped.
    pub max_file_bytes: u64,
    /// The size of all files together, in bytes, 4 GiB at most; a file that would go beyond it, in the order of their names, is skipped.
    pub max_bytes: u64,
}

impl Default for LibraryOptions {
    fn default() -> Self {
        Self { max_file_bytes: 16 << 20, max_bytes: 64 << 20 }
    }
}

/// How passages are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrievalOptions {
    /// How many passages are read per question; each is mostly one window.
    pub passages: usize,
}

impl RetrievalOptions {
    /// Default number of passages that are read.
    pub const PASSAGES: usize = 5;
    /// The most passages that can be read.
    pub const MAX_PASSAGES: usize = 100;
}

impl Default for RetrievalOptions {
    fn default() -> Self {
        Self { passages: Self::PASSAGES }
    }
}

/// Documents, cut into passages and indexed. It never changes; [`Library::renewed`] makes a new one, which shares what is the
/// same. Clones share everything.
#[derive(Clone, Debug)]
pub struct Library {
    /// Ascending by name.
    files: Vec<File>,
    /// Per file, the number of passages before its own.
    firsts: Vec<usize>,
    index: Arc<Index>,
    /// By name, the versions of files that hold no text, and why they do not.
    refused: Arc<HashMap<String, (Stamp, Reason)>>,
    /// The passages, by file and number, of which it was said that they are left out.
    told: Arc<Mutex<HashSet<(String, usize)>>>,
}

#[derive(Clone, Debug)]
struct File {
    name: String,
    stamp: Stamp,
    text: Arc<Text>,
}

/// Why a document is not in a library as it is now.
#[derive(Debug)]
struct Refusal {
    reason: Reason,
    /// The version that it is of, if that would be refused again.
    stamp: Option<Stamp>,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { reason, stamp: None }
    }
}

impl File {
    fn len(&self) -> u64 {
        self.text.whole().len() as u64
    }

    /// Passage `index`, from 0.
    fn passage(&self, index: usize) -> Option<Passage<'_>> {
        self.text.passage(&self.name, index)
    }
}

impl Library {
    /// Reads the documents in `folder`. Files that cannot be used are named, and do not stop the others; there can be no
    /// document at all.
    ///
    /// # Errors
    /// [`DocumentsError::Folder`] if the folder itself cannot be listed.
    pub fn open(folder: &Path, options: &LibraryOptions) -> Result<(Self, Vec<Skipped>), DocumentsError> {
        Self::empty().renewed(folder, options)
    }

    /// A library of texts that are in no folder, by their names; one whose name ends with `.md` is Markdown. A text that holds
    /// nothing but white space is left out, and so is one with which all would be larger than 4 GiB.
    pub fn of_texts(texts: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut left = Text::MOST;
        let file = |(name, text): (String, String)| {
            left = left.checked_sub(text.len() as u64)?;
            let text = Text::new(text, Format::of(Path::new(&name)).unwrap_or(Format::Plain)).ok()?;
            Some(File { name, stamp: Stamp::default(), text: Arc::new(text) })
        };
        let mut files: Vec<File> = texts.into_iter().filter_map(file).collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Self::empty().with(files)
    }

    fn empty() -> Self {
        let index = Arc::new(Builder::default().finish());
        Self { files: Vec::new(), firsts: Vec::new(), index, refused: Arc::default(), told: Arc::default() }
    }

    /// The documents of `folder`, from which this library was made, as they are now. Files that did not change, by their time
    /// stamp, size and inode, are not read again, be they in the library or known to hold no text; the index is
    /// made again only if a text changed.
    ///
    /// A file that is there, but cannot be used any more (it is not UTF-8, too large, being written, or not readable), is named and
    /// stays as it was when it was last good, as do all files of a sub-folder that cannot be listed. A file that is gone or
    /// empty is dropped.
    ///
    /// # Errors
    /// As [`Library::open`].
    pub fn renewed(&self, folder: &Path, options: &LibraryOptions) -> Result<(Self, Vec<Skipped>), DocumentsError> {
        let listing =
            Listing::of(folder).map_err(|source| DocumentsError::Folder { path: folder.to_owned(), source })?;
        let mut files: Vec<File> = self.files.iter().filter(|file| listing.may_hold(&file.name)).cloned().collect();
        let mut skipped = listing.skipped;
        let mut refused = HashMap::new();
        let options = &LibraryOptions { max_bytes: options.max_bytes.min(Text::MOST), ..options.clone() };
        let mut left = options.max_bytes.saturating_sub(files.iter().map(File::len).sum());
        for document in listing.documents {
            match self.renewed_file(&document, options, left) {
                Ok(file) => {
                    left = left.saturating_sub(file.len());
                    files.push(file);
                }
                Err(Refusal { reason, stamp }) => {
                    if let Some(stamp) = stamp {
                        refused.insert(document.name.clone(), (stamp, reason.clone()));
                    }
                    let old = self.file(&document.name).filter(|old| reason.keeps_old() && old.len() <= left);
                    left -= old.map_or(0, File::len);
                    files.extend(old.cloned());
                    skipped.push(Skipped { file: document.name, reason });
                }
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        skipped.sort_by(|a, b| a.file.cmp(&b.file));
        let library = Self { refused: Arc::new(refused), ..self.with(files) };
        Ok((library, skipped))
    }

    /// The same library, which does not know which versions of files it holds and refuses.
    pub(super) fn without_stamps(&self) -> Self {
        let mut library = self.clone();
        library.files.iter_mut().for_each(|file| file.stamp = Stamp::default());
        library.refused = Arc::default();
        library
    }

    /// The file as it is now, if there are no more than `left` bytes of it.
    fn renewed_file(&self, document: &Document, options: &LibraryOptions, left: u64) -> Result<File, Refusal> {
        if document.stamp.len > options.max_file_bytes {
            return Err(Reason::TooLarge { limit: options.max_file_bytes }.into());
        }
        if document.stamp.len > left {
            return Err(Reason::TooMuch { limit: options.max_bytes }.into());
        }
        let old = self.file(&document.name);
        if let Some(old) = old.filter(|old| old.stamp == document.stamp) {
            return Ok(old.clone());
        }
        if let Some((stamp, reason)) = self.refused.get(&document.name).filter(|(stamp, _)| *stamp == document.stamp) {
            return Err(Refusal { reason: reason.clone(), stamp: Some(stamp.clone()) });
        }
        let limit = options.max_file_bytes.min(left);
        let (bytes, stamp) = document.read(limit).map_err(|reason| match reason {
            Reason::TooLarge { limit } if limit < options.max_file_bytes => {
                Reason::TooMuch { limit: options.max_bytes }
            }
            reason => reason,
        })?;
        let text = decode(bytes).map_err(Reason::Encoding).and_then(|text| {
            let same = old.filter(|old| old.text.whole() == text).map(|old| Arc::clone(&old.text));
            same.map_or_else(|| Text::new(text, document.format).map(Arc::new), Ok)
        });
        match text {
            Ok(text) => Ok(File { name: document.name.clone(), stamp, text }),
            Err(reason) => Err(Refusal { reason, stamp: Some(stamp) }),
        }
    }

    /// A library of `files`, with the same index if their texts are the same.
    fn with(&self, files: Vec<File>) -> Self {
        let same = files.len() == self.files.len()
            && files.iter().zip(&self.files).all(|(a, b)| a.name == b.name && Arc::ptr_eq(&a.text, &b.text));
        let firsts = files.iter().scan(0, |count, file| {
            let first = *count;
            *count += file.text.passage_count();
            Some(first)
        });
        let (firsts, index) = (firsts.collect(), Arc::clone(&self.index));
        let (refused, told) = (Arc::clone(&self.refused), if same { Arc::clone(&self.told) } else { Arc::default() });
        let mut library = Self { files, firsts, index, refused, told };
        if !same {
            let mut builder = Builder::default();
            for passage in library.files.iter().flat_map(|file| file.text.findable()) {
                builder.add(passage);
            }
            if builder.is_full() {
                let most = Builder::MOST;
                log::warn!(
                    "the documents have more than {most} different words; by the others, none is found: leave out what is no text"
                );
            }
            library.index = Arc::new(builder.finish());
            // Making it takes more than it is.
            memory::trim();
        }
        library
    }

    /// Whether both were made of the same texts, under the same names.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.index, &other.index)
    }

    /// Number of files.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Number of passages.
    pub fn passage_count(&self) -> usize {
        self.files.iter().map(|file| file.text.passage_count()).sum()
    }

    /// All passages, file by file in the order of their names.
    pub fn passages(&self) -> impl Iterator<Item = Passage<'_>> {
        self.files.iter().flat_map(|file| (0..file.text.passage_count()).filter_map(|index| file.passage(index)))
    }

    /// Whether there is a file of this name, or one in a folder of this name.
    pub fn holds(&self, name: &str) -> bool {
        let folder = format!("{name}/");
        let first = self.files.partition_point(|file| file.name < folder);
        self.file(name).is_some() || self.files.get(first).is_some_and(|file| file.name.starts_with(&folder))
    }

    /// The text of a file.
    pub fn text(&self, file: &str) -> Option<&str> {
        self.file(file).map(|file| file.text.whole())
    }

    fn file(&self, name: &str) -> Option<&File> {
        let place = self.files.binary_search_by(|file| file.name.as_str().cmp(name)).ok()?;
        self.files.get(place)
    }

    /// Passage `number` of all, from 0.
    fn passage(&self, number: usize) -> Option<Passage<'_>> {
        let file = self.firsts.partition_point(|&first| first <= number).checked_sub(1)?;
        self.files.get(file)?.passage(number - self.firsts.get(file)?)
    }

    /// The passages that a question is looked up in, best first, with their BM25 scores: the best that share a word with it.
    /// If there are no more passages than are to be read, then all of them. Of those with the same text under the same heading, as copies
    /// of a file have them, the first: others would keep different ones out.
    pub fn retrieve(&self, question: &str, options: &RetrievalOptions) -> Vec<(Passage<'_>, f32)> {
        let hits = self.index.search(question);
        let all = self.passage_count();
        let others = if all <= options.passages { 0..all } else { 0..0 };
        let others = others.filter(|&number| hits.iter().all(|hit| hit.passage != number)).map(|number| (number, 0.0));
        let mut found: Vec<(Passage<'_>, f32)> = Vec::new();
        for (number, score) in hits.iter().map(|hit| (hit.passage, hit.score)).chain(others) {
            if found.len() >= options.passages {
                break;
            }
            let Some(passage) = self.passage(number) else { continue };
            if found.iter().all(|(other, _)| (other.text, other.title) != (passage.text, passage.title)) {
                found.push((passage, score));
            }
        }
        found
    }

    /// Answers `question` from the passages that fit it best.
    ///
    /// # Errors
    /// As [`Reader::ask_in`].
    pub fn ask<M: Scorer>(
        &self,
        reader: &Reader<M>,
        question: &str,
        options: &AskOptions,
        retrieval: &RetrievalOptions,
    ) -> Result<DocumentAnswer, QaError> {
        self.ask_observed(reader, question, options, retrieval, |_, _| ())
    }

    /// As [`Library::ask`], and calls `observe(done, passages)` after each passage.
    ///
    /// # Errors
    /// As [`Library::ask`].
    pub fn ask_observed<M: Scorer>(
        &self,
        reader: &Reader<M>,
        question: &str,
        options: &AskOptions,
        retrieval: &RetrievalOptions,
        mut observe: impl FnMut(usize, usize),
    ) -> Result<DocumentAnswer, QaError> {
        reader.check(question, options)?;
        let passages = self.retrieve(question, retrieval);
        let all = passages.len();
        let mut reading = Reading::default();
        for (done, passage) in passages.into_iter().enumerate() {
            let place = (passage.0.file, passage.0.number);
            if let Some(why) = reading.add(reader, passage, question, options)? {
                self.tell(place, &why);
            }
            observe(done + 1, all);
        }
        Ok(reading.answer(reader, question, options))
    }

    /// Warns once, whatever many questions meet it, that a passage was left out.
    fn tell(&self, (file, number): (&str, usize), why: &QaError) {
        if self.told.lock().unwrap_or_else(PoisonError::into_inner).insert((file.to_owned(), number)) {
            log::warn!("passage {number} of {} is left out: {}", clean(file), one_line(why));
        }
    }
}
