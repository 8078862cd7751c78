//! Disentangled attention, in blocks of queries.
//!
//! First the operands of every head are brought into the order that products want (`float::Operands`, `int8::Operands`); then,
//! block by block of queries, scores of all keys are computed, turned into weights, and values added up (`weights`).
//! Memory grows with the length, not with its square.
//!
//! Position tables in `f32` give scores and outputs in `f32` (`float`). With int8 tables, queries and keys are quantised as well (`rows`), and
//! the three products of a score are exact integers where there are vector instructions for that (`int8`); elsewhere the same values
//! are multiplied in `f32`, which gives the same scores but for rounding. Weights and values are then quantised, too (`int8_values`), and
//! multiplied by the kernel of the linear layers.

mod distances;
mod float;
mod int8;
mod int8_values;
mod rows;
mod weights;

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::vec;

use super::columns::Columns;
use super::cpu::Isa;
use super::gemm::{self, Kernel};
use super::layout::MAX_K;
use super::room;
use super::simd::{Dot, LANES, Simd, Task, TaskDot};
use super::transposed::Row;
use crate::threads::{Threads, cut};

pub use distances::Distances;

/// Queries of a block: their scores, for some hundred keys, stay in the second-level cache.
const BLOCK: usize = 64;

/// Blocks of each thread that are enough to keep all threads busy to the end.
const SHARE: usize = 3;

/// The shape of multi-head attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Number of heads.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Divisor of the scores.
    pub scale: f32,
}

impl Shape {
    fn hidden(&self) -> usize {
        self.heads * self.head_dim
    }
}

/// A table of relative positions, projected through a layer's key or query weights: `[rows, heads * head_dim]`.
#[derive(Clone, Copy, Debug)]
pub enum Table<'a> {
    /// Values as they are.
    F32(&'a [f32]),
    /// `real value = value * scale`.
    Int8 {
        /// The values, in `[-127, 127]`: with -128, scores are unspecified.
        values: &'a [i8],
        /// `[rows, heads]`.
        scales: &'a [f32],
    },
}

impl<'a> Table<'a> {
    /// The part of a row that belongs to a head.
    #[inline(always)]
    fn part(&self, shape: Shape, row: usize, head: usize) -> Row<'a> {
        let start = row * shape.hidden() + head * shape.head_dim;
        match self {
            Table::F32(values) => Row::F32(&values[start..][..shape.head_dim]),
            Table::Int8 { values, scales } => {
                Row::Int8 { values: &values[start..][..shape.head_dim], scale: scales[row * shape.heads + head] }
            }
        }
    }

    fn holds(&self, shape: Shape, rows: usize) -> bool {
        match self {
            Table::F32(values) => values.len() >= rows * shape.hidden(),
            Table::Int8 { values, scales } => {
                values.len() >= rows * shape.hidden() && scales.len() >= rows * shape.heads
            }
        }
    }

    fn is_int8(&self) -> bool {
        matches!(self, Table::Int8 { .. })
    }
}

/// Relative positions.
#[derive(Clone, Copy, Debug)]
pub struct Positions<'a> {
    /// Table rows by distance.
    pub distances: &'a Distances,
    /// `Kr` of the content-to-position term.
    pub key: Option<Table<'a>>,
    /// `Qr` of the position-to-content term.
    pub query: Option<Table<'a>>,
}

impl Positions<'_> {
    /// Whether all tables are in int8.
    fn is_int8(&self) -> bool {
        [self.key, self.query].iter().flatten().all(Table::is_int8) && (self.key.is_some() || self.query.is_some())
    }
}

/// Memory of [`attention`], kept from call to call.
#[derive(Debug, Default)]
pub struct Scratch {
    float: Vec<float::Operands>,
    int8: Vec<int8::Operands>,
    blocks: Vec<Block>,
}

/// Attention of one sequence without padding. `qkv` holds queries, keys and values side by side, `[length, 3 * hidden]` with
/// `hidden = heads * head_dim`; `out` is `[length, hidden]`. For each head, with `r` the table row of the distance `i - j`:
///
/// ```text
/// score(i, j) = (q_i . k_j + q_i . Kr[r] + k_j . Qr[r]) / scale        out_i = sum_j softmax_j(score(i, j)) v_j
/// ```
///
/// With int8 tables, `q_i` and `k_j` are quantised symmetrically first, with one scale per token and head: `max |x| / 127`. So are values
/// less their mean over all tokens, with one scale per column; and the lower parts of weights, with one scale per query: what weights have above an
/// eighth of the sum of all but the largest is multiplied as it is, and so are the means.
///
/// The result does not depend on the number of threads. What is not finite makes the outputs that depend on it not finite; but without int8
/// tables, a score of minus infinity, of an infinite query or key, is no weight, and with them, finite values too large to be added are as
/// infinite ones.
///
/// # Panics
/// If lengths do not agree, or there are more than 2^16 tokens.
pub fn attention(
    threads: &Threads,
    shape: Shape,
    qkv: &[f32],
    positions: Option<Positions<'_>>,
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    run(Machine { isa: Isa::chosen(), kernel: gemm::chosen(), threads }, shape, qkv, positions, scratch, out);
}

/// What computes.
#[derive(Clone, Copy)]
struct Machine<'a> {
    isa: Isa,
    /// Multiplies weights with values in int8.
    kernel: &'a Kernel,
    threads: &'a Threads,
}

fn run(
    machine: Machine<'_>,
    shape: Shape,
    qkv: &[f32],
    positions: Option<Positions<'_>>,
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    let hidden = shape.hidden();
    assert!(hidden > 0 && qkv.len() == 3 * out.len() && out.len().is_multiple_of(hidden), "lengths do not agree");
    let length = out.len() / hidden;
    if length == 0 {
        return;
    }
    // Sums of a column's bytes are added in `f32`, and products in `i32`.
    assert!(length <= MAX_K, "{length} tokens");
    if let Some(positions) = positions {
        assert_eq!(positions.distances.length(), length, "distances of another length");
        let rows = positions.distances.last_row() + 1;
        let tables = [positions.key, positions.query];
        assert!(tables.iter().flatten().all(|table| table.holds(shape, rows)), "tables of fewer than {rows} rows");
    }
    let Machine { isa, kernel, threads } = machine;
    let input = Input { kernel, shape, length, qkv, positions };
    let Scratch { float, int8, blocks } = scratch;
    let most = block_len(shape.heads, length, threads.count());
    let ranges = (0..length).step_by(most).map(|first| first..length.min(first + most));
    let outputs = cut(out, ranges.clone().map(|queries| queries.len() * hidden));
    let mut items: Vec<Item<'_>> = Vec::with_capacity(ranges.len() * shape.heads);
    for (queries, out) in ranges.zip(outputs) {
        let columns = Columns::of(out, hidden).cut(std::iter::repeat_n(shape.head_dim, shape.heads));
        items.extend(columns.enumerate().map(|(head, out)| Item { queries: queries.clone(), head, out }));
    }
    // A head's operands stay in the cache from block to block.
    items.sort_unstable_by_key(|item| (item.head, item.queries.start));
    let workers = threads.count().min(items.len());
    blocks.resize_with(workers.max(blocks.len()), Block::default);
    let (blocks, items) = (&mut blocks[..workers], &Mutex::new(items.into_iter()));
    if input.is_int8() {
        // Whoever computes most, so that a run does not need more memory than one before.
        blocks.iter_mut().for_each(|block| block.make_room(&input, most));
    }
    if let Some(dot) = isa.dot().filter(|_| int8::serves(&input)) {
        int8.resize_with(int8.len().max(shape.heads), Default::default);
        let heads = &mut int8[..shape.heads];
        let mut numbered: Vec<_> = heads.iter_mut().enumerate().collect();
        threads.for_each(&mut numbered, |(head, to)| dot.run(int8::Load { input, head: *head, to }));
        let heads = &int8[..shape.heads];
        threads.for_each(blocks, |block| dot.run(Attend { input, heads, items, block }));
    } else {
        float.resize_with(float.len().max(shape.heads), Default::default);
        let heads = &mut float[..shape.heads];
        let mut numbered: Vec<_> = heads.iter_mut().enumerate().collect();
        threads.for_each(&mut numbered, |(head, to)| isa.run(float::Load { input, head: *head, to }));
        let heads = &float[..shape.heads];
        threads.for_each(blocks, |block| isa.run(Attend { input, heads, items, block }));
    }
}

/// What attention is computed of.
#[derive(Clone, Copy)]
struct Input<'a> {
    /// Multiplies weights with values in int8.
    kernel: &'a Kernel,
    shape: Shape,
    length: usize,
    qkv: &'a [f32],
    positions: Option<Positions<'a>>,
}

impl<'a> Input<'a> {
    /// Whether queries, keys, weights and values are quantised.
    #[inline(always)]
    fn is_int8(&self) -> bool {
        self.positions.is_some_and(|positions| positions.is_int8())
    }

    /// Query (`part` 0), key (1) or value (2) of a token and head.
    #[inline(always)]
    fn part(&self, part: usize, token: usize, head: usize) -> &'a [f32] {
        let Shape { head_dim, .. } = self.shape;
        &self.qkv[(3 * token + part) * self.shape.hidden() + head * head_dim..][..head_dim]
    }
}

/// How many queries a block has: so many that there are enough blocks for all threads, as smaller ones go through all keys more often.
fn block_len(heads: usize, length: usize, threads: usize) -> usize {
    let mut len = BLOCK;
    while threads > 1 && len > LANES && heads * length.div_ceil(len) < SHARE * threads {
        len /= 2;
    }
    len
}

/// A block of queries for one head.
struct Item<'a> {
    queries: Range<usize>,
    head: usize,
    /// Per query, the outputs of the head.
    out: Columns<'a>,
}

/// What is left to do, for whichever thread comes first.
type Items<'a> = Mutex<vec::IntoIter<Item<'a>>>;

fn next<'a>(items: &Items<'a>) -> Option<Item<'a>> {
    items.lock().unwrap_or_else(PoisonError::into_inner).next()
}

/// One block's intermediate results, kept from block to block.
#[derive(Debug, Default)]
struct Block {
    /// Scores, then their exponentials: `[BLOCK, length]`, rows [`stride`] of the length apart.
    scores: Vec<f32>,
    /// `Q Kr^T`: `[BLOCK, table rows in use]`.
    content_to_position: Vec<f32>,
    /// `K Qr^T` of 16 keys: `[16, table rows in use]`.
    position_to_content: Vec<f32>,
    /// Outputs: `[BLOCK, head_dim]`.
    outputs: Vec<f32>,
    /// What a query's outputs are divided by.
    sums: Vec<f32>,
    /// Weights in int8: `[BLOCK, length]`, rows rounded up to 16.
    bytes: Vec<i8>,
    /// These as [`Kernel::arrange_rows`](super::gemm::Kernel::arrange_rows) arranges them.
    arranged: Vec<i8>,
    /// Per query, the weight that a step of these stands for, and the one that byte 0 stands for, divided by the sum of all.
    scales: Vec<f32>,
    offsets: Vec<f32>,
}

impl Block {
    /// Makes room for the largest results of so many queries, where weights are in int8.
    fn make_room(&mut self, input: &Input<'_>, queries: usize) {
        let (length, kernel) = (input.length, input.kernel);
        let padded = length.next_multiple_of(LANES);
        room(&mut self.scores, queries.next_multiple_of(LANES) * stride(length));
        room(&mut self.bytes, queries * padded);
        let arranged = queries.div_ceil(kernel.row_step) * kernel.arranged_rows_len(padded);
        self.arranged.reserve(arranged.saturating_sub(self.arranged.len()));
    }
}

/// Attention of block after block, as long as there are any.
struct Attend<'a, 'b, O> {
    input: Input<'a>,
    /// Operands of every head.
    heads: &'a [O],
    items: &'a Items<'b>,
    block: &'a mut Block,
}

// Loops, not closures: a closure is compiled without the instruction set of the function around it.

impl Task for Attend<'_, '_, float::Operands> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { input, heads, items, block } = self;
        while let Some(Item { queries, head, mut out }) = next(items) {
            let operands = &heads[head];
            operands.scores(s, &input, queries.clone(), block);
            weights::outputs(s, &input, operands.values(), queries.len(), block, &mut out);
        }
    }
}

impl TaskDot for Attend<'_, '_, int8::Operands> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, D: Dot<S>>(self, s: S, d: D) {
        let Self { input, heads, items, block } = self;
        while let Some(Item { queries, head, mut out }) = next(items) {
            let operands = &heads[head];
            operands.scores(s, d, &input, queries.clone(), block);
            weights::outputs(s, &input, operands.values(), queries.len(), block, &mut out);
        }
    }
}

/// Distance between rows of a matrix of at least `columns` columns: an odd number of cache lines, so that a column's values
/// spread over the whole cache.
fn stride(columns: usize) -> usize {
    (columns.div_ceil(LANES) | 1) * LANES
}

#[cfg(test)]
mod tests;
