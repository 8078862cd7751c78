//! Attention in blocks equals attention by its formula, in `f64`.

mod case;
mod integers;
mod rounding;

use self::case::{Case, Rows, machines};
use super::*;

const TERMS: [(bool, bool); 4] = [(true, true), (true, false), (false, true), (false, false)];

#[test]
fn every_length_agrees_with_the_formula() {
    for length in [1, 2, 3, 7, 15, 16, 17, 31, 33, 63, 64, 65, 128, 129, 200, 384] {
        for int8 in [false, true] {
            Case::new(length, 2, 32, Rows::Shared, TERMS[0], int8).check();
        }
    }
}

#[test]
fn every_set_of_terms_and_every_head_width_agree_with_the_formula() {
    for terms in TERMS {
        for head_dim in [1, 6, 8, 20, 32, 64, 80] {
            for length in [1, 17, 70] {
                for int8 in [false, true] {
                    Case::new(length, 2, head_dim, Rows::Shared, terms, int8).check();
                }
            }
        }
    }
}

#[test]
fn every_way_to_share_rows_agrees_with_the_formula() {
    for rows in [Rows::Shared, Rows::Clamped, Rows::Skipping] {
        for length in [1, 5, 16, 33, 100, 300] {
            for int8 in [false, true] {
                Case::new(length, 1, 16, rows, TERMS[0], int8).check();
            }
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads_or_on_what_was_computed_before() {
    let mut scratch = Scratch::default();
    let threads: Vec<_> = [2, 3, 5]
        .map(|count| Threads::new(std::num::NonZeroUsize::new(count).expect("not 0"), false).expect("threads"))
        .into();
    for machine in machines(&Threads::one()) {
        for int8 in [false, true] {
            for (length, heads, head_dim) in [(130, 3, 24), (1, 3, 24), (40, 2, 27), (97, 5, 26), (40, 2, 3)] {
                let case = Case::new(length, heads, head_dim, Rows::Shared, TERMS[0], int8);
                let want = case.run(machine, &mut Scratch::default());
                for threads in &threads {
                    let got = case.run(Machine { threads, ..machine }, &mut scratch);
                    assert_eq!(got, want, "{} {int8}, {length} tokens, {} threads", machine.name(), threads.count());
                }
            }
        }
    }
}

/// Widths of heads that leave parts of vectors and of panels unused.
#[test]
fn what_was_not_finite_before_leaves_nothing_behind() {
    for (head_dim, int8) in [(80, false), (27, false), (80, true), (27, true)] {
        let case = Case::new(40, 2, head_dim, Rows::Shared, TERMS[0], int8);
        let mut bad = Case::new(40, 2, head_dim, Rows::Shared, TERMS[0], int8);
        bad.qkv.fill(f32::NAN);
        for machine in machines(&Threads::one()) {
            let mut scratch = Scratch::default();
            let out = bad.run(machine, &mut scratch);
            assert!(out.iter().all(|x| x.is_nan()), "{}", machine.name());
            let want = case.run(machine, &mut Scratch::default());
            assert!(want.iter().all(|x| x.is_finite()), "{}", machine.name());
            assert_eq!(case.run(machine, &mut scratch), want, "{} {head_dim} {int8}", machine.name());
        }
    }
}

/// What is not finite in one of two heads. Of values, only their own column is not, either.
#[test]
fn what_is_not_finite_stays_so_and_where_it_is() {
    // Too large to be added, which only int8 does.
    const HUGE: f32 = 3e38;
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, HUGE] {
        for (part, int8) in [(0, false), (1, false), (2, false), (0, true), (1, true), (2, true)] {
            if bad == HUGE && (part, int8) != (2, true) {
                continue;
            }
            let mut case = Case::new(20, 2, 8, Rows::Shared, TERMS[0], int8);
            case.qkv[7 * 48 + part * 16 + 3] = bad;
            case.qkv[8 * 48 + part * 16 + 3] = bad;
            for machine in machines(&Threads::one()) {
                let out = case.run(machine, &mut Scratch::default());
                let places = out.chunks(16).enumerate().flat_map(|(row, values)| {
                    values.iter().enumerate().filter(|(_, x)| !x.is_finite()).map(move |(column, _)| (row, column))
                });
                let places: Vec<_> = places.collect();
                assert!(places.iter().all(|(_, column)| *column < 8), "{} {bad}, {part}, {int8}", machine.name());
                let rows = (0..20).filter(|row| places.iter().any(|place| place.0 == *row));
                let rows: Vec<_> = rows.collect();
                let as_stated = match part {
                    0 => rows == [7, 8],
                    1 if !int8 && bad.is_infinite() => !rows.is_empty(),
                    1 => rows.len() == 20,
                    _ => rows.len() == 20 && places.iter().all(|(_, column)| *column == 3),
                };
                assert!(as_stated, "{} {bad} in part {part}, {int8}: {places:?}", machine.name());
            }
        }
    }
}

#[test]
fn rows_of_zeros_are_no_special_case() {
    for (int8, value) in [(true, 0.0), (true, 1e-42), (false, 0.0)] {
        let mut case = Case::new(20, 2, 8, Rows::Shared, TERMS[0], int8);
        // Queries and keys of both heads of a token.
        case.qkv[7 * 48..7 * 48 + 32].fill(value);
        case.check();
    }
}

/// Equal weights, of which all or all but one have no room below the cap, and values that are hard to quantise.
#[test]
fn weights_at_the_cap_and_columns_of_any_size_are_no_special_case() {
    for length in [2, 6, 7, 8, 9, 10, 17, 40] {
        for scores in [0.0, 1e-4] {
            let mut case = Case::new(length, 2, 20, Rows::Shared, TERMS[0], true);
            for (token, row) in case.qkv.chunks_exact_mut(120).enumerate() {
                row[..80].iter_mut().for_each(|x| *x *= scores);
                let sign = if token % 2 == 0 { 1.0 } else { -1.0 };
                row[80..86].copy_from_slice(&[
                    2.5,
                    0.0,
                    1e-42,
                    1000.0 + 0.5 * sign,
                    sign,
                    if token == 0 { 60.0 } else { 0.1 },
                ]);
            }
            case.check();
        }
    }
}

#[test]
fn blocks_are_enough_for_all_threads_or_as_small_as_can_be() {
    for (heads, length, threads, len) in [
        (6, 384, 1, BLOCK),
        (1, 3, 1, BLOCK),
        (6, 64, 2, BLOCK),
        (6, 384, 2, BLOCK),
        (6, 64, 4, BLOCK / 2),
        (1, 64, 2, LANES),
        (12, 512, 64, BLOCK / 2),
        (2, 1, 4, LANES),
    ] {
        assert_eq!(block_len(heads, length, threads), len, "{heads} heads, {length} tokens, {threads} threads");
    }
}

#[test]
fn lengths_are_checked() {
    let shape = Shape { heads: 1, head_dim: 2, scale: 1.0 };
    let panics = |f: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err();
    assert!(panics(&|| drop(Distances::new(vec![0; 4]))));
    assert!(panics(&|| drop(Distances::new(vec![2, 1, 0]))));
    let run = |rows: Vec<usize>, table: &[f32]| {
        let positions = Positions { distances: &Distances::new(rows), key: Some(Table::F32(table)), query: None };
        attention(&Threads::one(), shape, &[0.0; 12], Some(positions), &mut Scratch::default(), &mut [0.0; 4]);
    };
    assert!(!panics(&|| run(vec![0, 1, 2], &[0.0; 6])));
    assert!(panics(&|| run(vec![0, 1, 2], &[0.0; 5])), "a row is missing");
    assert!(panics(&|| run(vec![0], &[0.0; 6])), "distances of another length");
    let too_many = MAX_K + 1;
    let (qkv, mut out) = (vec![0.0; 6 * too_many], vec![0.0; 2 * too_many]);
    let run = || attention(&Threads::one(), shape, &qkv, None, &mut Scratch::default(), &mut out);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err(), "sums of more tokens may not fit");
}

#[test]
fn positions_without_tables_are_as_none() {
    let (shape, qkv) = (Shape { heads: 1, head_dim: 4, scale: 2.0 }, case::random(3 * 4 * 5, 9));
    let distances = Distances::new(vec![0; 9]);
    let run = |positions: Option<Positions<'_>>| {
        let mut out = vec![f32::NAN; 4 * 5];
        attention(&Threads::one(), shape, &qkv, positions, &mut Scratch::default(), &mut out);
        out
    };
    assert_eq!(run(Some(Positions { distances: &distances, key: None, query: None })), run(None));
}

/// Their mean is finite, and how far they are from it is not.
#[test]
fn values_too_far_apart_make_their_column_not_finite() {
    let mut case = Case::new(20, 1, 8, Rows::Shared, TERMS[0], true);
    for (token, row) in case.qkv.chunks_exact_mut(24).enumerate() {
        // Equal weights, none of which is above the cap.
        row[..16].fill(0.0);
        row[16 + 3] = [3.4e38, -3.4e38, -3.4e38].get(token).copied().unwrap_or(0.0);
    }
    for machine in machines(&Threads::one()) {
        for (i, x) in case.run(machine, &mut Scratch::default()).iter().enumerate() {
            assert_eq!(x.is_finite(), i % 8 != 3, "{} {i}: {x}", machine.name());
        }
    }
}
