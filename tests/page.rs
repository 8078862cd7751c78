//! The page of the kiosk as a file: it refers to nothing, and stays small. What it does is tested in a browser, by
//! `tests/page/run.sh`.

use std::fs;
use std::path::Path;

use edgeqa::serve::config::{LANGUAGES, PageSettings};

/// Largest page, in bytes: it is sent whole, over slow networks too.
const MAX_BYTES: usize = 41_000;

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve/page.html");
    fs::read_to_string(path).expect("the page")
}

/// What could make a browser ask somebody, or run something the policy has no hash of.
fn references(html: &str) -> Vec<&'static str> {
    let html = html.to_ascii_lowercase();
    let signs = [
        "http:",
        "https:",
        "url(",
        "@import",
        "src=",
        "srcset=",
        "action=",
        "style=",
        "import(",
        "websocket",
        "eventsource",
    ];
    let mut found: Vec<&str> = signs.into_iter().filter(|sign| html.contains(sign)).collect();
    // "//" begins a comment of the script after white space, else the address of another host.
    if html.match_indices("//").any(|(at, _)| !html[..at].ends_with(['\n', ' '])) {
        found.push("//");
    }
    if html.match_indices("href=").any(|(at, _)| !html[at..].starts_with("href=\"data:,\"")) {
        found.push("href=");
    }
    // Attributes such as onclick=.
    if html.match_indices(" on").any(|(at, _)| {
        let name = html[at + 3..].trim_start_matches(|c: char| c.is_ascii_alphabetic());
        name.starts_with("=\"") || name.starts_with("='")
    }) {
        found.push("on...=");
    }
    found
}

#[test]
fn the_page_refers_to_nothing() {
    assert_eq!(references(&page()), Vec::<&str>::new());
    for (html, want) in [
        ("<img src=\"x\">", "src="),
        ("<script SRC='/x.js'></script>", "src="),
        ("<link rel=stylesheet href=\"x.css\">", "href="),
        ("fetch(\"//host/x\")", "//"),
        ("a { background: URL(x) }", "url("),
        ("<p onclick=\"x()\">", "on...="),
    ] {
        assert_eq!(references(html), [want], "{html}");
    }
}

#[test]
fn the_server_knows_the_languages_of_the_page() {
    let html = page();
    let texts = html.lines().skip_while(|line| !line.starts_with("const TEXTS = {")).skip(1);
    let languages: Vec<&str> = texts
        .take_while(|line| *line != "};")
        .filter_map(|line| line.strip_prefix("  ").and_then(|line| line.strip_suffix(": {")))
        .collect();
    assert_eq!(languages, LANGUAGES);
    for (language, has_words) in [("en", true), ("de-AT", true), ("it", false), ("english", false), ("DE", false)] {
        let settings = PageSettings { language: language.into(), ..PageSettings::default() };
        assert_eq!(settings.has_words(), has_words, "{language}");
    }
}

#[test]
fn the_page_is_small_and_has_the_servers_slot_once() {
    let html = page();
    assert!(html.len() <= MAX_BYTES, "{} bytes", html.len());
    // The policy's hashes are of the one inline style and the one inline script.
    assert_eq!((html.matches("<style>").count(), html.matches("<style").count()), (1, 1));
    assert_eq!((html.matches("<script>").count(), html.matches("<script").count()), (1, 2));
    assert_eq!(html.matches(r#"<script type="application/json" id="settings">{}</script>"#).count(), 1);
    assert!(!html.contains('\r'), "a carriage return would be another text to the browser than to the hash");
    assert!(!html.contains("innerHTML") && !html.contains("outerHTML") && !html.contains("insertAdjacentHTML"));
}
