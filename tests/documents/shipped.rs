//! The documents that ship with the source, and their questions.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use edgeqa::documents::{Library, LibraryOptions, RetrievalOptions};
use serde_json::Value;

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo")
}

#[test]
fn gold_passages_are_found() {
    let (library, skipped) = Library::open(&demo().join("documents"), &LibraryOptions::default()).expect("a library");
    assert_eq!(skipped, []);
    assert!(library.file_count() >= 30);
    for passage in library.passages() {
        assert!((100..=1_200).contains(&passage.text.len()), "{} {}: {}", passage.file, passage.number, passage.text);
    }
    let questions = fs::read_to_string(demo().join("documents.json")).expect("questions");
    let questions: Value = serde_json::from_str(&questions).expect("JSON");
    let (mut ids, mut answerable, mut found) = (HashSet::new(), 0, 0);
    for article in questions["data"].as_array().expect("articles") {
        let file = article["title"].as_str().expect("a name");
        let text = library.text(file).unwrap_or_else(|| panic!("there is no {file}"));
        for paragraph in article["paragraphs"].as_array().expect("paragraphs") {
            let context = paragraph["context"].as_str().expect("a text");
            let start = text.find(context).unwrap_or_else(|| panic!("{file} does not hold: {context}"));
            for question in paragraph["qas"].as_array().expect("questions") {
                assert!(ids.insert(question["id"].as_str().expect("an id")), "{question}");
                let answers = question["answers"].as_array().expect("answers");
                assert_eq!(question["is_impossible"], answers.is_empty());
                for answer in answers {
                    let from = answer["answer_start"].as_u64().expect("an offset") as usize;
                    let gold = answer["text"].as_str().expect("a text");
                    assert!(context.chars().skip(from).collect::<String>().starts_with(gold), "{question}");
                }
                if answers.is_empty() {
                    continue;
                }
                answerable += 1;
                let asked = question["question"].as_str().expect("a question");
                let hits = library.retrieve(asked, &RetrievalOptions::default());
                found += usize::from(hits.iter().any(|(passage, _)| {
                    passage.file == file && passage.bytes.start <= start && start < passage.bytes.end
                }));
            }
        }
    }
    assert!(answerable >= 60 && ids.len() - answerable >= 20, "{answerable} of {}", ids.len());
    assert!(found * 100 >= answerable * 97, "{found} of {answerable} in the top 5");
}
