//! BM25 against the formula, in the plainest way.

use edgeqa::documents::index::{Builder, Hit};
use edgeqa::documents::passages::SHORTEST;
use edgeqa::documents::words::{each_word, question_words};
use edgeqa::documents::{Library, RetrievalOptions};

use edgeqa::eval::Random;

/// Words that have no ending to lose.
fn word(random: &mut Random) -> String {
    let rank = random.index(30).min(random.index(30));
    format!("{}{}ko", ["b", "d", "g", "k", "m", "p"][rank % 6], ["a", "o", "u", "au", "ou"][rank / 6])
}

fn words(random: &mut Random, most: usize) -> Vec<String> {
    (0..random.index(most + 1)).map(|_| word(random)).collect()
}

/// Scores of all passages, by definition.
fn naive(passages: &[Vec<String>], question: &[String]) -> Vec<f64> {
    let (k1, b) = (1.2, 0.75);
    let n = passages.len() as f64;
    let mean = passages.iter().map(Vec::len).sum::<usize>() as f64 / n;
    let mut distinct = question.to_vec();
    distinct.sort();
    distinct.dedup();
    let score = |passage: &Vec<String>| {
        let of_word = |word: &String| {
            let with = passages.iter().filter(|p| p.contains(word)).count() as f64;
            let tf = passage.iter().filter(|w| *w == word).count() as f64;
            let idf = (1.0 + (n - with + 0.5) / (with + 0.5)).ln();
            idf * tf * (k1 + 1.0) / (tf + k1 * (1.0 - b + b * passage.len() as f64 / mean))
        };
        distinct.iter().map(of_word).sum::<f64>()
    };
    passages.iter().map(score).collect()
}

#[test]
fn scores_are_those_of_the_formula() {
    let mut random = Random(3);
    let mut compared = 0;
    for _ in 0..300 {
        let mut passages: Vec<_> = (0..1 + random.index(40)).map(|_| words(&mut random, 60)).collect();
        passages.push(vec!["bako".into()]);
        let mut builder = Builder::default();
        for passage in &passages {
            let (title, text) = passage.split_at(passage.len() / 3);
            builder.add([title.join(", ").as_str(), text.join(" ").to_uppercase().as_str()]);
        }
        let index = builder.finish();
        let question = words(&mut random, 8);
        let want = naive(&passages, &question);
        let hits = index.search(&(question.join("? ") + " gone"));
        assert_eq!(hits.len(), want.iter().filter(|score| **score > 0.0).count());
        for (rank, Hit { passage, score }) in hits.iter().enumerate() {
            let expected = want[*passage];
            assert!((f64::from(*score) - expected).abs() <= 1e-4 * expected, "{score} {expected}");
            // No passage that is left out or comes later is better.
            let before: Vec<usize> = hits[..rank].iter().map(|hit| hit.passage).collect();
            let best = (0..want.len()).filter(|p| !before.contains(p)).map(|p| want[p]).fold(0.0, f64::max);
            assert!(expected >= best * (1.0 - 1e-4));
            compared += 1;
        }
    }
    assert!(compared > 2_000, "{compared}");
}

#[test]
fn equal_passages_come_in_order_and_no_passage_is_no_fault() {
    let mut builder = Builder::default();
    ["seal", "crab", "seal", "seal"].iter().for_each(|text| builder.add([*text]));
    let found: Vec<usize> = builder.finish().search("Seals?").iter().map(|hit| hit.passage).collect();
    assert_eq!(found, [0, 2, 3]);
    assert_eq!(Builder::default().finish().search("seal"), []);
}

/// A word that begins like its heading does not stand for it.
#[test]
fn words_beyond_the_most_are_not_found_and_others_are() {
    let mut builder = Builder::of_at_most(2);
    builder.add(["whale boat"]);
    assert!(!builder.is_full());
    builder.add(["seal boat seal"]);
    assert!(builder.is_full());
    let index = builder.finish();
    let passages = |question: &str| index.search(question).iter().map(|hit| hit.passage).collect::<Vec<_>>();
    // The second is shorter without the seals.
    assert_eq!((passages("whale"), passages("boat"), passages("seal")), (vec![0], vec![1, 0], vec![]));
}

#[test]
fn a_passage_is_found_by_the_words_of_its_heading() {
    let long = "x".repeat(SHORTEST);
    let text = format!("# Cat\n\n{long}\n\nCatalina feeds {long}.\n\n# Dog\n\nDogma {long}.");
    let library = Library::of_texts([("a.md".to_owned(), text)]);
    let found = |question: &str| -> Vec<usize> {
        let hits = library.retrieve(question, &RetrievalOptions { passages: 2 });
        let mut numbers: Vec<usize> = hits.iter().map(|(passage, _)| passage.number).collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(library.passage_count(), 3);
    assert_eq!((found("cat"), found("dog")), (vec![1, 2], vec![3]));
}

#[test]
fn words_are_lower_case_without_endings() {
    let words = |text: &str| {
        let mut words = Vec::new();
        each_word(text, |word| words.push(word.to_owned()));
        words
    };
    assert_eq!(words("The Keeper's boats, built\r\nin 1,204!"), ["the", "keeper", "boat", "built", "in", "1,204"]);
    assert_eq!(words("Zoë\u{2019}s ÉTÉ 灯台"), ["zoe", "et", "灯", "台"]);
    assert_eq!(words(" - … ☕"), [""; 0]);
    // Emphasis, joined names, and spaces that are missing.
    assert_eq!(words("_Ada Morrow_ __Ada__ snake_case"), ["ada", "morrow", "ada", "snake", "case"]);
    assert_eq!(
        words("Ende.Neuer Adresse:Berlin 3.5 v1.2 10:30"),
        ["end", "neuer", "adress", "berlin", "3.5", "v1.2", "10", "30"]
    );
    assert_eq!(words("U.S.A. USA e.g."), ["usa", "usa", "eg"]);
    assert_eq!(question_words("When was the W.H.O. founded?"), ["w.h.o", "found"]);
    // One word in all the ways to write it.
    for (ways, word) in [
        (
            &["O'Brien", "O\u{2019}Brien", "O\u{2018}Brien", "O\u{2bb}Brien", "O\u{2bc}Brien", "O\u{ff07}Brien"][..],
            "o'brien",
        ),
        (&["d'Alsace", "d\u{2019}Alsace", "l'Alsace", "Alsace"], "alsac"),
        (&["Leucht\u{ad}turm", "Leuchtturm", "\u{200e}Leuchtturm\u{200f}"], "leuchtturm"),
        (&["כתבים\u{200f}", "כתבים"], "כתבים"),
        (&["محـــمد", "محمد"], "محمد"),
        (&["Straße", "STRASSE", "STRA\u{1e9e}E"], "strass"),
        (&["οδός", "ΟΔΟΣ"], "οδοσ"),
        (&["Łódź", "Lodz"], "lodz"),
        (&["København", "Kobenhavn"], "kobenhavn"),
        (&["l'œuvre", "oeuvre"], "oeuvr"),
        (&["CO₂", "CO2"], "co2"),
        (&["C₁₂H₂₂O₁₁", "C12H22O11"], "c12h22o11"),
        (&["m²", "m2"], "m2"),
        (&["km³", "km3"], "km3"),
    ] {
        assert!(ways.iter().all(|way| words(way) == [word]), "{ways:?}");
    }
    // Signs of notes.
    assert_eq!(words("lighthouse² tower¹ 20² Smith's²"), ["lighthous", "2", "tower", "1", "20", "2", "smith", "2"]);
    assert_eq!(words("Sean's d's 's don't"), ["sean", "d", "s", "don't"]);
    assert_eq!(words(&"é".repeat(100))[0].len(), 64);
    assert_eq!(words(&"ø".repeat(100))[0].len(), 64);
    assert_eq!(question_words("When was the boat of the boats built?"), ["boat", "built"]);
    assert_eq!(question_words("What is this?"), ["what", "is", "thi"], "better than nothing");
    // In the square of the time, this would take minutes.
    let many: String = (0..300_000).map(|number| format!("w{number} w{number} ")).collect();
    let many = question_words(&many);
    assert_eq!((many.len(), many[7].as_str()), (300_000, "w7"));
}

#[test]
fn words_are_the_same_with_and_without_accents_in_every_form() {
    let found = |text: &str, question: &str| {
        let mut builder = Builder::default();
        ["nothing", text].iter().for_each(|text| builder.add([*text]));
        builder.finish().search(question).first().map(|hit| hit.passage)
    };
    for forms in [
        &["Zoë's café", "Zoe\u{308}'s cafe\u{301}", "zoe cafe", "ZOË CAFÉ"][..],
        &["Åse", "A\u{30a}se", "\u{212b}se", "ase"],
        &["Việt", "Vie\u{323}\u{302}t", "Vie\u{302}\u{323}t", "viet"],
        &["ﬁsh", "fish", "ｆｉｓｈ"],
        &["각", "\u{1100}\u{1161}\u{11a8}"],
        &["が", "か\u{3099}"],
        &["\u{401}лка", "\u{415}\u{308}лка", "елка"],
    ] {
        for text in forms {
            for question in forms {
                assert_eq!(found(text, question), Some(1), "{text} {question}");
            }
        }
    }
    // Marks that make another letter.
    for (text, other) in [("か", "が"), ("की", "कु"), ("क", "क़"), ("ปู", "ปุ")] {
        assert_eq!(found(text, other), None, "{text} {other}");
    }
}
