//! The three products of a score, of a few queries and 16 keys at a time.

use super::layout::KG;
use super::simd::{Dot, LANES, Simd};

/// Bytes of one group of 16 lanes.
pub(super) const GROUP: usize = LANES * KG;
/// The number of groups is a multiple of this: what is added is zero.
pub(super) const GROUPS: usize = 4;
/// Queries that share the keys of a tile.
pub(super) const ROWS: usize = 2;

/// What is multiplied: 16 queries and 16 keys of each of `T` squares along a diagonal, of which all have the same windows of the tables.
#[derive(Clone, Copy)]
pub(super) struct Squares<'a, const T: usize> {
    /// Groups of the queries, one query after the other.
    pub queries: [&'a [[u8; KG]]; T],
    /// Groups of 16 keys.
    pub keys: [&'a [[u8; GROUP]]; T],
    /// Groups of a table by distance, `stride` bytes apart. The window of a square's first query begins with entry `entry` of 4 bytes,
    /// and that of each next query with the entry before.
    pub position_keys: &'a [u8],
    /// As `position_keys`.
    pub position_queries: &'a [u8],
    pub stride: usize,
    pub entry: usize,
}

/// [`Squares`] that were checked.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a, const T: usize> {
    squares: Squares<'a, T>,
    groups: usize,
}

impl<'a, const T: usize> Operands<'a, T> {
    /// # Panics
    /// If there are no groups, not as many of everything, not a multiple of [`GROUPS`], or a window does not lie within a group of the
    /// tables.
    #[inline(always)]
    pub fn new(squares: Squares<'a, T>) -> Self {
        let Squares { position_keys, position_queries, stride, entry, .. } = squares;
        let groups = squares.keys.first().map_or(0, |keys| keys.len());
        assert!(groups > 0 && groups.is_multiple_of(GROUPS), "{groups} groups");
        for (queries, keys) in squares.queries.iter().zip(squares.keys) {
            let all = keys.len() == groups && groups.checked_mul(LANES) == Some(queries.len());
            assert!(all, "not {groups} groups of queries and keys");
        }
        let room = |table: &[u8]| groups.checked_mul(stride).is_some_and(|len| len <= table.len());
        assert!(room(position_keys) && room(position_queries), "tables of fewer than {groups} groups");
        let last = stride.saturating_sub(GROUP) / KG;
        assert!((LANES - 1..=last).contains(&entry), "entry {entry} is not one of 15 to {last}");
        Self { squares, groups }
    }

    /// How many groups there are of everything.
    #[inline(always)]
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// From each of these, [`Operands::groups`] groups can be read; of the tables, 64 bytes for every query, from `entry` less the query on.
    #[inline(always)]
    pub fn squares(&self) -> &Squares<'a, T> {
        &self.squares
    }
}

/// Sums of products for [`ROWS`] queries of every square, one per key.
#[derive(Clone, Copy)]
pub(super) struct Sums<I, const T: usize> {
    pub content: [[I; ROWS]; T],
    pub to_position: [[I; ROWS]; T],
    pub of_position: [[I; ROWS]; T],
}

/// The sums of the products of the queries from `row` on, group by group, and of `sums`.
///
/// # Panics
/// If a square has no such queries.
#[inline(always)]
pub(super) fn add<S: Simd, D: Dot<S>, const T: usize>(
    d: D,
    x: &Operands<'_, T>,
    row: usize,
    mut sums: Sums<S::I32, T>,
) -> Sums<S::I32, T> {
    let (groups, x) = (x.groups(), x.squares());
    let mut queries = [[&[[0; KG]; 0][..]; ROWS]; T];
    for (queries, of_square) in queries.iter_mut().zip(x.queries) {
        for (r, query) in queries.iter_mut().enumerate() {
            *query = &of_square[(row + r) * groups..][..groups];
        }
    }
    let tables = x.position_keys.chunks_exact(x.stride).zip(x.position_queries.chunks_exact(x.stride));
    for (group, (kr, qr)) in tables.enumerate().take(groups) {
        let mut windows = [(d.splat(&[0; KG]), d.splat(&[0; KG])); ROWS];
        for (r, to) in windows.iter_mut().enumerate() {
            *to = (d.load(window(kr, x.entry - row - r)), d.load(window(qr, x.entry - row - r)));
        }
        for (t, queries) in queries.iter().enumerate() {
            let key = d.load(&x.keys[t][group]);
            for (r, (kr, qr)) in windows.into_iter().enumerate() {
                let query = d.splat(&queries[r][group]);
                sums.content[t][r] = d.dot(sums.content[t][r], query, key);
                sums.to_position[t][r] = d.dot(sums.to_position[t][r], query, kr);
                sums.of_position[t][r] = d.dot(sums.of_position[t][r], qr, key);
            }
        }
    }
    sums
}

/// The bytes of 16 entries of a group from `entry` on.
#[inline(always)]
fn window(group: &[u8], entry: usize) -> &[u8; GROUP] {
    group[entry * KG..].first_chunk().expect("64 bytes")
}

#[cfg(test)]
mod tests {
    use super::super::cpu::Isa;
    use super::super::end_of_file::EndOfFile;
    use super::super::simd::TaskDot;
    use super::super::tested::isas;
    use super::*;
    use crate::skip::skipped;

    /// Operands of `T` squares at the ends of files, and the sums that naive loops find.
    struct Case<const T: usize> {
        groups: usize,
        entry: usize,
        /// `[T, 16, groups]`, `[T, groups, 16]`, and twice `[groups, ENTRIES]`, of four bytes each.
        bytes: [Vec<[i8; KG]>; 4],
    }

    /// Entries of a table.
    const ENTRIES: usize = 48;

    impl<const T: usize> Case<T> {
        fn new(groups: usize, entry: usize, mut byte: impl FnMut() -> i8) -> Self {
            let lengths = [T * LANES * groups, T * groups * LANES, groups * ENTRIES, groups * ENTRIES];
            Self { groups, entry, bytes: lengths.map(|len| (0..len).map(|_| [(); KG].map(|()| byte())).collect()) }
        }

        /// Content, to position, of position; square, query from `row` on, key. First operands count too much by `flip`.
        fn naive(&self, flip: u8, row: usize) -> Vec<i32> {
            let [queries, keys, kr, qr] = &self.bytes;
            let mut sums = Vec::new();
            for product in 0..3 {
                for (t, r, lane) in (0..T * ROWS * LANES).map(|i| (i / LANES / ROWS, row + i / LANES % ROWS, i % LANES))
                {
                    let mut sum = 0;
                    for g in 0..self.groups {
                        let query = queries[(t * LANES + r) * self.groups + g];
                        let key = keys[(t * self.groups + g) * LANES + lane];
                        let entry = g * ENTRIES + self.entry - r + lane;
                        let (a, b) = [(query, key), (query, kr[entry]), (qr[entry], key)][product];
                        sum +=
                            a.iter().zip(b).map(|(a, b)| (i32::from(*a) + i32::from(flip)) * i32::from(b)).sum::<i32>();
                    }
                    sums.push(sum);
                }
            }
            sums
        }
    }

    impl<const T: usize> TaskDot for &Case<T> {
        /// The sums, and the naive ones.
        type Output = (Vec<i32>, Vec<i32>);

        #[inline(always)]
        fn run<S: Simd, D: Dot<S>>(self, s: S, d: D) -> Self::Output {
            let [queries, keys, kr, qr] = &self.bytes;
            let unsigned = |bytes: &[[i8; KG]], flip: u8| -> EndOfFile<[u8; KG]> {
                EndOfFile::new(
                    &bytes.iter().map(|four| four.map(|byte| byte.cast_unsigned() ^ flip)).collect::<Vec<_>>(),
                )
            };
            let (queries, keys) = (unsigned(queries, D::FLIP), unsigned(keys, 0));
            let (kr, qr) = (unsigned(kr, 0), unsigned(qr, D::FLIP));
            let of_square = |t: usize| &queries.values()[t * LANES * self.groups..][..LANES * self.groups];
            let (keys, _) = keys.values().as_flattened().as_chunks();
            let operands = Operands::new(Squares {
                queries: std::array::from_fn(of_square),
                keys: std::array::from_fn(|t| &keys[t * self.groups..][..self.groups]),
                position_keys: kr.values().as_flattened(),
                position_queries: qr.values().as_flattened(),
                stride: ENTRIES * KG,
                entry: self.entry,
            });
            let zero = [[s.load_i32(&[0; LANES]); ROWS]; T];
            let zero = Sums { content: zero, to_position: zero, of_position: zero };
            let (mut got, mut want) = (Vec::new(), Vec::new());
            for row in (0..LANES).step_by(ROWS) {
                // The general code, too, where score sums have assembly of their own.
                for sums in [d.score_sums(&operands, row, zero), add(d, &operands, row, zero)] {
                    let all = [sums.content, sums.to_position, sums.of_position];
                    got.extend(all.into_iter().flatten().flatten().flat_map(|sum| s.array_i32(sum)));
                    want.extend(self.naive(D::FLIP, row));
                }
            }
            (got, want)
        }
    }

    fn check<const T: usize>(isa: Isa) {
        let Some(dot) = isa.dot() else { return };
        let mut state = 1u32;
        let mut random = move || {
            state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            (state >> 24) as u8
        };
        for groups in (GROUPS..=20).step_by(GROUPS) {
            for entry in [LANES - 1, 23, ENTRIES - LANES] {
                let any = Case::<T>::new(groups, entry, || random().cast_signed().max(-127));
                let extreme = Case::<T>::new(groups, entry, || if random() < 32 { 127 } else { -127 });
                for case in [any, extreme] {
                    let (got, want) = dot.run(&case);
                    assert_eq!(got, want, "{}: {T} squares, {groups} groups from entry {entry} on", isa.name());
                }
            }
        }
    }

    #[test]
    fn sums_equal_naive_ones_and_nothing_is_read_beyond_the_operands() {
        if isas().into_iter().all(|isa| isa.dot().is_none()) {
            skipped("sums_equal_naive_ones_and_nothing_is_read_beyond_the_operands: this CPU sums no bytes");
        }
        for isa in isas() {
            check::<1>(isa);
            check::<2>(isa);
            check::<4>(isa);
        }
    }

    #[test]
    fn missing_operands_are_refused() {
        let (queries, keys, table) = ([[0; KG]; 4 * LANES], [[0; GROUP]; 4], [0; 4 * ENTRIES * KG]);
        let good = Squares::<1> {
            queries: [&queries],
            keys: [&keys],
            position_keys: &table,
            position_queries: &table,
            stride: ENTRIES * KG,
            entry: LANES - 1,
        };
        assert_eq!(Operands::new(good).groups(), 4);
        for bad in [
            Squares { queries: [&[]], keys: [&[]], ..good },
            Squares { queries: [&queries[LANES..]], keys: [&keys[1..]], ..good },
            Squares { queries: [&queries[1..]], ..good },
            Squares { keys: [&keys[1..]], ..good },
            Squares { position_keys: &table[1..], ..good },
            Squares { position_queries: &table[1..], ..good },
            Squares { stride: 1 << (usize::BITS - 1), ..good },
            Squares { stride: 0, ..good },
            Squares { entry: LANES - 2, ..good },
            Squares { entry: ENTRIES - LANES + 1, ..good },
        ] {
            assert!(std::panic::catch_unwind(|| Operands::new(bad)).is_err());
        }
    }
}
