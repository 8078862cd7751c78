//! The decoder against a naive one that keeps every pair and sorts everything, and cases made by hand.

use super::*;
use crate::eval::Random;

type Window = (Vec<f32>, Vec<f32>, Vec<Option<(usize, usize)>>);

/// Score and place (window, first, last) of an entry; no place for null.
type Plain = (f32, Option<(usize, usize, usize)>);

fn by_score(a: f32, b: f32) -> Ordering {
    b.partial_cmp(&a).expect("test logits are numbers")
}

fn naive(windows: &[Window], max_answer_len: usize) -> (Vec<Plain>, f32) {
    let argsort_reversed = |values: &[f32]| {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| by_score(values[b], values[a]));
        order.into_iter().rev().take(20).collect::<Vec<_>>()
    };
    let mut all: Vec<Plain> = Vec::new();
    let mut null = f32::INFINITY;
    for (w, (start, end, offsets)) in windows.iter().enumerate() {
        null = null.min(start[0] + end[0]);
        for &i in &argsort_reversed(start) {
            for &j in &argsort_reversed(end) {
                if offsets[i].is_some() && offsets[j].is_some() && i <= j && j - i < max_answer_len {
                    all.push((start[i] + end[j], Some((w, i, j))));
                }
            }
        }
    }
    all.push((null, None));
    all.sort_by(|a, b| by_score(a.0, b.0));
    all.truncate(20);
    if !all.iter().any(|(_, place)| place.is_none()) {
        all.push((null, None));
    }
    (all, null)
}

fn decode(windows: &[Window], max_answer_len: usize, context: &str) -> Decoded {
    let mut decoder = Decoder::new(max_answer_len);
    for (start, end, offsets) in windows {
        decoder.push(start, end, offsets);
    }
    decoder.finish(context)
}

fn plain(decoded: &Decoded) -> Vec<Plain> {
    decoded.n_best.iter().map(|e| (e.score, e.span.map(|s| (s.window, s.first, s.last)))).collect()
}

/// A window with context from token `from` on, except the last token; token k of the context is byte k.
fn window(random: &mut Random, len: usize, from: usize, levels: usize) -> Window {
    let mut logits = || (0..len).map(|_| random.index(levels) as f32 * 0.37 - 5.0).collect::<Vec<_>>();
    let (start, end) = (logits(), logits());
    let offsets = (0..len).map(|k| (from..len - 1).contains(&k).then(|| (k - from, k - from + 1))).collect();
    (start, end, offsets)
}

#[test]
fn equals_the_naive_decoder() {
    let context = "x".repeat(400);
    for seed in 0..400 {
        let random = &mut Random(seed);
        // Few levels make many ties; short windows have fewer than 20 positions.
        let levels = [2, 5, 40, 100_000][seed as usize % 4];
        let windows: Vec<Window> = (0..1 + random.index(5))
            .map(|_| {
                let len = [5, 12, 25, 60, 384][random.index(5)];
                let from = 2 + random.index((len - 3).min(20));
                window(random, len, from, levels)
            })
            .collect();
        let max_answer_len = 1 + random.index(40);
        let decoded = decode(&windows, max_answer_len, &context);
        let (expected, null) = naive(&windows, max_answer_len);
        assert_eq!(plain(&decoded), expected, "seed {seed}");
        assert_eq!(decoded.null_score, null, "seed {seed}");
        let best = expected.iter().position(|(_, place)| place.is_some());
        assert_eq!(decoded.best, best, "seed {seed}");
        let highest = expected[0].0 as f64;
        let sum: f64 = expected.iter().map(|(score, _)| (*score as f64 - highest).exp()).sum();
        for entry in &decoded.n_best {
            let exact = (entry.score as f64 - highest).exp() / sum;
            assert!((entry.probability as f64 - exact).abs() < 1e-6, "seed {seed}");
        }
    }
}

fn letters(n: usize) -> Vec<Option<(usize, usize)>> {
    (0..n).map(|k| (k >= 2).then(|| (k - 2, k - 1))).collect()
}

#[test]
fn one_window_by_hand() {
    let window = (vec![1.0, 9.0, 3.0, 0.0, 2.0], vec![0.5, 9.0, -1.0, 4.0, 1.0], letters(5));
    let decoded = decode(&[window], 30, "abc");
    let best = decoded.best().expect("there are candidates");
    assert_eq!((best.bytes.clone(), best.score), (0..2, 7.0));
    assert_eq!(decoded.null_score, 1.5);
    assert_eq!(decoded.null_odds, Some(-5.5));
    assert_eq!(decoded.answer(0.0), decoded.best());
    assert_eq!(decoded.answer(-5.5), decoded.best(), "equal to the threshold is an answer");
    assert_eq!(decoded.answer(-5.6), None);
    assert_eq!(decoded.n_best.len(), 7);
}

#[test]
fn the_lowest_null_of_all_windows_counts() {
    let one = (vec![8.0, 0.0, 1.0], vec![8.0, 0.0, 1.0], letters(3));
    let two = (vec![-4.0, 0.0, 0.5], vec![1.0, 0.0, 0.5], letters(3));
    let decoded = decode(&[one, two], 30, "a");
    assert_eq!(decoded.null_score, -3.0);
    assert_eq!(decoded.null_odds, Some(-5.0));
    assert_eq!(decoded.best().and_then(|b| b.span).map(|s| s.window), Some(0));
}

#[test]
fn null_is_added_back_below_twenty_better_candidates() {
    let n = 40;
    let logits: Vec<f32> = (0..n).map(|k| if k == 0 { -50.0 } else { k as f32 }).collect();
    let decoded = decode(&[(logits.clone(), logits, letters(n))], 30, &"a".repeat(n));
    assert_eq!(decoded.n_best.len(), 21);
    assert_eq!(decoded.n_best.last().map(|e| e.span), Some(None));
    assert_eq!(decoded.null().map(|e| e.score), Some(-100.0));
}

#[test]
fn question_positions_use_up_the_twenty_best() {
    // The 20 best starts are in the question: no start in the context is considered.
    let n = 30;
    let start: Vec<f32> = (0..n).map(|k| if k < 22 { 5.0 } else { 1.0 }).collect();
    let offsets: Vec<_> = (0..n).map(|k| (k >= 22).then(|| (k - 22, k - 21))).collect();
    let decoded = decode(&[(start, vec![1.0; n], offsets)], 30, &"a".repeat(n));
    assert_eq!(decoded.best, None);
    assert_eq!(decoded.null_odds, None);
    assert_eq!(decoded.answer(f32::INFINITY), None);
    assert_eq!(plain(&decoded), [(6.0, None)]);
    assert_eq!(decoded.n_best[0].probability, 1.0);
}

#[test]
fn length_counts_tokens_inclusively() {
    let mut start = vec![-9.0; 8];
    let mut end = vec![-9.0; 8];
    (start[2], end[5]) = (5.0, 5.0);
    let text = |max_answer_len| {
        let decoded = decode(&[(start.clone(), end.clone(), letters(8))], max_answer_len, "abcdef");
        decoded.best().map(|best| best.bytes.clone())
    };
    assert_eq!(text(4), Some(0..4));
    assert_ne!(text(3), Some(0..4));
}

#[test]
fn white_space_is_trimmed_and_never_an_answer() {
    let context = "\u{a0}in \u{3000}Paris ";
    let offsets = vec![None, Some((0, 4)), Some((4, 8)), Some((8, 14)), Some((13, 14)), None];
    let spans = |first: usize, last: usize| {
        let mut start = vec![0.0; 6];
        let mut end = vec![0.0; 6];
        (start[first], end[last]) = (9.0, 9.0);
        decode(&[(start, end, offsets.clone())], 30, context)
    };
    let decoded = spans(3, 4);
    assert_eq!(decoded.best().and_then(|b| context.get(b.bytes.clone())), Some("Paris"));
    let decoded = spans(1, 1);
    assert_eq!(decoded.best().and_then(|b| context.get(b.bytes.clone())), Some("in"));
    let decoded = spans(2, 2);
    assert_eq!(decoded.n_best[0].bytes.len(), 0);
    assert_ne!(decoded.best, Some(0));
}

#[test]
fn offsets_inside_characters_are_widened() {
    let context = "né ☕!";
    for (offsets, expected) in
        [((2, 2), "é"), ((0, 2), "né"), ((5, 6), "☕"), ((5, 99), "☕!"), ((99, 120), ""), ((4, 1), "")]
    {
        let window = (vec![0.0; 2], vec![0.0; 2], vec![None, Some(offsets)]);
        let decoded = decode(&[window], 30, context);
        let entry = decoded.n_best.iter().find(|e| e.span.is_some()).expect("one candidate");
        assert_eq!(&context[entry.bytes.clone()], expected, "{offsets:?}");
    }
}

#[test]
fn degenerate_input_gives_no_answer() {
    assert_eq!(decode(&[], 30, "abc").n_best.len(), 0);
    assert_eq!(decode(&[(vec![], vec![], vec![])], 30, "abc").best, None);
    let nan = (vec![f32::NAN; 5], vec![-f32::NAN; 5], letters(5));
    assert!(decode(&[nan], 30, "abc").n_best.len() > 1);
    let short = (vec![1.0; 5], vec![1.0; 3], letters(4));
    assert_eq!(decode(&[short], 30, "abc").best().map(|b| b.bytes.clone()), Some(0..1));
    assert_eq!(decode(&[(vec![1.0; 5], vec![1.0; 5], letters(5))], 0, "abc").best, None);
}

#[test]
fn zeros_of_both_signs_are_equal() {
    assert_eq!(highest(&[0.0, -0.0, 0.0]).as_slice(), [(2, 0.0), (1, -0.0), (0, 0.0)]);
}
