//! What has to hold of any bytes that a stranger sends or an owner writes. Fuzzers look for a counter-example (run.sh),
//! tests/fuzz.rs holds every file of the corpus against it, and tests/serve and tests/documents what they make up.

use std::collections::HashSet;
use std::time::Duration;

use edgeqa::bench::record::Record;
use edgeqa::bench::{Comparison, html, report, text};
use edgeqa::documents::encoding::decode;
use edgeqa::documents::passages::{Format, LONGEST, cut};
use edgeqa::documents::{Library, LibraryOptions, RetrievalOptions};
use edgeqa::eval::score::normalise;
use edgeqa::eval::{Dataset, Metrics};
use edgeqa::serve::Limits;
use edgeqa::serve::config::{Config, PageSettings};
use edgeqa::serve::http::{Parsed, parse_request};
use edgeqa::serve::page::Page;
use edgeqa::serve::schema::Ask;
use edgeqa::serve::stdio::read_line;

/// Panics if it does not hold.
pub type Property = fn(&[u8]);

/// Properties by their names, which are those of their folders of the corpus.
pub const ALL: [(&str, Property); 6] = [
    ("http", http),
    ("lines", lines),
    ("config", config),
    ("documents", documents),
    ("records", records),
    ("datasets", datasets),
];

/// A connection's bytes: requests one after the other, and what is in the body of each.
pub fn http(bytes: &[u8]) {
    let limits = Limits { body: 4096, ..Limits::default() };
    let mut rest = bytes;
    while let Ok(Parsed::Complete(request, used)) = parse_request(rest, limits.body) {
        assert!(0 < used && used <= rest.len() && request.body.len() <= limits.body);
        // What follows a request does not change it, and a part of it is none.
        let longer = [&rest[..used], b"GET / HTTP/1.1\r\n"].concat();
        for same in [&rest[..used], &longer] {
            assert_eq!(parse_request(same, limits.body), Ok(Parsed::Complete(request.clone(), used)));
        }
        for less in [used - 1, used / 2] {
            assert!(!matches!(parse_request(&rest[..less], limits.body), Ok(Parsed::Complete(_, u)) if u == used));
        }
        ask(request.body, &limits);
        rest = &rest[used..];
    }
}

/// What is read from standard input.
pub fn lines(bytes: &[u8]) {
    let limits = Limits::default();
    let max = 1 + usize::from(bytes.first().copied().unwrap_or_default()) * 8;
    let (mut line, mut input, mut found) = (Vec::new(), bytes, Vec::new());
    while let Some(whole) = read_line(&mut input, &mut line, max).expect("memory does not fail") {
        assert!(line.len() <= max && !line.contains(&b'\n'));
        found.push((line.clone(), whole));
        if whole {
            ask(&line, &limits);
        }
    }
    let mut expected: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    if expected.last().is_some_and(|last| last.is_empty()) {
        expected.pop();
    }
    assert_eq!(found.len(), expected.len());
    for ((line, whole), expected) in found.iter().zip(expected) {
        assert_eq!(*whole, expected.len() <= max);
        assert!(!whole || line == expected);
    }
}

/// A question as JSON: what is accepted keeps to the limits, and a line is accepted wherever a body is.
fn ask(bytes: &[u8], limits: &Limits) {
    let body = Ask::parse(bytes, limits);
    let line = Ask::parse_line(bytes, limits).map_err(|(_, error)| error);
    assert!(body.is_err() || body == line);
    for ask in [body, line] {
        match ask {
            Ok(ask) => {
                assert!(!ask.question.trim().is_empty() && ask.question.len() <= limits.question);
                assert!(ask.context.as_ref().is_none_or(|context| context.len() <= limits.context));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// An owner's settings: what is accepted reaches the page as data, unchanged, and adds no element to it.
pub fn config(bytes: &[u8]) {
    match Config::parse(bytes) {
        Ok(config) => {
            assert_eq!(Config::parse(bytes).as_ref(), Ok(&config));
            // A logo would be read from wherever the settings say.
            let page = PageSettings { logo: None, ..config.page };
            let (html, plain) = (html(&page), html(&PageSettings::default()));
            let elements = |html: &str| html.bytes().filter(|&byte| byte == b'<').count();
            assert_eq!(elements(&html), elements(&plain));
            let (_, json) = html.split_once(r#"<script type="application/json" id="settings">"#).expect("settings");
            let json = json.split_once("</script>").expect("an end").0;
            let want = serde_json::json!({
                "title": page.title, "subtitle": page.subtitle, "language": page.language, "accent": page.accent,
                "accent_dark": page.accent_dark, "logo": null, "examples": page.examples, "idle_seconds": page.idle_seconds,
                "answer_seconds": LIMIT.as_secs_f64(),
            });
            assert_eq!(serde_json::from_str::<serde_json::Value>(json).expect("JSON"), want);
        }
        Err(problem) => assert!(!problem.is_empty()),
    }
}

/// How long the page waits for an answer.
const LIMIT: Duration = Duration::from_secs(7);

fn html(settings: &PageSettings) -> String {
    let page = Page::new(settings, LIMIT).expect("a page without a logo");
    String::from_utf8(page.response().body).expect("UTF-8")
}

/// A document: in a folder it is read or named as unusable, and its passages hold all of its text.
pub fn documents(bytes: &[u8]) {
    for name in ["x.txt", "x.md"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join(name), bytes).expect("written");
        let (library, skipped) = Library::open(folder.path(), &LibraryOptions::default()).expect("a folder");
        assert_eq!(library.file_count() + skipped.len(), 1);
        let Ok(text) = decode(bytes.to_vec()) else {
            assert_eq!(skipped.len(), 1);
            continue;
        };
        let count = passages(&text, name, &library);
        // The text asks for itself. A short library is read whole, words in common or not.
        for (passage, score) in library.retrieve(&text, &RetrievalOptions::default()) {
            assert!(score.is_finite() && score >= 0.0 && passage.number <= count);
        }
    }
}

/// A library of this text alone, as file `name`: its passages are slices of the text, in order, and hold all of it. Returns how many there
/// are.
pub fn passages(text: &str, name: &str, library: &Library) -> usize {
    let cuts = cut(text, Format::of(name.as_ref()).expect("a format"));
    assert_eq!(library.passage_count(), cuts.len());
    // A byte order mark belongs to no passage.
    let mut at = if text.starts_with('\u{feff}') { 3 } else { 0 };
    for (number, (cut, passage)) in cuts.iter().zip(library.passages()).enumerate() {
        assert_eq!((&passage.bytes, passage.number, passage.file), (&cut.bytes, number + 1, name));
        assert_eq!(passage.text, &text[cut.bytes.clone()]);
        let chars: String = text.chars().skip(passage.chars.start).take(passage.chars.len()).collect();
        assert_eq!(passage.text, chars);
        assert!(!chars.is_empty() && chars.trim() == chars && chars.len() <= LONGEST, "{chars:?}");
        if let Some(title) = &cut.title {
            let title = &text[title.clone()];
            assert!(!title.trim().is_empty() && !title.contains('\n'), "{title:?}");
        }
        assert!(text[at..cut.bytes.start].trim().is_empty(), "text between passages is lost");
        at = cut.bytes.end;
    }
    assert!(text[at..].trim().is_empty(), "text at the end is lost");
    cuts.len()
}

/// What `edgeqa bench` has written on somebody's board: refused, or all ratios are numbers and none of its words is an element of the page.
pub fn records(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let read = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        Record::read(&path)
    };
    let other = read("other", include_bytes!("corpus/records/whole")).expect("a record");
    let record = match read("this", bytes) {
        Ok(record) => record,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let mut pages = vec![report::page(&record)];
    for (first, second) in [(&record, &other), (&other, &record), (&record, &record)] {
        let sides = vec![("first".into(), first.clone()), ("second".into(), second.clone())];
        let Ok(comparison) = Comparison::new(sides) else {
            assert!(record != other, "nothing in common with itself");
            continue;
        };
        assert!(record != other || comparison.rows.iter().any(|row| row.others[0].is_some()), "no ratio");
        for ratio in comparison.rows.iter().flat_map(|row| row.others.iter().flatten()) {
            let (low, high) = ratio.interval.unwrap_or((ratio.ratio, ratio.ratio));
            assert!(0.0 <= low && low <= high && high.is_finite() && ratio.ratio.is_finite(), "{ratio:?}");
        }
        pages.push(comparison.page());
    }
    for page in pages {
        assert!(!text::terminal(&page).is_empty() && !text::markdown(&page).is_empty());
        let html = html::html(&page).to_lowercase();
        assert!(!["<script", "<img", "<iframe", "<a ", "<form"].iter().any(|element| html.contains(element)));
    }
}

/// Questions with known answers: refused, or the known answers are all right, and a draw is a part.
pub fn datasets(bytes: &[u8]) {
    let dataset = match Dataset::parse("questions", bytes) {
        Ok(dataset) => dataset,
        Err(error) => return assert!(error.to_string().contains("questions")),
    };
    let count = dataset.question_count();
    // The official scorer skips those of articles and punctuation alone.
    let known = |golds: &[String]| golds.iter().find(|gold| !normalise(gold).is_empty()).cloned().unwrap_or_default();
    let answers = dataset.questions().map(|question| (question.id.clone(), known(&question.golds))).collect();
    let right = Metrics::new(&dataset, &answers, None, None).expect("all are answered");
    assert_eq!((right.all.total, right.all.exact, right.all.f1), (count, 100.0, 100.0));
    let ids: HashSet<&str> = dataset.questions().map(|question| question.id.as_str()).collect();
    assert_eq!(ids.len(), count);
    for limit in [1, count / 2, count] {
        let part = dataset.sample(limit, limit as u64);
        assert!(part.question_count() >= limit.min(count) && part.questions().all(|q| ids.contains(q.id.as_str())));
    }
}
