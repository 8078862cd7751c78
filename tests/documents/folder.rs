//! Reading a folder, and following it.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use edgeqa::documents::encoding::{Likely, NotText};
use edgeqa::documents::{DocumentsError, Library, LibraryOptions, Reason, Refresh, Shelf, Skipped, left_out};
use tempfile::{TempDir, tempdir};

/// What is wrong with "Caf\u{e9}" in one byte per character.
const LATIN: NotText = NotText { byte: 3, value: 0xe9, likely: Likely::Windows1252 };

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempdir().expect("a folder");
    files.iter().for_each(|(name, content)| write(folder.path(), name, content));
    folder
}

fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, content).expect("written");
}

/// As if the file had been written a while ago.
fn age(folder: &Path, name: &str) {
    let file = File::options().append(true).open(folder.join(name)).expect("opened");
    file.set_modified(SystemTime::now() - Duration::from_secs(3_600)).expect("set");
}

fn open(folder: &Path) -> (Library, Vec<Skipped>) {
    Library::open(folder, &LibraryOptions::default()).expect("a library")
}

fn texts(library: &Library) -> Vec<(&str, &str)> {
    library.passages().map(|passage| (passage.file, passage.text)).collect()
}

fn skipped(found: &[Skipped]) -> Vec<(&str, &Reason)> {
    found.iter().map(|skipped| (skipped.file.as_str(), &skipped.reason)).collect()
}

#[test]
fn text_files_are_read_and_others_are_named() {
    let folder = folder(&[
        ("b.txt", b"B."),
        ("a/x.MD", b"# X\nText."),
        ("a/deep/er/y.txt", "\u{feff}Y \u{2615}\r\n".as_bytes()),
        (".hidden/z.txt", b"Z."),
        ("lost+found/z.txt", b"Z."),
        ("$Recycle.Bin/$R1.txt", b"Z."),
        (".notes.txt", b"N."),
        ("photo.jpg", b"\xff\xd8"),
        ("latin.txt", b"Caf\xe9"),
        ("notepad.txt", b"\xff\xfeA\0"),
        ("empty.md", b" \r\n"),
        ("README", b"R."),
    ]);
    let (library, found) = open(folder.path());
    assert_eq!(texts(&library), [("a/deep/er/y.txt", "Y ☕"), ("a/x.MD", "# X\nText."), ("b.txt", "B.")]);
    let y = library.passages().next().expect("a passage");
    assert_eq!((y.bytes, y.chars), (3..8, 1..4), "a byte order mark counts");
    let utf16 = NotText { byte: 0, value: 0xff, likely: Likely::Utf16 };
    let want = [
        ("README", &Reason::Kind),
        ("empty.md", &Reason::Empty),
        ("latin.txt", &Reason::Encoding(LATIN)),
        ("notepad.txt", &Reason::Encoding(utf16)),
        ("photo.jpg", &Reason::Kind),
    ];
    assert_eq!(skipped(&found), want);
    assert!(found[2].to_string().starts_with("latin.txt: it is not UTF-8: byte 3 is 0xE9; "), "{}", found[2]);
    assert!(found[3].to_string().contains("`iconv -f UTF-16 -t UTF-8 notepad.txt > NEW`"), "{}", found[3]);
    let forged = Skipped { file: "a\n<3>b\u{1b}[2J.txt".into(), reason: Reason::Empty };
    assert_eq!(forged.to_string(), "a <3>b\u{fffd}[2J.txt: it holds no text");

    let missing = Library::open(&folder.path().join("none"), &LibraryOptions::default()).expect_err("missing");
    assert!(matches!(missing, DocumentsError::Folder { .. }) && missing.to_string().contains("/none"), "{missing}");
    assert!(Library::open(&folder.path().join("b.txt"), &LibraryOptions::default()).is_err(), "no folder");
}

#[cfg(unix)]
#[test]
fn a_file_of_several_names_is_read_once() {
    let folder = folder(&[("b.txt", b"B."), ("a/c.txt", b"C."), ("same.txt", b"B.")]);
    let at = |name: &str| folder.path().join(name);
    fs::hard_link(at("b.txt"), at("hard.txt")).expect("linked");
    std::os::unix::fs::symlink("a/c.txt", at("soft.txt")).expect("linked");
    let (library, found) = open(folder.path());
    assert_eq!(texts(&library), [("a/c.txt", "C."), ("b.txt", "B."), ("same.txt", "B.")]);
    assert_eq!(skipped(&found), [("hard.txt", &Reason::Again), ("soft.txt", &Reason::Again)]);
}

#[test]
fn files_of_other_kinds_are_counted_and_the_first_are_named() {
    let skip = |file: &str, reason| Skipped { file: file.to_owned(), reason };
    let [a, b, c, d] = ["a.pdf", "b\n.pdf", "c", "d.doc"].map(|name| skip(name, Reason::Kind));
    let other = skip("b.txt", Reason::Empty);
    for (found, line) in [
        (&[][..], None),
        (std::slice::from_ref(&other), None),
        (&[a.clone(), other.clone()], Some("1 file is neither .txt nor .md (a.pdf) and is left out")),
        (&[a.clone(), b.clone()], Some("2 files are neither .txt nor .md (a.pdf, b .pdf) and are left out")),
        (&[a, b, c, d], Some("4 files are neither .txt nor .md (a.pdf, b .pdf, c, ...) and are left out")),
    ] {
        assert_eq!(left_out(found).as_deref(), line);
    }
}

#[test]
fn files_are_limited_in_size() {
    let folder = folder(&[("a.txt", &[b'a'; 60]), ("b.txt", &[b'b'; 99]), ("c.txt", &[b'c'; 60]), ("d.txt", b"d")]);
    let options = LibraryOptions { max_file_bytes: 100, max_bytes: 100 };
    let (library, found) = Library::open(folder.path(), &options).expect("a library");
    assert_eq!(library.passages().map(|p| p.file).collect::<Vec<_>>(), ["a.txt", "d.txt"]);
    let much = Reason::TooMuch { limit: 100 };
    assert_eq!(skipped(&found), [("b.txt", &much), ("c.txt", &much)]);
    // One that is larger than any may be is no better if it is larger than all together may be.
    let larger = Reason::TooLarge { limit: 80 };
    for max_bytes in [1_000, 90] {
        let options = LibraryOptions { max_file_bytes: 80, max_bytes };
        let (library, found) = Library::open(folder.path(), &options).expect("a library");
        assert_eq!(skipped(&found)[0], ("b.txt", &larger));
        assert_eq!(library.passages().map(|p| p.file).next(), Some("a.txt"));
    }
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_circles() {
    use std::os::unix::fs::symlink;
    let elsewhere = folder(&[("z.txt", b"Z.")]);
    let folder = folder(&[("a/x.txt", b"X.")]);
    symlink(folder.path(), folder.path().join("a/circle")).expect("linked");
    symlink("a/x.txt", folder.path().join("same.txt")).expect("linked");
    symlink(elsewhere.path(), folder.path().join("other")).expect("linked");
    symlink("nowhere", folder.path().join("dangling.txt")).expect("linked");
    let (library, found) = open(folder.path());
    assert_eq!(texts(&library), [("a/x.txt", "X."), ("other/z.txt", "Z.")]);
    let want = [("a/circle", &Reason::Loop), ("dangling.txt", &Reason::Gone), ("same.txt", &Reason::Again)];
    assert_eq!(skipped(&found), want);

    let mut deep = folder.path().join("deep");
    (0..17).for_each(|_| deep.push("d"));
    fs::create_dir_all(&deep).expect("made");
    fs::write(deep.join("x.txt"), "X.").expect("written");
    assert!(open(folder.path()).1.iter().any(|skipped| skipped.reason == Reason::TooDeep));
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_opened() {
    let folder = folder(&[("a.txt", b"A.")]);
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("s.txt")).expect("a socket");
    let (library, found) = open(folder.path());
    assert_eq!(texts(&library), [("a.txt", "A.")]);
    assert!(matches!(&found[..], [Skipped { file, reason: Reason::Unreadable(_) }] if file == "s.txt"), "{found:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf_8_are_a_problem_of_documents_alone() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = folder(&[]);
    let path = |name: &'static [u8]| folder.path().join(OsStr::from_bytes(name));
    for name in [&b".caf\xe9"[..], b".caf\xe9.txt", b"caf\xe9.txt", b"pic\xe9.jpg"] {
        fs::write(path(name), "x").expect("written");
    }
    fs::create_dir(path(b"d\xe9")).expect("made");
    let want = [("caf\u{fffd}.txt", &Reason::Name), ("d\u{fffd}", &Reason::Name), ("pic\u{fffd}.jpg", &Reason::Kind)];
    assert_eq!(skipped(&open(folder.path()).1), want);
}

#[test]
fn changes_are_followed() {
    let folder = folder(&[("a.txt", b"A."), ("b.txt", b"B."), ("c.txt", b"C.")]);
    ["a.txt", "b.txt", "c.txt"].iter().for_each(|name| age(folder.path(), name));
    let (shelf, found) = Shelf::open(folder.path(), &LibraryOptions::default()).expect("a shelf");
    assert!(found.is_empty());
    let first = shelf.library();
    assert_eq!(shelf.refresh(), Refresh::Same);
    assert!(shelf.library().is_same(&first));

    write(folder.path(), "a.txt", "New.");
    fs::remove_file(folder.path().join("b.txt")).expect("removed");
    write(folder.path(), "d/d.md", "D.");
    assert_eq!(shelf.refresh(), Refresh::New);
    assert_eq!(texts(&shelf.library()), [("a.txt", "New."), ("c.txt", "C."), ("d/d.md", "D.")]);
    assert_eq!(texts(&first), [("a.txt", "A."), ("b.txt", "B."), ("c.txt", "C.")], "whoever has it keeps it");
    assert_eq!(shelf.refresh(), Refresh::Same, "read again, because they are fresh, but the same");
}

#[test]
fn a_change_within_the_same_time_stamp_is_seen() {
    let folder = folder(&[("a.txt", b"Old.")]);
    let (shelf, _) = Shelf::open(folder.path(), &LibraryOptions::default()).expect("a shelf");
    let path = folder.path().join("a.txt");
    let modified = fs::metadata(&path).and_then(|m| m.modified()).expect("a time");
    fs::write(&path, "New.").expect("written");
    File::options().append(true).open(&path).and_then(|file| file.set_modified(modified)).expect("set");
    assert_eq!(shelf.refresh(), Refresh::New);
    assert_eq!(texts(&shelf.library()), [("a.txt", "New.")]);
}

#[test]
fn a_change_that_nothing_tells_is_seen_when_all_is_read_again() {
    let folder = folder(&[("a.txt", b"Old."), ("b.txt", b"Caf\xe9"), ("c.txt", b"C.")]);
    ["a.txt", "b.txt"].iter().for_each(|name| age(folder.path(), name));
    let (shelf, _) = Shelf::open(folder.path(), &LibraryOptions::default()).expect("a shelf");
    for (name, content) in [("a.txt", "New."), ("b.txt", "Good")] {
        let path = folder.path().join(name);
        let modified = fs::metadata(&path).and_then(|m| m.modified()).expect("a time");
        fs::write(&path, content).expect("written");
        File::options().append(true).open(&path).and_then(|file| file.set_modified(modified)).expect("set");
    }
    assert_eq!(shelf.refresh(), Refresh::Same);
    let before = shelf.library();
    assert_eq!(shelf.read_again(), Refresh::New);
    assert_eq!(texts(&shelf.library()), [("a.txt", "New."), ("b.txt", "Good"), ("c.txt", "C.")]);
    assert_eq!(texts(&before), [("a.txt", "Old."), ("c.txt", "C.")]);
    assert_eq!((shelf.read_again(), shelf.refresh()), (Refresh::Same, Refresh::Same));
}

/// Reading a file that holds no text again at every look would take the disk's time for ever.
#[test]
fn what_was_refused_is_read_again_only_if_it_may_have_changed() {
    for (bad, reason) in [(&b"caf\xe9"[..], "encoding"), (b" \r\n ", "empty")] {
        let folder = folder(&[("a.txt", b"A."), ("b.txt", bad)]);
        let reasons = |shelf: &Shelf| serde_json::to_string(&shelf.skipped(9).0).expect("JSON");
        let (shelf, found) = Shelf::open(folder.path(), &LibraryOptions::default()).expect("a shelf");
        assert_eq!(found.len(), 1, "{found:?}");
        // It was written just now, so that this may be another version.
        age(folder.path(), "b.txt");
        assert_eq!(shelf.refresh(), Refresh::Same);
        let path = folder.path().join("b.txt");
        let modified = fs::metadata(&path).and_then(|m| m.modified()).expect("a time");
        let set =
            |modified| File::options().append(true).open(&path).and_then(|f| f.set_modified(modified)).expect("set");
        // Nobody does this, but it shows what is read.
        fs::write(&path, "Good").expect("written");
        set(modified);
        for _ in 0..2 {
            assert_eq!(shelf.refresh(), Refresh::Same);
            assert!(reasons(&shelf).contains(reason), "{}", reasons(&shelf));
        }
        set(modified + Duration::from_secs(1));
        assert_eq!(shelf.refresh(), Refresh::New);
        assert_eq!(texts(&shelf.library()), [("a.txt", "A."), ("b.txt", "Good")]);
        assert_eq!(shelf.skipped(9).0, []);
    }
}

#[test]
fn a_refused_file_can_change_within_the_same_time_stamp() {
    let folder = folder(&[("a.txt", b"Caf\xe9")]);
    let (shelf, found) = Shelf::open(folder.path(), &LibraryOptions::default()).expect("a shelf");
    assert_eq!(found.len(), 1);
    let path = folder.path().join("a.txt");
    let modified = fs::metadata(&path).and_then(|m| m.modified()).expect("a time");
    fs::write(&path, "Good").expect("written");
    File::options().append(true).open(&path).and_then(|file| file.set_modified(modified)).expect("set");
    assert_eq!(shelf.refresh(), Refresh::New);
    assert_eq!(texts(&shelf.library()), [("a.txt", "Good")]);
}

#[test]
fn a_broken_file_keeps_its_last_good_version() {
    let folder = folder(&[("a.txt", b"A."), ("b.txt", b"B.")]);
    let (shelf, _) = Shelf::open(folder.path(), &LibraryOptions::default()).expect("a shelf");
    write(folder.path(), "a.txt", b"Caf\xe9");
    assert_eq!(shelf.refresh(), Refresh::Same);
    assert_eq!(skipped(&shelf.skipped(9).0), [("a.txt", &Reason::Encoding(LATIN))]);
    assert_eq!(texts(&shelf.library()), [("a.txt", "A."), ("b.txt", "B.")]);
    // Others are still followed, and so is this one.
    write(folder.path(), "b.txt", "B2.");
    assert_eq!(shelf.refresh(), Refresh::New);
    assert_eq!(texts(&shelf.library()), [("a.txt", "A."), ("b.txt", "B2.")]);
    write(folder.path(), "a.txt", "A3.");
    assert_eq!(shelf.refresh(), Refresh::New);
    assert_eq!(texts(&shelf.library()), [("a.txt", "A3."), ("b.txt", "B2.")]);
    assert_eq!(shelf.skipped(9).0, []);
    write(folder.path(), "a.txt", "");
    assert_eq!(shelf.refresh(), Refresh::New);
    assert_eq!(texts(&shelf.library()), [("b.txt", "B2.")], "an empty file holds nothing");
    assert_eq!(skipped(&shelf.skipped(9).0), [("a.txt", &Reason::Empty)]);
}

#[cfg(unix)]
#[test]
fn what_cannot_be_looked_at_keeps_its_last_good_version() {
    use std::os::unix::fs::symlink;
    let folder =
        folder(&[("a.txt", b"A."), ("a.txt.md", b"M."), ("b.txt", b"B."), ("sub/c.txt", b"C."), ("sub2.txt", b"D.")]);
    let (shelf, _) = Shelf::open(folder.path(), &LibraryOptions::default()).expect("a shelf");
    let all = [("a.txt", "A."), ("a.txt.md", "M."), ("b.txt", "B."), ("sub/c.txt", "C."), ("sub2.txt", "D.")];
    assert_eq!(texts(&shelf.library()), all);
    // A link to itself can be looked at by nobody, an administrator included.
    let path = |name: &str| folder.path().join(name);
    fs::remove_file(path("a.txt")).expect("removed");
    fs::rename(path("sub"), folder.path().join(".away")).expect("renamed");
    symlink("a.txt", path("a.txt")).expect("linked");
    symlink("sub", path("sub")).expect("linked");
    assert_eq!(shelf.refresh(), Refresh::Same);
    assert_eq!(texts(&shelf.library()), all);
    let found = shelf.skipped(9).0;
    assert_eq!(found.iter().map(|skipped| skipped.file.as_str()).collect::<Vec<_>>(), ["a.txt", "sub"]);
    assert!(found.iter().all(|skipped| matches!(skipped.reason, Reason::Unreadable(_))), "{found:?}");
    // What is beside them is not kept.
    for name in ["a.txt.md", "sub2.txt"] {
        fs::remove_file(path(name)).expect("removed");
    }
    assert_eq!(shelf.refresh(), Refresh::New);
    assert_eq!(texts(&shelf.library()), [("a.txt", "A."), ("b.txt", "B."), ("sub/c.txt", "C.")]);
    fs::remove_file(path("a.txt")).expect("removed");
    assert_eq!(shelf.refresh(), Refresh::New);
    assert_eq!(texts(&shelf.library()), [("b.txt", "B."), ("sub/c.txt", "C.")]);
}

#[test]
fn a_folder_that_vanishes_leaves_what_was_read() {
    let folder = folder(&[("d/a.txt", b"A.")]);
    let (there, away) = (folder.path().join("d"), folder.path().join("e"));
    let (shelf, _) = Shelf::open(&there, &LibraryOptions::default()).expect("a shelf");
    fs::rename(&there, &away).expect("renamed");
    assert_eq!(shelf.refresh(), Refresh::Failed);
    assert_eq!(texts(&shelf.library()), [("a.txt", "A.")]);
    fs::rename(&away, &there).expect("renamed");
    assert_eq!(shelf.refresh(), Refresh::Same);
}
