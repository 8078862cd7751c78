//! What is said about records side by side.

use edgeqa::bench::compare::Row;
use edgeqa::bench::record::{Questions, Record};
use edgeqa::bench::state::{State, Throttling};
use edgeqa::bench::{BenchError, Comparison, html, text};

use crate::bench::record;

/// Processes of one kind.
const BASE: [&[f64]; 4] =
    [&[1.0, 1.01, 1.02, 1.0], &[1.01, 1.02, 1.03, 1.0], &[1.0, 1.02, 1.0, 1.01], &[1.02, 1.01, 1.03, 1.0]];

fn compare(a: Record, b: Record) -> Comparison {
    Comparison::new(vec![("a.json".into(), a), ("b.json".into(), b)]).expect("comparable")
}

fn scaled(factor: f64) -> Vec<Vec<f64>> {
    BASE.iter().map(|times| times.iter().map(|time| time * factor).collect()).collect()
}

/// A record of such processes with questions and starts, as many times slower.
fn full(factor: f64) -> Record {
    let times = scaled(factor);
    let times: Vec<&[f64]> = times.iter().map(Vec::as_slice).collect();
    let mut record = record(&times, &[32]);
    let runs = record.points[0].runs.clone();
    record.questions = vec![Questions { threads: 1, runs, per_second: None }];
    let starts = [1.0, 1.01, 1.02, 1.03, 1.04].map(|time| time * factor);
    (record.load.warm, record.first_answer.warm) = (starts.to_vec(), starts.to_vec());
    record
}

/// The name of a row, whether the difference exceeds the noise, and why that is not judged.
type Verdict = (String, Option<bool>, Option<&'static str>);

/// What is said of each row, and the notes.
fn verdicts(b: Record) -> (Vec<Verdict>, Vec<String>) {
    let Comparison { rows, notes, .. } = compare(full(1.0), b);
    let verdict = |row: Row| row.others[0].map(|ratio| (row.name, ratio.exceeds_noise, ratio.withheld));
    (rows.into_iter().filter_map(verdict).collect(), notes)
}

/// Of the rows, those about which nothing is said, and the one reason for it.
fn withheld(b: Record) -> (Vec<String>, Option<&'static str>) {
    let (rows, _) = verdicts(b);
    let rows: Vec<_> = rows.into_iter().filter(|(name, ..)| name != "most memory").collect();
    let (silent, told): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, exceeds, _)| exceeds.is_none());
    assert!(told.iter().all(|(_, exceeds, withheld)| *exceeds == Some(true) && withheld.is_none()), "{told:?}");
    let reason = silent.first().and_then(|(.., reason)| *reason);
    assert!(silent.iter().all(|(.., other)| *other == reason), "{silent:?}");
    (silent.into_iter().map(|(name, ..)| name).collect(), reason)
}

const ALL: [&str; 4] = ["32 tokens, 1 thread", "question, 1 thread", "load, warm", "first answer, warm"];

#[test]
fn a_difference_must_exceed_the_noise() {
    let verdict = |other: &[Vec<f64>]| {
        let other: Vec<&[f64]> = other.iter().map(Vec::as_slice).collect();
        let comparison = compare(record(&BASE, &[32]), record(&other, &[32]));
        let ratio = comparison.rows[0].others[0].expect("a ratio");
        (ratio.ratio, ratio.exceeds_noise.expect("enough processes"))
    };
    let (ratio, exceeds) = verdict(&scaled(1.3));
    assert!((ratio - 1.3).abs() < 1e-9 && exceeds);
    assert!(verdict(&scaled(0.9)).1);
    assert!(!verdict(&scaled(1.0)).1);
    // Three of four processes are slower by far, but the last is not: processes differ that much here.
    let mut mixed = scaled(1.3);
    mixed[3] = BASE[3].to_vec();
    let (ratio, exceeds) = verdict(&mixed);
    assert!(ratio > 1.2 && !exceeds);
    let page = compare(record(&BASE, &[32]), record(&BASE, &[32])).page();
    assert!(text::terminal(&page).contains("within the noise"));
}

/// Three and three processes are apart by chance in every tenth row, three and four in one of 17.
#[test]
fn too_few_processes_tell_nothing() {
    let slow = scaled(3.0);
    let slow: Vec<&[f64]> = slow.iter().map(Vec::as_slice).collect();
    for (a, b, judged) in [(3, 3, false), (3, 4, false), (4, 4, true)] {
        let comparison = compare(record(&BASE[..a], &[32]), record(&slow[..b], &[32]));
        let ratio = comparison.rows[0].others[0].expect("a ratio");
        assert_eq!((ratio.exceeds_noise, ratio.withheld.is_none()), (judged.then_some(true), judged), "{a} and {b}");
        let text = text::terminal(&comparison.page());
        let row = text.lines().find(|line| line.contains("32 tokens")).expect("a row");
        assert!(row.ends_with(if judged { "slower 3.00\u{d7}" } else { "not judged: too few processes" }), "{row}");
        assert!(text.contains("10 % with 3 and 3, 2.9 % with 4 and 4, 0.8 % with 5 and 5"), "{text}");
    }
}

#[test]
fn a_busy_or_throttled_machine_is_not_judged() {
    assert_eq!(withheld(full(2.0)), (vec![], None));
    let with = |change: &dyn Fn(&mut Record)| {
        let mut record = full(2.0);
        change(&mut record);
        let (rows, reason) = withheld(record);
        assert_eq!(rows, ALL, "{reason:?}");
        reason
    };
    assert_eq!(with(&|r| r.steal = Some(0.02)), Some("machine was busy"));
    assert_eq!(with(&|r| r.others = Some(0.06)), Some("machine was busy"));
    assert_eq!(with(&|r| r.before.load = Some(7.0)), Some("machine was busy"));
    assert_eq!(with(&|r| r.throttled = vec!["hot".into()]), Some("machine was throttled"));
    let flag = Throttling { since_boot: vec!["under-voltage".into()], ..Throttling::default() };
    let before = State { throttling: vec![flag], ..State::default() };
    assert_eq!(with(&|r| r.before = before.clone()), Some("machine may have been throttled"));
    // The load may have been this program's own, if nobody else used the CPUs.
    let mut own = full(2.0);
    (own.before.load, own.others, own.steal) = (Some(7.0), Some(0.01), Some(0.001));
    assert_eq!(withheld(own), (vec![], None));
    // One point alone.
    let mut waited = full(2.0);
    waited.points[0].runs.cpu_share = Some(0.7);
    assert_eq!(withheld(waited.clone()), (vec![ALL[0].into()], Some("machine was busy")));
    waited.points[0].runs.major_faults = Some(50.0);
    assert_eq!(withheld(waited), (vec![], None), "the disk is part of what is measured");
    // Nor is a steady machine judged by a busy one.
    let mut busy = full(1.0);
    busy.others = Some(0.5);
    let rows = compare(busy, full(2.0)).rows;
    assert_eq!(rows[0].others[0].expect("a ratio").withheld, Some("machine was busy"));
}

#[test]
fn what_was_measured_otherwise_is_not_judged() {
    // Old records do not say with how many threads they started: with the most of their points.
    let mut threads = full(2.0);
    threads.load.threads = Some(4);
    threads.first_answer.threads = Some(4);
    let mut old = full(2.0);
    old.points.push(old.points[0].clone());
    old.points[1].threads = 4;
    for record in [threads, old] {
        assert_eq!(
            withheld(record.clone()),
            (ALL[2..].iter().map(ToString::to_string).collect(), Some("other threads"))
        );
        let sentence = "B started with 4 threads, and A with 1 thread: load and first answer are not judged.";
        assert!(verdicts(record).1.contains(&sentence.to_owned()));
    }
    let sentence = "B has another text or other questions than A: questions are not judged.";
    let mut longer = full(2.0);
    longer.settings.text_bytes += 1;
    assert_eq!(withheld(longer.clone()), (vec![ALL[1].into()], Some("other questions")));
    assert!(verdicts(longer).1.contains(&sentence.to_owned()));
    // As long and as many, but others.
    let with = |text: &str, questions: &str, factor| {
        let mut record = full(factor);
        record.settings.text_sha256 = Some(text.into());
        record.settings.questions_sha256 = Some(questions.into());
        record
    };
    let base = || with("a", "b", 1.0);
    for (record, other) in
        [(with("a", "b", 2.0), false), (with("x", "b", 2.0), true), (with("a", "x", 2.0), true), (full(2.0), false)]
    {
        let comparison = compare(base(), record);
        let ratio = comparison.rows[1].others[0].expect("a ratio");
        assert_eq!((ratio.withheld, ratio.exceeds_noise.is_none()), (other.then_some("other questions"), other));
        assert_eq!(comparison.notes.contains(&sentence.to_owned()), other);
    }
}

#[test]
fn notes_are_sentences_about_the_right_record() {
    let base: &[&[f64]] = &[&[1.0, 1.1]];
    let mut other = record(base, &[32, 128]);
    other.settings.pinned = true;
    other.model.sha256 = "other".into();
    let comparison = compare(record(base, &[32, 64, 256]), other);
    assert_eq!(
        comparison.notes,
        [
            "B has another model than A.",
            "B kept each thread on a CPU of its own, and A did not.",
            "A was measured at points (tokens \u{d7} threads) that B lacks, which are not compared: 64 \u{d7} 1, 256 \u{d7} 1.",
            "B was measured at points (tokens \u{d7} threads) that A lacks, which are not compared: 128 \u{d7} 1.",
        ]
    );
    let memory = comparison.rows.last().expect("a row");
    assert_eq!((memory.name.as_str(), &memory.others[..]), ("most memory", &[None][..]), "two points have none");
}

#[test]
fn one_value_of_memory_is_shown_and_not_judged() {
    let mut more = full(1.0);
    more.points[0].runs.memory.as_mut().expect("memory").peak *= 2;
    let (rows, _) = verdicts(more.clone());
    assert!(rows.contains(&("most memory".into(), None, Some("one value each"))), "{rows:?}");
    let text = text::terminal(&compare(full(1.0), more).page());
    assert!(text.contains("2.000") && text.contains("not judged: one value each"), "{text}");
}

#[test]
fn what_to_do_is_said_once() {
    let busy = || {
        let mut record = full(1.0);
        record.warnings =
            vec!["other programs used 8 % of the CPU time; end them and measure again".into(), "odd".into()];
        record
    };
    let page = compare(busy(), busy()).page();
    let used = "other programs used 8 % of the CPU time";
    let want = [
        &format!("A: {used}"),
        "A: odd",
        &format!("B: {used}"),
        "B: odd",
        "end other programs, and measure A, B again",
    ];
    assert_eq!(page.warnings, want);
}

#[test]
fn records_are_compared_point_by_point() {
    let base: &[&[f64]] = &[&[1.0, 1.1]];
    let mut hot = record(&[&[2.0, 2.1]], &[64, 32, 128]);
    hot.throttled = vec!["under-voltage (vcgencmd)".into()];
    hot.model.sha256 = "other".into();
    let comparison = compare(record(base, &[32, 64, 256]), hot);
    let names: Vec<_> = comparison.rows.iter().map(|row| (row.name.as_str(), row.others[0].is_some())).collect();
    assert_eq!(
        names[..3],
        [("32 tokens, 1 thread", true), ("64 tokens, 1 thread", true), ("256 tokens, 1 thread", false)]
    );
    assert!(names.contains(&("load, warm", true)), "{names:?}");
    let page = comparison.page();
    for text in [text::terminal(&page), text::markdown(&page), html::html(&page)] {
        assert!(text.contains("under-voltage") && text.contains("another model") && text.contains("1.95"), "{text}");
    }
    assert!(serde_json::to_string(&comparison).expect("JSON").contains("\"throttled\":[\"under-voltage (vcgencmd)\"]"));
    let records = vec![("a".into(), record(base, &[32])), ("b".into(), record(base, &[64]))];
    let error = Comparison::new(records).expect_err("nothing in common");
    assert!(matches!(error, BenchError::NothingInCommon { .. }), "{error}");
}
