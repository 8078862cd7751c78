//! Scores as exact sums of products of bytes, for CPUs that add those of four bytes to a lane in few instructions.
//!
//! The position tables are laid out by distance, once per head. Then, for one query and 16 neighbouring keys, the table rows that
//! belong to the keys lie next to each other, and all three products of a score are sums over groups of four bytes of the
//! same 16 lanes:
//!
//! ```text
//! q_i . k_j        the query's bytes in all lanes     times   the keys'
//! q_i . Kr[r]      the query's bytes in all lanes     times   a window of Kr, from distance i - j on
//! k_j . Qr[r]      a window of Qr, from i - j on      times   the keys'
//! ```
//!
//! The windows of query `i + 16` and the next 16 keys are the same, so a tile goes along the diagonal.

use std::ops::Range;

use super::rows::{quantize, rows_of};
use super::weights::Values;
use super::{Block, Input, Positions, Row, Shape, Table, stride};
use crate::kernels::layout::KG;
use crate::kernels::room;
use crate::kernels::score_products::{self, GROUP, GROUPS, ROWS, Sums};
use crate::kernels::simd::{Dot, LANES, Simd, TaskDot};

/// Whether all tables are there, in int8, and sums cannot overflow.
pub(super) fn serves(input: &Input<'_>) -> bool {
    let tables = input.positions.map(|positions| (positions.key, positions.query));
    matches!(tables, Some((Some(Table::Int8 { .. }), Some(Table::Int8 { .. })))) && input.shape.head_dim <= 1 << 14
}

/// Operands of one head. Lengths are rounded up to 16 tokens, head widths to [`GROUPS`] groups of 4; what is added is zero.
#[derive(Debug, Default)]
pub(super) struct Operands {
    /// Queries: `[length, groups, 4]`, in the form of [`Dot::dot`]'s first operand.
    queries: Vec<u8>,
    /// Scale of every query, divided by that of the scores.
    query_scales: Vec<f32>,
    /// Keys: `[length / 16, groups, 16, 4]`.
    keys: Vec<u8>,
    key_scales: Vec<f32>,
    /// What the sums start with where [`Dot::FLIP`] is not 0, so that first operands are not the numbers themselves; for every key.
    key_starts: Vec<i32>,
    values: Values,
    position_keys: ByDistance,
    position_queries: ByDistance,
    /// 16 quantised rows.
    bytes: Vec<i8>,
}

/// A position table of one head in the order of distances: entry `e` belongs to the distance `length - 1 - e`, for a length that
/// is rounded up to 16.
#[derive(Debug, Default)]
struct ByDistance {
    /// `[groups, entries, 4]`, groups [`distance_stride`] apart.
    values: Vec<u8>,
    /// One per entry.
    scales: Vec<f32>,
    /// One per entry; see [`Operands::key_starts`].
    starts: Vec<i32>,
}

fn groups(input: &Input<'_>) -> usize {
    input.shape.head_dim.div_ceil(KG).next_multiple_of(GROUPS)
}

fn padded(input: &Input<'_>) -> usize {
    input.length.next_multiple_of(LANES)
}

/// Bytes between the groups of a table by distance: an odd number of cache lines, so that they spread over the whole cache.
fn distance_stride(padded: usize) -> usize {
    ((2 * padded * KG / GROUP) | 1) * GROUP
}

/// Prepares the operands of one head.
pub(super) struct Load<'a, 'b> {
    pub input: Input<'a>,
    pub head: usize,
    pub to: &'b mut Operands,
}

impl<'a> TaskDot for Load<'a, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, D: Dot<S>>(self, s: S, d: D) {
        let Self { input, head, to } = self;
        to.values.load(s, &input, head);
        to.load_content(s, d, &input, head);
        let Some(positions) = input.positions else { return };
        let rows = |table| TableRows { table, positions, shape: input.shape, head, padded: padded(&input) };
        to.position_keys.load(s, d, &input, rows(positions.key), 0);
        to.position_queries.load(s, d, &input, rows(positions.query), D::FLIP);
        let factor = 1.0 / input.shape.scale;
        to.position_queries.scales.iter_mut().for_each(|scale| *scale *= factor);
    }
}

/// One head's part of a position table.
struct TableRows<'a> {
    table: Option<Table<'a>>,
    positions: Positions<'a>,
    shape: Shape,
    head: usize,
    /// The length, rounded up to 16.
    padded: usize,
}

impl<'a> TableRows<'a> {
    /// The bytes and the scale of an entry of [`ByDistance`].
    #[inline(always)]
    fn of_entry(&self, entry: usize) -> (&'a [i8], f32) {
        let row = self.positions.distances.row(self.padded as isize - 1 - entry as isize);
        match self.table.map(|table| table.part(self.shape, row, self.head)) {
            Some(Row::Int8 { values, scale }) => (values, scale),
            _ => (&[], 0.0),
        }
    }
}

impl ByDistance {
    /// Arranges the rows of a table; what is stored of the bytes is xored with `flip`.
    #[inline(always)]
    fn load<S: Simd, D: Dot<S>>(&mut self, s: S, d: D, input: &Input<'_>, table: TableRows<'_>, flip: u8) {
        let entries = 2 * padded(input);
        let stride = distance_stride(padded(input));
        let values = room(&mut self.values, groups(input) * stride);
        let scales = room(&mut self.scales, entries);
        let starts = room(&mut self.starts, entries);
        for first in (0..entries).step_by(LANES) {
            let mut rows = [&[][..]; LANES];
            for (r, row) in rows.iter_mut().enumerate() {
                (*row, scales[first + r]) = table.of_entry(first + r);
            }
            interleave(s, groups(input), &rows, flip, &mut values[first * KG..], stride);
            if D::FLIP == 0 {
                continue;
            }
            let mut sums = s.load_i32(&[0; LANES]);
            for group in 0..groups(input) {
                let bytes = values[group * stride + first * KG..].first_chunk().expect("64 bytes");
                sums = d.dot(sums, d.splat(&[1; KG]), d.load(bytes));
            }
            set_starts::<S, D>(&s.array_i32(sums), &mut starts[first..]);
        }
    }
}

/// What sums of products start with, where the second operand's bytes have these sums: the first operand counts too much by
/// [`Dot::FLIP`] in every byte.
#[inline(always)]
fn set_starts<S: Simd, D: Dot<S>>(sums: &[i32; LANES], starts: &mut [i32]) {
    for (start, sum) in starts.iter_mut().zip(sums) {
        *start = -(i32::from(D::FLIP) * sum);
    }
}

/// Writes four bytes of each of 16 rows side by side, xored with `flip`, for every group; groups are `stride` apart. What rows do
/// not have is zero.
#[inline(always)]
fn interleave<S: Simd>(s: S, groups: usize, rows: &[&[i8]; LANES], flip: u8, to: &mut [u8], stride: usize) {
    for first in (0..groups).step_by(LANES) {
        let mut square = [s.splat(0.0); LANES];
        for (vector, row) in square.iter_mut().zip(rows) {
            let bytes = row.get(first * KG..).unwrap_or_default();
            *vector = if let Some(bytes) = bytes.first_chunk() {
                load_bytes(s, bytes, flip)
            } else {
                let mut block = [0; GROUP];
                block[..bytes.len()].copy_from_slice(bytes);
                load_bytes(s, &block, flip)
            };
        }
        s.transpose(&mut square);
        for (group, vector) in (first..groups).zip(square) {
            let mut lanes = [0.0; LANES];
            s.store(vector, &mut lanes);
            to[group * stride..][..GROUP].copy_from_slice(bytemuck::bytes_of(&lanes));
        }
    }
}

/// Bytes, xored with `flip`, as the bits of a vector.
#[inline(always)]
fn load_bytes<S: Simd>(s: S, bytes: &[i8; GROUP], flip: u8) -> S::F32 {
    s.load(&bytemuck::cast(std::array::from_fn::<_, GROUP, _>(|n| bytes[n] as u8 ^ flip)))
}

impl Operands {
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Quantises and arranges queries and keys.
    #[inline(always)]
    fn load_content<S: Simd, D: Dot<S>>(&mut self, s: S, _: D, input: &Input<'_>, head: usize) {
        let (width, groups, padded) = (input.shape.head_dim, groups(input), padded(input));
        let factor = 1.0 / input.shape.scale;
        let queries = room(&mut self.queries, padded * groups * KG);
        let query_scales = room(&mut self.query_scales, padded);
        let keys = room(&mut self.keys, padded * groups * KG);
        let key_scales = room(&mut self.key_scales, padded);
        let key_starts = room(&mut self.key_starts, padded);
        let bytes = room(&mut self.bytes, LANES * groups * KG);
        // What pads keys to whole groups is zero, so what pads queries does not count.
        for row in bytes.chunks_exact_mut(groups * KG) {
            row[width..].fill(0);
        }
        for first in (0..padded).step_by(LANES) {
            let to = bytemuck::cast_slice_mut(&mut queries[first * groups * KG..]);
            let rows = rows_of(input, 0, first, head);
            let quantized = quantize(s, width, &rows, D::FLIP.cast_signed(), to, groups * KG, false);
            query_scales[first..first + LANES].copy_from_slice(&quantized.scales.map(|scale| scale * factor));
            let quantized = quantize(s, width, &rows_of(input, 1, first, head), 0, bytes, groups * KG, D::FLIP != 0);
            let to = &mut keys[first * groups * KG..];
            let mut rows = [&[][..]; LANES];
            for (row, bytes) in rows.iter_mut().zip(bytes.chunks_exact(groups * KG)) {
                *row = bytes;
            }
            interleave(s, groups, &rows, 0, to, GROUP);
            key_scales[first..first + LANES].copy_from_slice(&quantized.scales);
            if D::FLIP != 0 {
                set_starts::<S, D>(&quantized.sums, &mut key_starts[first..]);
            }
        }
    }

    /// Scores of a block of queries with all keys.
    #[inline(always)]
    pub fn scores<S: Simd, D: Dot<S>>(&self, s: S, d: D, input: &Input<'_>, queries: Range<usize>, block: &mut Block) {
        let (panels, squares) = (padded(input) / LANES, queries.len().div_ceil(LANES));
        let stride = stride(input.length);
        let scores = room(&mut block.scores, squares * LANES * stride);
        // Diagonals of squares of 16 queries and 16 keys, from the lower left to the upper right.
        for diagonal in 0..panels + squares - 1 {
            let mut square = (squares - 1).saturating_sub(diagonal);
            while square < squares && square + diagonal < panels + squares - 1 {
                let panel = square + diagonal + 1 - squares;
                let left = (squares - square).min(panels - panel);
                let at = Place { query: queries.start + square * LANES, panel, padded: panels * LANES, stride };
                let scores = &mut scores[square * LANES * stride..];
                // Constants first, so that no code is made for what an instruction set has no registers for.
                square += if D::SQUARES >= 4 && left >= 4 {
                    self.squares::<S, D, 4>(s, d, input, at, scores)
                } else if D::SQUARES >= 2 && left >= 2 {
                    self.squares::<S, D, 2>(s, d, input, at, scores)
                } else {
                    self.squares::<S, D, 1>(s, d, input, at, scores)
                };
            }
        }
    }

    /// Scores of `T` squares of 16 queries and 16 keys along the diagonal from `at` on. Returns `T`.
    #[inline(always)]
    fn squares<S: Simd, D: Dot<S>, const T: usize>(
        &self,
        s: S,
        d: D,
        input: &Input<'_>,
        at: Place,
        scores: &mut [f32],
    ) -> usize {
        let groups = groups(input);
        let (all_queries, _) = self.queries.as_chunks::<KG>();
        let (all_keys, _) = self.keys.as_chunks::<GROUP>();
        // The window of the first row begins with this entry; that of the last one, 15 entries before.
        let entry = at.padded - 1 - at.query + at.panel * LANES;
        let first = entry - (LANES - 1);
        let mut squares = score_products::Squares {
            queries: [&all_queries[..0]; T],
            keys: [&all_keys[..0]; T],
            position_keys: &self.position_keys.values,
            position_queries: &self.position_queries.values,
            stride: distance_stride(at.padded),
            entry,
        };
        let mut factors = Factors {
            query_scales: [&[0.0; LANES]; T],
            key_scales: [s.splat(0.0); T],
            key_starts: [s.load_i32(&[0; LANES]); T],
            to_position_scales: window(&self.position_keys.scales, first),
            to_position_starts: if D::FLIP == 0 { &[0; WINDOW] } else { window(&self.position_keys.starts, first) },
            of_position_scales: window(&self.position_queries.scales, first),
        };
        for t in 0..T {
            let (query, key) = (at.query + t * LANES, (at.panel + t) * LANES);
            squares.queries[t] = &all_queries[query * groups..][..LANES * groups];
            squares.keys[t] = &all_keys[(at.panel + t) * groups..][..groups];
            factors.query_scales[t] = window(&self.query_scales, query);
            factors.key_scales[t] = s.load(window(&self.key_scales, key));
            if D::FLIP != 0 {
                factors.key_starts[t] = s.load_i32(window(&self.key_starts, key));
            }
        }
        let operands = score_products::Operands::new(squares);
        // The scores of the last row and square end here.
        let scores = &mut scores[..(T * LANES - 1) * at.stride + (at.panel + T) * LANES];
        for row in (0..LANES).step_by(ROWS) {
            tile(s, d, &operands, &factors, row, at, scores);
        }
        T
    }
}

/// Scores of [`ROWS`] queries of each square, from `row` on.
#[inline(always)]
fn tile<S: Simd, D: Dot<S>, const T: usize>(
    s: S,
    d: D,
    operands: &score_products::Operands<'_, T>,
    factors: &Factors<'_, S, T>,
    row: usize,
    at: Place,
    scores: &mut [f32],
) {
    let zero = [[s.load_i32(&[0; LANES]); ROWS]; T];
    let mut sums = Sums { content: zero, to_position: zero, of_position: zero };
    if D::FLIP != 0 {
        for t in 0..T {
            for r in 0..ROWS {
                let start = factors.key_starts[t];
                sums.content[t][r] = start;
                sums.of_position[t][r] = start;
                sums.to_position[t][r] = s.load_i32(of_row(factors.to_position_starts, row + r));
            }
        }
    }
    let sums = d.score_sums(operands, row, sums);
    for t in 0..T {
        for r in 0..ROWS {
            let to_position_scales = s.load(of_row(factors.to_position_scales, row + r));
            let of_position_scales = s.load(of_row(factors.of_position_scales, row + r));
            let by_query = s.mul_add(
                s.to_f32(sums.to_position[t][r]),
                to_position_scales,
                s.mul(s.to_f32(sums.content[t][r]), factors.key_scales[t]),
            );
            let by_key = s.mul(s.mul(s.to_f32(sums.of_position[t][r]), of_position_scales), factors.key_scales[t]);
            let score = s.mul_add(by_query, s.splat(factors.query_scales[t][row + r]), by_key);
            let to = (t * LANES + row + r) * at.stride + (at.panel + t) * LANES;
            s.store(score, scores[to..].first_chunk_mut().expect("16 scores"));
        }
    }
}

/// Entries of a table by distance that belong to the 16 queries and 16 keys of a square.
const WINDOW: usize = 2 * LANES - 1;

/// What the sums of `T` squares along a diagonal start with and are multiplied by.
struct Factors<'a, S: Simd, const T: usize> {
    query_scales: [&'a [f32; LANES]; T],
    key_scales: [S::F32; T],
    /// See [`Operands::key_starts`].
    key_starts: [S::I32; T],
    /// The entries that belong to the squares; see [`of_row`].
    to_position_scales: &'a [f32; WINDOW],
    to_position_starts: &'a [i32; WINDOW],
    of_position_scales: &'a [f32; WINDOW],
}

/// The entries of a window that belong to query `row` of a square.
#[inline(always)]
fn of_row<T>(window: &[T; WINDOW], row: usize) -> &[T; LANES] {
    window[LANES - 1 - row..].first_chunk().expect("16 entries")
}

/// Where squares along a diagonal lie.
#[derive(Clone, Copy)]
struct Place {
    /// The first query of the first one.
    query: usize,
    /// The 16 keys of the first one.
    panel: usize,
    /// The length, rounded up to 16.
    padded: usize,
    /// Distance between rows of scores.
    stride: usize,
}

#[inline(always)]
fn window<T, const N: usize>(values: &[T], from: usize) -> &[T; N] {
    values[from..].first_chunk().expect("values of a square")
}
