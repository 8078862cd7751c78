//! The shipped model on the shipped texts, and what it costs in memory.

#[path = "common/skip.rs"]
mod skip;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use edgeqa::artifact::Artifact;
use edgeqa::model::{ModelWeights, Session};
use edgeqa::qa::{AskOptions, Reader};
use edgeqa::threads::Threads;
use skip::skipped;

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo")
}

/// Every shipped question and the model's answer, by text; an empty answer says that the text holds none.
const ANSWERS: [(&str, &[(&str, &str)]); 3] = [
    (
        "lighthouse.txt",
        &[
            ("Who was the last keeper?", "Jonas Ekdahl"),
            ("Who built the lighthouse?", "Marta Lindqvist"),
            ("When was the lighthouse built?", "1874"),
            ("How high is the tower?", "38 metres"),
            ("Where does the granite come from?", "Skarvik"),
            ("What did the lamp burn at first?", "whale oil"),
            ("When was the first electric light installed?", "1931"),
            ("Why is the museum closed in winter?", "storms often flood the road"),
            ("How many steps did the keepers climb?", "212"),
            ("Who owns the lighthouse today?", ""), // wrong: the town of Halvik
            ("What is the ticket price?", ""),
            ("How many ships were wrecked near Brenn Point?", ""),
            ("Who painted the tower white?", ""),
        ],
    ),
    (
        "bees.txt",
        &[
            ("How many eggs does the queen lay a day?", "2,000"),
            ("Who explained the waggle dance?", "Karl von Frisch"),
            ("How warm is the centre of the cluster?", "25 degrees Celsius"),
            ("How much honey does a colony eat in winter?", "20 kilograms"),
            ("When did Karl von Frisch receive the Nobel Prize?", "1973"),
            ("How long does a worker live?", ""),              // wrong: six weeks
            ("What does the duration of the dance show?", ""), // wrong: the distance
            ("How many drones are in a colony?", "hundred"),   // wrong: a few hundred
            ("What colour are honey bees?", ""),
            ("Who discovered penicillin?", ""),
        ],
    ),
    (
        "locomotive.txt",
        &[
            ("What is locomotive number 7 called?", "Greta"),
            ("How much did the locomotive cost?", "41,000 crowns"),
            ("What did Greta pull?", "timber trains"),
            ("How far is it from Tarn to Ostrand?", "46 kilometres"),
            ("Who was the driver in 1917?", "Elsa Brandt"),
            ("What was the boiler heated with in the winter of 1917?", "birch wood"),
            ("When did Elsa Brandt retire?", "1946"),
            ("Why was Greta withdrawn from service?", "a crack was found in the boiler"),
            ("When does the museum run the locomotive?", "May to September"),
            ("Who restored the locomotive?", "Volunteers of the railway club"),
            ("Who built Greta?", "Albrecht and Sons"),
            ("How fast was Greta?", ""),
            ("Who designed the harbour of Ostrand?", ""),
        ],
    ),
];

#[test]
fn shipped_model_answers_the_shipped_questions_as_listed() {
    let reader = Reader::open(&demo().join("model.safetensors")).expect("the demo model");
    let options = AskOptions::default();
    for (file, questions) in ANSWERS {
        let text = std::fs::read_to_string(demo().join("texts").join(file)).expect("a text");
        let shipped = std::fs::read_to_string(demo().join("questions").join(file)).expect("questions");
        let context = reader.context(&text).expect("tokens");
        assert!(
            shipped.lines().eq(questions.iter().map(|(question, _)| *question)),
            "{file}: other questions are shipped"
        );
        for (question, want) in questions {
            let answer = reader.ask_in(&context, question, &options).expect("an answer");
            assert_eq!(answer.text, *want, "{question}");
            if let Some(bytes) = &answer.bytes {
                assert_eq!(&text[bytes.start..bytes.end], *want);
            }
        }
    }
}

#[test]
fn shipped_model_is_intact() {
    Artifact::open(&demo().join("model.safetensors")).expect("opens").verify().expect("verifies");
}

/// Rows, channels, heads and windows go to whatever thread is free; no sum is cut.
#[test]
fn logits_and_answers_are_the_same_bits_with_any_number_of_threads() {
    let artifact = Artifact::open(&demo().join("model.safetensors")).expect("opens");
    let one = Session::new(&ModelWeights::from_artifact(&artifact).expect("weights")).expect("session");
    let reader = Reader::from_artifact(&artifact).expect("a reader");
    let text = std::fs::read_to_string(demo().join("texts/lighthouse.txt")).expect("a text").repeat(4);
    // About ten windows: whole batches, and some that are left over.
    let options = AskOptions { max_seq_len: Some(128), doc_stride: Some(32), ..AskOptions::default() };
    let answer = |reader: &Reader| reader.ask("Who was the last keeper?", &text, &options).expect("an answer");
    let alone = answer(&reader);
    assert!(alone.windows > 5);
    for count in [2, 3, 7] {
        let threads = Threads::new(NonZeroUsize::new(count).expect("not 0"), false).expect("threads");
        let several = one.on(threads.clone());
        for length in [1, 5, 40, 129, 384] {
            let ids: Vec<i64> = (0..length).map(|i| 1000 + 7 * i).collect();
            let want = one.logits(&ids, None).expect("logits");
            assert_eq!(several.logits(&ids, None).expect("logits"), want, "{length} tokens, {count} threads");
        }
        assert_eq!(answer(&reader.clone().on(threads)), alone, "{count} threads");
    }
}

/// The weights are shared, file-backed pages: none of them is private, and of the word embeddings only the pages around the
/// tokens present are read.
#[test]
fn weights_are_mapped_and_none_is_private() {
    // A copy, because other tests of this process map the original; synced, because pages not yet written count as dirty.
    let temp = tempfile::tempdir().expect("temporary folder");
    let path = temp.path().join("mapped.safetensors");
    std::fs::copy(demo().join("model.safetensors"), &path).expect("copy");
    std::fs::File::open(&path).and_then(|file| file.sync_all()).expect("sync");
    let artifact = Artifact::open(&path).expect("opens");
    let session = Session::new(&ModelWeights::from_artifact(&artifact).expect("weights")).expect("session");
    session.logits(&[101, 2040, 102, 3007, 102], None).expect("logits");
    let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") else {
        skipped("weights_are_mapped_and_none_is_private: no /proc/self/smaps");
        return;
    };
    let mut lines = maps.lines().skip_while(|line| !line.ends_with("mapped.safetensors"));
    let head = lines.next().expect("the model is mapped");
    assert_eq!(head.split_whitespace().nth(1), Some("r--s"), "{head}");
    let kilobytes = |field: &str| -> usize {
        let line = lines.clone().find(|line| line.starts_with(field)).expect(field);
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect(field)
    };
    assert_eq!((kilobytes("Private_Dirty:"), kilobytes("Anonymous:")), (0, 0));
    let words = artifact.tensors()["embeddings.word.weight"].bytes.len() / 1024;
    let rest = artifact.file_len() / 1024 - words;
    // The kernel maps neighbouring pages that it has at hand: 64 kB around each of the five tokens, megabytes with large pages.
    assert!(
        kilobytes("Rss:") < rest + words * 3 / 4,
        "{} kB resident, {rest} kB beside {words} kB of words",
        kilobytes("Rss:")
    );
}
