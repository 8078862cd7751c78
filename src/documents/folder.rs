//! Reading the text files of a folder.
//!
//! All files whose names end with `.txt` or `.md`, sub-folders included. Names that start with a dot are passed over; other
//! files are named and skipped. Symbolic links are followed; a file or folder that was listed already is not
//! listed again, nor is a folder more than 16 deep.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::encoding::NotText;
use super::passages::Format;
use crate::replace::identity;
use crate::shown::{clean, count};

/// How deep folders are searched.
const DEEPEST: usize = 16;
/// How many files and folders are listed at most.
const MOST: usize = 100_000;
const NO_FILE: &str = "it is no regular file";
/// How many files of other kinds are named on one line.
const NAMED: usize = 3;
/// A file that was changed less than this before it was read can change again without a new time stamp.
const FRESH: Duration = Duration::from_secs(2);

/// A file or folder that is not in the library, or whose new version is not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Skipped {
    /// Its path in the folder, with `/`.
    pub file: String,
    /// Why.
    pub reason: Reason,
}

/// Why a file or folder was skipped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// It is neither `.txt` nor `.md`.
    Kind,
    /// Its name is not UTF-8.
    Name,
    /// It is no text in UTF-8.
    Encoding(NotText),
    /// It holds no text.
    Empty,
    /// It is larger than a file may be.
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// With it, all files together would be larger than they may be.
    TooMuch {
        /// The limit in bytes.
        limit: u64,
    },
    /// It was written to while it was read.
    Changing,
    /// It vanished, or is a symbolic link to nothing.
    Gone,
    /// It cannot be read, for the reason that the system gave.
    Unreadable(String),
    /// It is a folder that was listed already, under another name.
    Loop,
    /// It is a file that was listed already, under another name.
    Again,
    /// It is a folder too deep inside of others.
    TooDeep,
}

impl Reason {
    /// How loudly it is logged: files of other kinds are many and harmless, so [`left_out`] is enough of a warning.
    pub fn level(&self) -> log::Level {
        if *self == Self::Kind { log::Level::Debug } else { log::Level::Warn }
    }

    /// Whether an older version of the file is better than nothing: the file is there, but cannot be used as it is now.
    pub(super) fn keeps_old(&self) -> bool {
        matches!(self, Self::Encoding(_) | Self::TooLarge { .. } | Self::Changing | Self::Unreadable(_))
    }

    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Gone,
            _ => Self::Unreadable(error.to_string()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind => write!(f, "it is neither .txt nor .md"),
            Self::Name => write!(f, "its name is not UTF-8; rename it"),
            Self::Encoding(problem) => write!(f, "it is {problem}"),
            Self::Empty => write!(f, "it holds no text"),
            Self::TooLarge { limit } => write!(f, "it is larger than {limit} bytes; cut it into several files"),
            Self::TooMuch { limit } => {
                write!(f, "all files together would be larger than {limit} bytes; leave some out")
            }
            Self::Changing => write!(f, "it was written to while it was read"),
            Self::Gone => write!(f, "it is gone, or a link to nothing"),
            Self::Unreadable(problem) => write!(f, "it cannot be read: {problem}"),
            Self::Loop => write!(f, "this folder was listed already, under another name"),
            Self::Again => write!(f, "this file was listed already, under another name"),
            Self::TooDeep => write!(f, "it is more than {DEEPEST} folders deep"),
        }
    }
}

/// On one line, whatever the name is.
impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = clean(&self.file);
        match &self.reason {
            Reason::Encoding(problem) => write!(f, "{file}: it is {}", problem.of_file(&self.file)),
            reason => write!(f, "{file}: {reason}"),
        }
    }
}

/// The files of `skipped` that are of other kinds, in their order.
pub(super) fn of_other_kinds(skipped: &[Skipped]) -> impl Iterator<Item = &str> + Clone {
    skipped.iter().filter(|skipped| skipped.reason == Reason::Kind).map(|skipped| &*skipped.file)
}

/// Says on one line how many files of `skipped` are of other kinds, and names the first; `None` if there are none. Whoever looks
/// for the text of a PDF is to know why it is not found.
pub fn left_out(skipped: &[Skipped]) -> Option<String> {
    let files = of_other_kinds(skipped);
    let number = files.clone().count();
    let mut names: Vec<String> = files.take(NAMED).map(clean).collect();
    if number > NAMED {
        names.push("...".into());
    }
    let (files, are, names) = (count(number, "file"), if number == 1 { "is" } else { "are" }, names.join(", "));
    (number > 0).then(|| format!("{files} {are} neither .txt nor .md ({names}) and {are} left out"))
}

/// What tells one version of a file from the next, as long as it was not changed just now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    /// Size in bytes.
    pub len: u64,
    inode: u64,
    /// Whether the file could change without a new stamp.
    pub fresh: bool,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Self { modified: metadata.modified().ok(), len: metadata.len(), inode, fresh: false }
    }

    /// The same stamp, of a file that is read at `now`.
    fn read_at(self, now: SystemTime) -> Self {
        let fresh = self.modified.is_none_or(|modified| {
            let apart = now.duration_since(modified).unwrap_or_else(|ahead| ahead.duration());
            apart < FRESH
        });
        Self { fresh, ..self }
    }
}

/// A file that may be a document.
#[derive(Debug)]
pub(super) struct Document {
    path: PathBuf,
    /// Its path in the folder, with `/`.
    pub name: String,
    pub format: Format,
    /// The version that was seen.
    pub stamp: Stamp,
}

/// What is in a folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Ascending by name.
    pub documents: Vec<Document>,
    pub skipped: Vec<Skipped>,
    /// Files of `skipped` that could not be looked at, and, each with a `/` at the end, folders of which this is so.
    unseen: Vec<String>,
    listed: HashSet<PathBuf>,
    /// The [`identity`] of those of `documents`.
    files: HashSet<(u64, u64)>,
    /// How many files and folders were listed, and how many there may be.
    entries: usize,
    most: usize,
}

impl Listing {
    /// Lists `folder`.
    pub fn of(folder: &Path) -> io::Result<Self> {
        Self::of_at_most(folder, MOST)
    }

    /// Lists `folder`, without those of its folders with which there would be more than `most` files and folders.
    fn of_at_most(folder: &Path, most: usize) -> io::Result<Self> {
        let mut listing = Self { most, ..Self::default() };
        listing.list(folder, "", 0)?;
        listing.documents.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    /// Whether the file `name` may be there, but could not be looked at, nor perhaps the folder that it is in.
    pub fn may_hold(&self, name: &str) -> bool {
        self.unseen.iter().any(|unseen| if unseen.ends_with('/') { name.starts_with(unseen) } else { name == unseen })
    }

    fn list(&mut self, folder: &Path, prefix: &str, depth: usize) -> io::Result<()> {
        self.listed.insert(folder.canonicalize()?);
        let mut entries = fs::read_dir(folder)?.take(self.most - self.entries + 1).collect::<Result<Vec<_>, _>>()?;
        if self.entries + entries.len() > self.most {
            let problem =
                format!("there are more than {} files and folders; give a folder of documents only", self.most);
            return Err(io::Error::other(problem));
        }
        self.entries += entries.len();
        entries.sort_unstable_by_key(fs::DirEntry::file_name);
        for entry in entries.iter().filter(|entry| !is_hidden(&entry.file_name())) {
            self.entry(entry.path(), prefix, &entry.file_name(), depth);
        }
        Ok(())
    }

    fn entry(&mut self, path: PathBuf, prefix: &str, name: &OsStr, depth: usize) {
        let is_utf8 = name.to_str().is_some();
        let name = format!("{prefix}{}", name.to_string_lossy());
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) => {
                let reason = Reason::of(&error);
                if is_utf8 && reason.keeps_old() {
                    // Whether it is a file or a folder is not known.
                    self.unseen.extend([name.clone(), format!("{name}/")]);
                }
                return self.skip(name, reason);
            }
        };
        match Format::of(&path) {
            None if !metadata.is_dir() => self.skip(name, Reason::Kind),
            _ if !is_utf8 => self.skip(name, Reason::Name),
            _ if metadata.is_dir() => self.folder(&path, name, depth + 1),
            Some(_) if metadata.is_file() && !self.is_new(&metadata) => self.skip(name, Reason::Again),
            Some(format) if metadata.is_file() => {
                self.documents.push(Document { path, name, format, stamp: Stamp::of(&metadata) });
            }
            _ => self.skip(name, Reason::Unreadable(NO_FILE.into())),
        }
    }

    /// Whether a file is not known under another name.
    fn is_new(&mut self, metadata: &Metadata) -> bool {
        identity(metadata).is_none_or(|identity| self.files.insert(identity))
    }

    fn folder(&mut self, path: &Path, name: String, depth: usize) {
        if depth > DEEPEST {
            return self.skip(name, Reason::TooDeep);
        }
        if path.canonicalize().is_ok_and(|path| self.listed.contains(&path)) {
            return self.skip(name, Reason::Loop);
        }
        let prefix = format!("{name}/");
        if let Err(error) = self.list(path, &prefix, depth) {
            let reason = Reason::of(&error);
            if reason.keeps_old() {
                self.unseen.push(prefix);
            }
            self.skip(name, reason);
        }
    }

    fn skip(&mut self, file: String, reason: Reason) {
        self.skipped.push(Skipped { file, reason });
    }
}

/// Whether nobody means a name as a document: hidden ones, and what systems keep on disks.
fn is_hidden(name: &OsStr) -> bool {
    const SYSTEMS: [&str; 4] = ["$RECYCLE.BIN", "RECYCLER", "System Volume Information", "lost+found"];
    name.as_encoded_bytes().starts_with(b".") || SYSTEMS.iter().any(|system| name.eq_ignore_ascii_case(system))
}

impl Document {
    /// Reads the file: what it holds, and the version that it is of.
    pub fn read(&self, limit: u64) -> Result<(Vec<u8>, Stamp), Reason> {
        let unreadable = |error: io::Error| Reason::of(&error);
        let mut options = File::options();
        // What was a file when it was listed may be a pipe by now, and opening that would wait for a writer.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(
            &mut options,
            rustix::fs::OFlags::NONBLOCK.bits().cast_signed(),
        );
        let mut file = options.read(true).open(&self.path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(Reason::Unreadable(NO_FILE.into()));
        }
        let before = Stamp::of(&metadata);
        if before.len > limit {
            return Err(Reason::TooLarge { limit });
        }
        let now = SystemTime::now();
        let mut bytes = Vec::with_capacity(before.len as usize + 1);
        (&mut file).take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if Stamp::of(&file.metadata().map_err(unreadable)?) != before || bytes.len() as u64 != before.len {
            return Err(Reason::Changing);
        }
        Ok((bytes, before.read_at(now)))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Whoever opens a pipe waits for somebody who writes to it.
    #[test]
    fn what_has_become_a_pipe_since_it_was_listed_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "A.").unwrap();
        let listing = Listing::of(folder.path()).unwrap();
        fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(listing.documents[0].read(100).unwrap_err(), Reason::Unreadable(NO_FILE.into()));
    }
    #[test]
    fn folders_that_hold_too_much_keep_what_was_known_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a", "c"] {
            fs::create_dir(path(name)).unwrap();
        }
        for name in ["a/1.txt", "a/2.txt", "a/3.txt", "b.txt", "c/1.txt"] {
            fs::write(path(name), "A.").unwrap();
        }
        let names = |most: usize| {
            let listing = Listing::of_at_most(folder.path(), most)?;
            io::Result::Ok((
                listing.documents.iter().map(|document| document.name.clone()).collect::<Vec<_>>(),
                listing,
            ))
        };
        assert_eq!(names(7).unwrap().0.len(), 5);
        let (found, listing) = names(5).unwrap();
        assert_eq!(found, ["b.txt", "c/1.txt"]);
        assert!(listing.may_hold("a/1.txt") && !listing.may_hold("c/2.txt"));
        let [skipped] = &listing.skipped[..] else { panic!("{:?}", listing.skipped) };
        let text = skipped.to_string();
        assert!(text.starts_with("a: it cannot be read: there are more than 5 files and folders; "), "{text}");
        assert!(names(2).unwrap_err().to_string().contains("more than 2 files"), "the folder itself");
    }
}
