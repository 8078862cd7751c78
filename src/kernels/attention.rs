//! Disentangled attention, in blocks of queries.
//!
//! For a block of queries, the scores of all keys are a product `Q K^T`. The content-to-position term is a product too,
//! `Q Kr^T` with the table rows that the block's distances reach; the entry that belongs to a key lies the further right, the
//! further right the key is, so that 16 neighbouring keys find theirs in 16 neighbouring columns. In the position-to-content
//! term, keys and queries change roles: for 16 keys at a time, `K Qr^T` is computed for the rows that the distances between
//! them and the block reach, and turned to lie beside the scores. Memory grows with the length, not with its square.

use super::cpu::Isa;
use super::gemm_f32::Product;
use super::math::exponentials;
use super::simd::{LANES, Simd, Task, load_part, store_part};
use super::transposed::Transposed;

pub use super::transposed::Row;

/// Queries of a block: their scores, for some hundred keys, stay in the second-level cache.
const BLOCK: usize = 64;

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

/// A table of relative positions, projected through a layer's key or query weights: `[rows, heads * head_dim]`.
pub trait PositionTable {
    /// The columns `from..from + len` of a row, which belong to one head.
    fn part(&self, row: usize, from: usize, len: usize) -> Row<'_>;
}

/// Relative positions.
#[derive(Clone, Copy)]
pub struct Positions<'a> {
    /// Row of every distance between a query and a key, from `-(length - 1)` to `length - 1`; rows must not descend.
    pub rows: &'a [usize],
    /// `Kr` of the content-to-position term.
    pub key: Option<&'a dyn PositionTable>,
    /// `Qr` of the position-to-content term.
    pub query: Option<&'a dyn PositionTable>,
}

/// Attention of one sequence without padding. `qkv` holds queries, keys and values side by side, `[length, 3 * hidden]` with
/// `hidden = heads * head_dim`; `out` is `[length, hidden]`. For each head, with `r = rows[i - j]`:
///
/// ```text
/// score(i, j) = (q_i . k_j + q_i . Kr[r] + k_j . Qr[r]) / scale        out_i = sum_j softmax_j(score(i, j)) v_j
/// ```
///
/// A value that is not finite makes outputs that depend on it not finite.
///
/// # Panics
/// If lengths do not agree, or `positions.rows` descend.
pub fn attention(shape: Shape, qkv: &[f32], positions: Option<Positions<'_>>, out: &mut [f32]) {
    run(Isa::chosen(), shape, qkv, positions, out);
}

fn run(isa: Isa, shape: Shape, qkv: &[f32], positions: Option<Positions<'_>>, out: &mut [f32]) {
    let hidden = shape.heads * shape.head_dim;
    assert!(hidden > 0 && qkv.len() == 3 * out.len() && out.len().is_multiple_of(hidden), "lengths do not agree");
    let length = out.len() / hidden;
    if length == 0 {
        return;
    }
    let index = positions.map(|positions| Index::new(positions, length));
    isa.run(Heads { shape, length, qkv, index, out });
}

/// Distance between rows of a matrix of at least `columns` columns: an odd number of cache lines, so that a column's values
/// spread over the whole cache.
fn stride(columns: usize) -> usize {
    (columns.div_ceil(LANES) | 1) * LANES
}

/// Where the entries of the relative terms lie.
struct Index<'a> {
    positions: Positions<'a>,
    length: usize,
    /// The first table row in use, and their number.
    first_row: usize,
    rows: usize,
    /// Columns of `Kr^T`, whose rows are held backwards, for the distances `length - 1`, ..., `-(length - 1)`: ascending with the
    /// key. Then 16 times the last.
    key_columns: Vec<u32>,
    /// Columns of `Qr^T` for the distances `-(length - 1)`, ..., `length - 1`: ascending with the query. Then 16 times the last.
    query_columns: Vec<u32>,
    /// Whether no column is skipped between neighbouring distances, as [`Simd::lookup`] wants it.
    dense: bool,
}

impl<'a> Index<'a> {
    fn new(positions: Positions<'a>, length: usize) -> Self {
        let rows = positions.rows;
        assert_eq!(rows.len(), 2 * length - 1, "rows of {length} tokens");
        assert!(rows.is_sorted(), "rows descend");
        let (first_row, last_row) = (rows[0], rows[rows.len() - 1]);
        let columns = |column: &dyn Fn(usize) -> usize| -> Vec<u32> {
            let beyond = std::iter::repeat_n(rows.len() - 1, LANES);
            (0..rows.len())
                .chain(beyond)
                .map(|i| u32::try_from(column(i)).expect("a table of less than 2^32 rows"))
                .collect()
        };
        Self {
            positions,
            length,
            first_row,
            rows: last_row - first_row + 1,
            key_columns: columns(&|i| last_row - rows[rows.len() - 1 - i]),
            query_columns: columns(&|i| rows[i] - first_row),
            dense: rows.windows(2).all(|pair| pair[1] - pair[0] <= 1),
        }
    }

    /// Columns of `Kr^T` for query `i` and the keys from `j` on.
    #[inline(always)]
    fn of_keys(&self, i: usize, j: usize) -> &[u32] {
        &self.key_columns[self.length - 1 + j - i..]
    }

    /// Columns of `Qr^T` for key `j` and the queries from `i` on.
    #[inline(always)]
    fn of_queries(&self, i: usize, j: usize) -> &[u32] {
        &self.query_columns[self.length - 1 + i - j..]
    }

    /// Lane `l` is the entry of column `columns[l]` in `values`, which begin with column `first`.
    #[inline(always)]
    fn lookup<S: Simd>(&self, s: S, values: &[f32], first: u32, columns: &[u32]) -> S::F32 {
        let columns: &[u32; LANES] = columns.first_chunk().expect("16 columns");
        if self.dense {
            let window = values[(columns[0] - first) as usize..].first_chunk().expect("16 values");
            s.lookup(window, columns)
        } else {
            s.load(&columns.map(|column| values[(column - first) as usize]))
        }
    }
}

/// Attention of all heads, with checked lengths.
struct Heads<'a> {
    shape: Shape,
    length: usize,
    qkv: &'a [f32],
    index: Option<Index<'a>>,
    out: &'a mut [f32],
}

impl Task for Heads<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape, length, qkv, index, out } = self;
        let index = index.as_ref();
        let (d, hidden) = (shape.head_dim, shape.heads * shape.head_dim);
        let mut scratch = Scratch::new(shape, length, index);
        for head in 0..shape.heads {
            let from = head * d;
            scratch.load(s, qkv, from, index);
            for first in (0..length).step_by(BLOCK) {
                let block = Block {
                    first,
                    end: length.min(first + BLOCK),
                    length,
                    depth: d,
                    qkv_stride: 3 * hidden,
                    queries: &qkv[from..],
                    keys: &qkv[hidden + from..],
                };
                block.scores(s, &mut scratch, index);
                block.weigh(s, &mut scratch, index);
                block.values(s, &mut scratch, &mut out[from..], hidden);
            }
        }
    }
}

/// One head's operands and one block's results; reused from head to head and block to block.
struct Scratch {
    shape: Shape,
    /// `K^T / scale`: `[head_dim, length]`.
    keys: Vec<f32>,
    keys_stride: usize,
    /// `V`: `[length, head_dim]`.
    values: Vec<f32>,
    values_stride: usize,
    /// `Kr^T / scale` backwards and `Qr^T / scale`: `[head_dim, rows in use]`. Empty if the term is absent.
    position_keys: Vec<f32>,
    position_queries: Vec<f32>,
    positions_stride: usize,
    /// A block's scores, then their exponentials: `[BLOCK, length]`.
    scores: Vec<f32>,
    /// A block's `Q Kr^T`: `[BLOCK, rows in use]`.
    content_to_position: Vec<f32>,
    /// `K Qr^T` of 16 keys: `[16, rows in use]`.
    position_to_content: Vec<f32>,
    /// A block's outputs: `[BLOCK, head_dim]`.
    outputs: Vec<f32>,
    /// What a query's outputs are divided by.
    sums: [f32; BLOCK],
}

impl Scratch {
    fn new(shape: Shape, length: usize, index: Option<&Index<'_>>) -> Self {
        let d = shape.head_dim;
        let block = BLOCK.min(length);
        let (keys_stride, values_stride) = (stride(length), d.next_multiple_of(LANES));
        // Products are computed in whole vectors and read in windows of 16 from any column on.
        let positions_stride = index.map_or(0, |index| stride(index.rows + LANES));
        let zeros = |len: usize| vec![0.0; len];
        let has = |term: fn(&Positions<'_>) -> bool| index.is_some_and(|index| term(&index.positions));
        let (key, query) = (has(|p| p.key.is_some()), has(|p| p.query.is_some()));
        let tables = |present: bool, rows| zeros(if present { rows * positions_stride } else { 0 });
        Self {
            shape,
            keys: zeros(d * keys_stride),
            keys_stride,
            values: zeros(length * values_stride),
            values_stride,
            position_keys: tables(key, d),
            position_queries: tables(query, d),
            positions_stride,
            scores: zeros(block * keys_stride),
            content_to_position: tables(key, block),
            position_to_content: tables(query, LANES),
            outputs: zeros(block * values_stride),
            sums: [0.0; BLOCK],
        }
    }

    /// Loads the head whose columns begin at `from`.
    #[inline(always)]
    fn load<S: Simd>(&mut self, s: S, qkv: &[f32], from: usize, index: Option<&Index<'_>>) {
        let (d, hidden) = (self.shape.head_dim, self.shape.heads * self.shape.head_dim);
        let length = qkv.len() / (3 * hidden);
        for (to, row) in self.values.chunks_exact_mut(self.values_stride).zip(qkv.chunks_exact(3 * hidden)) {
            to[..d].copy_from_slice(&row[2 * hidden + from..][..d]);
        }
        let factor = 1.0 / self.shape.scale;
        let key = |j: usize| Row::F32(&qkv[j * 3 * hidden + hidden + from..][..d]);
        let (to, stride) = (&mut self.keys[..], self.keys_stride);
        s.call(Transposed { read: key, rows: length, width: d, factor, to, stride });
        let Some(index) = index else { return };
        let (first_row, rows, stride) = (index.first_row, index.rows, self.positions_stride);
        if let Some(table) = index.positions.key {
            let read = |row: usize| table.part(first_row + rows - 1 - row, from, d);
            s.call(Transposed { read, rows, width: d, factor, to: &mut self.position_keys, stride });
        }
        if let Some(table) = index.positions.query {
            let read = |row: usize| table.part(first_row + row, from, d);
            s.call(Transposed { read, rows, width: d, factor, to: &mut self.position_queries, stride });
        }
    }
}

/// The queries `first..end` of a head.
struct Block<'a> {
    first: usize,
    end: usize,
    length: usize,
    depth: usize,
    /// From the first query's or key's values of the head on, rows `qkv_stride` apart.
    queries: &'a [f32],
    keys: &'a [f32],
    qkv_stride: usize,
}

impl Block<'_> {
    /// Scores without the content-to-position term, which is left beside them.
    #[inline(always)]
    fn scores<S: Simd>(&self, s: S, scratch: &mut Scratch, index: Option<&Index<'_>>) {
        s.call(Product {
            rows: self.end - self.first,
            depth: self.depth,
            columns: self.length.next_multiple_of(LANES),
            a: &self.queries[self.first * self.qkv_stride..],
            a_stride: self.qkv_stride,
            b: &scratch.keys,
            b_stride: scratch.keys_stride,
            c: &mut scratch.scores,
            c_stride: scratch.keys_stride,
        });
        let Some(index) = index else { return };
        if !scratch.position_keys.is_empty() {
            let (low, high) = self.key_columns(index);
            s.call(Product {
                rows: self.end - self.first,
                depth: self.depth,
                columns: (high as usize - low as usize + 1).next_multiple_of(LANES),
                a: &self.queries[self.first * self.qkv_stride..],
                a_stride: self.qkv_stride,
                b: &scratch.position_keys[low as usize..],
                b_stride: scratch.positions_stride,
                c: &mut scratch.content_to_position,
                c_stride: scratch.positions_stride,
            });
        }
        if !scratch.position_queries.is_empty() {
            for key in (0..self.length).step_by(LANES) {
                self.position_to_content(s, scratch, index, key);
            }
        }
    }

    /// The first and the last column of `Kr^T` that the block's distances reach.
    fn key_columns(&self, index: &Index<'_>) -> (u32, u32) {
        (index.of_keys(self.end - 1, 0)[0], index.of_keys(self.first, self.length - 1)[0])
    }

    /// Adds the position-to-content term of the 16 keys from `key` on.
    #[inline(always)]
    fn position_to_content<S: Simd>(&self, s: S, scratch: &mut Scratch, index: &Index<'_>, key: usize) {
        let keys = LANES.min(self.length - key);
        let (stride, last) = (scratch.positions_stride, self.length - 1);
        let low = index.of_queries(self.first, last.min(key + LANES - 1))[0];
        let high = index.of_queries(self.end - 1, key)[0];
        s.call(Product {
            rows: keys,
            depth: self.depth,
            columns: (high as usize - low as usize + 1).next_multiple_of(LANES),
            a: &self.keys[key * self.qkv_stride..],
            a_stride: self.qkv_stride,
            b: &scratch.position_queries[low as usize..],
            b_stride: scratch.positions_stride,
            c: &mut scratch.position_to_content,
            c_stride: scratch.positions_stride,
        });
        for query in (self.first..self.end).step_by(LANES) {
            let mut square = [s.splat(0.0); LANES];
            for (j, vector) in square.iter_mut().enumerate() {
                // Beyond the last key, the rows hold what earlier keys left; their lanes are not used.
                let terms = &scratch.position_to_content[j * stride..][..stride];
                *vector = index.lookup(s, terms, low, index.of_queries(query, last.min(key + j)));
            }
            s.transpose(&mut square);
            let scores = scratch.scores[(query - self.first) * scratch.keys_stride..].chunks_mut(scratch.keys_stride);
            for (vector, scores) in square.into_iter().zip(scores).take(self.end - query) {
                let scores = scores[key..].first_chunk_mut().expect("16 scores");
                s.store(s.add(s.load(scores), vector), scores);
            }
        }
    }

    /// Adds the content-to-position term and turns scores into weights that add up to `sums`.
    #[inline(always)]
    fn weigh<S: Simd>(&self, s: S, scratch: &mut Scratch, index: Option<&Index<'_>>) {
        let (low, terms_stride) = match index {
            Some(index) if !scratch.position_keys.is_empty() => (self.key_columns(index).0, scratch.positions_stride),
            _ => (0, 0),
        };
        let rows = scratch.scores.chunks_exact_mut(scratch.keys_stride).zip(&mut scratch.sums);
        for (i, (scores, sum)) in rows.enumerate().take(self.end - self.first) {
            let (scores, _) = scores.as_chunks_mut::<LANES>();
            let scores = &mut scores[..self.length.div_ceil(LANES)];
            let mut max = s.splat(f32::NEG_INFINITY);
            let (full, part) = (self.length / LANES, self.length % LANES);
            let terms = index.filter(|_| terms_stride > 0).map(|index| {
                let terms = &scratch.content_to_position[i * terms_stride..][..terms_stride];
                (index, terms, index.of_keys(self.first + i, 0).as_chunks::<LANES>().0)
            });
            if let Some((index, terms, columns)) = terms {
                for (scores, columns) in scores.iter_mut().zip(columns) {
                    let sum = s.add(s.load(scores), index.lookup(s, terms, low, columns));
                    s.store(sum, scores);
                }
            }
            if part > 0 {
                scores[full][part..].fill(f32::NEG_INFINITY);
            }
            for scores in scores.iter() {
                max = s.max(s.load(scores), max);
            }
            *sum = exponentials(s, scores, s.largest(max));
        }
    }

    /// Adds up the values by their weights; `out` begins with the first token's values of the head, rows `out_stride` apart.
    #[inline(always)]
    fn values<S: Simd>(&self, s: S, scratch: &mut Scratch, out: &mut [f32], out_stride: usize) {
        s.call(Product {
            rows: self.end - self.first,
            depth: self.length,
            columns: scratch.values_stride,
            a: &scratch.scores,
            a_stride: scratch.keys_stride,
            b: &scratch.values,
            b_stride: scratch.values_stride,
            c: &mut scratch.outputs,
            c_stride: scratch.values_stride,
        });
        let rows = out.chunks_mut(out_stride).skip(self.first).zip(scratch.outputs.chunks_exact(scratch.values_stride));
        for ((out, values), sum) in rows.zip(&scratch.sums).take(self.end - self.first) {
            let inverse = s.splat(1.0 / sum);
            let (out, out_tail) = out[..self.depth].as_chunks_mut();
            let (values, _) = values.as_chunks::<LANES>();
            for (out, values) in out.iter_mut().zip(values) {
                s.store(s.mul(s.load(values), inverse), out);
            }
            if !out_tail.is_empty() {
                store_part(s, s.mul(load_part(s, &values[out.len()]), inverse), out_tail);
            }
        }
    }
}

#[cfg(test)]
mod tests;
