//! `edgeqa ask --docs`.

use std::fs;

use serde_json::Value;

use crate::common::program::{Bench, failure, json_lines, success};

const TEXT: &str = "Ada Morrow — the keeper ☕ — kept the light.\n";

fn bench() -> Bench {
    let bench = Bench::new();
    fs::create_dir_all(bench.folder.path().join("docs/more")).expect("made");
    bench.file("docs/light.txt", TEXT);
    bench.file("docs/more/log.md", "# The log\n\nShe kept a log of ships.\n");
    bench
}

#[test]
fn json_names_file_and_passage() {
    let bench = bench();
    let line =
        &json_lines(&success(bench.ask(&["Which log of ships?", "--docs", "docs", "--json", "--always-answer"], "")))
            [0];
    let source = &line["source"];
    let name = source["file"].as_str().expect("a name");
    let text = fs::read_to_string(bench.folder.path().join("docs").join(name)).expect("a file");
    let slice = |range: &Value| {
        let number = |key: &str| range[key].as_u64().expect("a number") as usize;
        number("start")..number("end")
    };
    assert_eq!(line["answer"], text[slice(&line["bytes"])]);
    assert_eq!(source["text"], text[slice(&source["bytes"])]);
    let highlight = slice(&source["highlight"]);
    let shown: String =
        source["text"].as_str().expect("text").chars().skip(highlight.start).take(highlight.len()).collect();
    assert_eq!(line["answer"], shown);
    assert_eq!((&line["nearest"], &source["passage"]), (&Value::Null, &1.into()));
    assert_eq!(line["candidates"][0]["file"], name);
    assert_eq!(line["model"], bench.model.to_str().expect("UTF-8"));

    let args = ["Which log of ships?", "--docs", "docs", "--passages", "1", "--json", "--null-threshold", "-1e9"];
    let line = &json_lines(&success(bench.ask(&args, "")))[0];
    assert_eq!((&line["answered"], &line["source"]), (&false.into(), &Value::Null));
    let nearest = &line["nearest"];
    assert_eq!((&nearest["file"], &nearest["title"]), (&"more/log.md".into(), &"The log".into()));
    assert_eq!(nearest["highlight"], Value::Null);
}

#[test]
fn text_names_file_and_passage() {
    let bench = bench();
    let text = success(bench.ask(&["Who kept the light?", "--docs", "docs", "--passages", "1", "--always-answer"], ""));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[2].contains(&format!("[{}]", lines[0])), "{text}");
    assert_eq!(lines[3], "  light.txt, passage 1");
    let text = success(bench.ask(&["Which log?", "--docs", "docs", "--passages", "1", "--null-threshold", "-1e9"], ""));
    assert!(text.starts_with("No answer in these documents.\n  null odds "), "{text}");
    assert!(
        text.contains(" are above the threshold -1000000000.00 (--always-answer shows the best guess)\n"),
        "{text}"
    );
    assert!(text.ends_with("  nearest: more/log.md, passage 1\n  # The log She kept a log of ships.\n"), "{text}");
}

#[test]
fn no_word_in_common_is_said() {
    let bench = bench();
    let args = ["Zebra?", "--docs", "docs", "--passages", "1", "--always-answer"];
    let text = success(bench.ask(&args, ""));
    assert_eq!(text, "No answer in these documents.\n  no passage shares a word with the question\n");
    let line = &json_lines(&success(bench.ask(&[&args[..], &["--json"]].concat(), "")))[0];
    assert_eq!((&line["answered"], &line["windows"], &line["nearest"]), (&false.into(), &0.into(), &Value::Null));
    assert_eq!(line["left_out"], 0);
    assert!(line["score"].is_number() && line["null_score"].is_number(), "{line}");
}

#[test]
fn passages_without_a_token_are_said() {
    let bench = bench();
    fs::create_dir(bench.folder.path().join("signs")).expect("made");
    bench.file("signs/a\n<3>b.txt", "\u{1}\u{2}");
    let output = bench.ask(&["Who?", "--docs", "signs"], "");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(text, "No answer in these documents.\n  no passage could be read; the log says why\n");
    let again = bench.ask(&["Who?", "When?", "--docs", "signs"], "");
    assert_eq!(String::from_utf8_lossy(&again.stderr), errors, "once, not for every question");
    assert!(errors.contains("passage 1 of a <3>b.txt is left out: ") && errors.lines().count() == 1, "{errors}");
    let output = bench.ask(&["Who?", "--docs", "signs", "--json"], "");
    let line = &json_lines(&String::from_utf8_lossy(&output.stdout))[0];
    assert_eq!((&line["windows"], &line["left_out"], &line["nearest"]), (&0.into(), &1.into(), &Value::Null));
}

#[test]
fn what_cannot_be_read_is_said() {
    let bench = bench();
    bench.file("docs/latin.txt", b"Caf\xe9");
    bench.file("docs/photo.jpg", b"x");
    let output = bench.ask(&["Which log?", "--docs", "docs", "--json"], "");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && errors.contains("skipped latin.txt: it is not UTF-8: byte 3"), "{errors}");
    assert!(errors.contains("`iconv -f WINDOWS-1252 -t UTF-8 latin.txt > NEW`"), "{errors}");
    assert!(errors.contains("] 1 file is neither .txt nor .md (photo.jpg) and is left out\n"), "{errors}");
    assert_eq!(errors.matches("photo.jpg").count(), 1, "{errors}");
    assert!(failure(bench.ask(&["Who?", "--docs", "absent"], ""), 1).contains("cannot read the documents in absent"));
    fs::create_dir(bench.folder.path().join("void")).expect("made");
    assert!(
        failure(bench.ask(&["Who?", "--docs", "void"], ""), 1).contains("void holds no .txt or .md file with text")
    );
    for args in [
        &["Who?", "--docs", "docs", "--context", "x"][..],
        &["Who?", "--docs", "docs", "--context-file", "x"],
        &["Who?", "--context", "x", "--passages", "3"],
        &["Who?", "--docs", "docs", "--passages", "0"],
        &["Who?", "--docs", "docs", "--passages", "101"],
    ] {
        failure(bench.ask(args, ""), 2);
    }
}
