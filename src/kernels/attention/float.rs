//! Scores as products of `f32`.
//!
//! The scores of a block of queries are a product `Q K^T`. The content-to-position term is a product too, `Q Kr^T` with the table
//! rows that the block's distances reach; the entry that belongs to a key lies the further right, the further right the key
//! is, so that 16 neighbouring keys find theirs in 16 neighbouring columns. In the position-to-content term, keys and queries
//! change roles: for 16 keys at a time, `K Qr^T` is computed for the rows that the distances between them and the block reach,
//! and turned to lie beside the scores.

use std::ops::Range;

use super::rows::{quantize, rows_of};
use super::weights::Values;
use super::{BLOCK, Block, Distances, Input, stride};
use crate::kernels::gemm_f32::{Product, panel_width};
use crate::kernels::room;
use crate::kernels::simd::{LANES, Simd, Task};
use crate::kernels::transposed::{Row, Transposed};

/// Operands of one head.
#[derive(Debug, Default)]
pub(super) struct Operands {
    head: usize,
    /// `K^T / scale`: `[head_dim, length]`.
    keys: Vec<f32>,
    values: Values,
    /// `Kr^T / scale` backwards: `[head_dim, table rows in use]`.
    position_keys: Vec<f32>,
    /// `Qr^T / scale`: `[head_dim, table rows in use]`.
    position_queries: Vec<f32>,
    /// Queries, then keys, as they are after quantisation: `[2, length, head_dim]`. Used with int8 tables only.
    rounded: Vec<f32>,
    /// 16 quantised rows.
    bytes: Vec<i8>,
}

/// Prepares the operands of one head.
pub(super) struct Load<'a, 'b> {
    pub input: Input<'a>,
    pub head: usize,
    pub to: &'b mut Operands,
}

/// Distance between rows over table rows: products are computed in whole vectors and read in windows of 16 from any column on.
fn positions_stride(distances: &Distances) -> usize {
    stride(distances.used() + LANES)
}

impl Task for Load<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { input, head, to } = self;
        let (d, length, shape) = (input.shape.head_dim, input.length, input.shape);
        to.head = head;
        to.values.load(s, &input, head);
        if input.is_int8() {
            to.round(s, &input);
        }
        let (factor, keys_stride) = (1.0 / shape.scale, stride(length));
        let (_, rows) = content(&input, head, &to.rounded, 1);
        let key = |j: usize| Row::F32(rows(j));
        let keys = room(&mut to.keys, d * keys_stride);
        s.call(Transposed { read: key, rows: length, width: d, factor, to: keys, stride: keys_stride });
        let Some(positions) = input.positions else { return };
        let (rows, stride) = (positions.distances.used(), positions_stride(positions.distances));
        let (first, last) = (positions.distances.first_row(), positions.distances.last_row());
        if let Some(table) = positions.key {
            let read = |row: usize| table.part(shape, last - row, head);
            let to = room(&mut to.position_keys, d * stride);
            s.call(Transposed { read, rows, width: d, factor, to, stride });
        }
        if let Some(table) = positions.query {
            let read = |row: usize| table.part(shape, first + row, head);
            let to = room(&mut to.position_queries, d * stride);
            s.call(Transposed { read, rows, width: d, factor, to, stride });
        }
    }
}

/// Queries (`part` 0) or keys (1) of a head: all of them from the first on, as products want them, and one by one. With int8
/// tables, they are the `rounded` ones.
#[inline(always)]
fn content<'a>(
    input: &Input<'a>,
    head: usize,
    rounded: &'a [f32],
    part: usize,
) -> ((&'a [f32], usize), impl Fn(usize) -> &'a [f32]) {
    let (d, hidden) = (input.shape.head_dim, input.shape.hidden());
    let (rows, stride) = if input.is_int8() {
        (&rounded[part * input.length * d..], d)
    } else {
        (&input.qkv[part * hidden + head * d..], 3 * hidden)
    };
    ((rows, stride), move |i: usize| &rows[i * stride..][..d])
}

impl Operands {
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Quantises queries and keys and keeps what that makes of them.
    #[inline(always)]
    fn round<S: Simd>(&mut self, s: S, input: &Input<'_>) {
        let (d, length) = (input.shape.head_dim, input.length);
        let bytes = room(&mut self.bytes, LANES * d);
        let rounded = room(&mut self.rounded, 2 * length * d);
        for (part, rounded) in rounded.chunks_exact_mut(length * d).enumerate() {
            for (group, to) in rounded.chunks_mut(LANES * d).enumerate() {
                let rows = rows_of(input, part, group * LANES, self.head);
                let quantized = quantize(s, d, &rows, 0, bytes, d, false);
                for ((to, bytes), scale) in to.chunks_mut(d).zip(bytes.chunks_exact(d)).zip(quantized.scales) {
                    to.iter_mut().zip(bytes).for_each(|(to, byte)| *to = f32::from(*byte) * scale);
                }
            }
        }
    }

    /// Scores of a block of queries with all keys.
    #[inline(always)]
    pub fn scores<S: Simd>(&self, s: S, input: &Input<'_>, queries: Range<usize>, block: &mut Block) {
        let (rows, scores_stride) = (queries.len(), stride(input.length));
        let ((contents, contents_stride), _) = content(input, self.head, &self.rounded, 0);
        let scores = room(&mut block.scores, BLOCK.min(input.length) * scores_stride);
        let queries_rows = &contents[queries.start * contents_stride..];
        s.call(Product {
            rows,
            depth: input.shape.head_dim,
            columns: input.length.next_multiple_of(LANES),
            a: queries_rows,
            a_stride: contents_stride,
            b: &self.keys,
            b_stride: scores_stride,
            b_panel: panel_width::<S>(),
            c: scores,
            c_stride: scores_stride,
        });
        let Some(positions) = input.positions else { return };
        let distances = positions.distances;
        if positions.key.is_some() {
            let terms_stride = positions_stride(distances);
            let low = distances.of_keys(queries.end - 1, 0)[0];
            let high = distances.of_keys(queries.start, input.length - 1)[0];
            let terms = room(&mut block.content_to_position, BLOCK * terms_stride);
            s.call(Product {
                rows,
                depth: input.shape.head_dim,
                columns: (high as usize - low as usize + 1).next_multiple_of(LANES),
                a: queries_rows,
                a_stride: contents_stride,
                b: &self.position_keys[low as usize..],
                b_stride: terms_stride,
                b_panel: panel_width::<S>(),
                c: terms,
                c_stride: terms_stride,
            });
            let rows = scores.chunks_exact_mut(scores_stride).zip(terms.chunks_exact(terms_stride));
            for (query, (scores, terms)) in queries.clone().zip(rows) {
                let (columns, _) = distances.of_keys(query, 0).as_chunks::<LANES>();
                let (scores, _) = scores[..input.length.next_multiple_of(LANES)].as_chunks_mut();
                for (scores, columns) in scores.iter_mut().zip(columns) {
                    s.store(s.add(s.load(scores), distances.lookup(s, terms, low, columns)), scores);
                }
            }
        }
        if positions.query.is_some() {
            for key in (0..input.length).step_by(LANES) {
                self.position_to_content(s, input, distances, queries.clone(), key, block);
            }
        }
    }

    /// Adds the position-to-content term of the 16 keys from `key` on.
    #[inline(always)]
    fn position_to_content<S: Simd>(
        &self,
        s: S,
        input: &Input<'_>,
        distances: &Distances,
        queries: Range<usize>,
        key: usize,
        block: &mut Block,
    ) {
        let keys = LANES.min(input.length - key);
        let (terms_stride, scores_stride, last) = (positions_stride(distances), stride(input.length), input.length - 1);
        let low = distances.of_queries(queries.start, last.min(key + LANES - 1))[0];
        let high = distances.of_queries(queries.end - 1, key)[0];
        let ((contents, contents_stride), _) = content(input, self.head, &self.rounded, 1);
        let terms = room(&mut block.position_to_content, LANES * terms_stride);
        s.call(Product {
            rows: keys,
            depth: input.shape.head_dim,
            columns: (high as usize - low as usize + 1).next_multiple_of(LANES),
            a: &contents[key * contents_stride..],
            a_stride: contents_stride,
            b: &self.position_queries[low as usize..],
            b_stride: terms_stride,
            b_panel: panel_width::<S>(),
            c: terms,
            c_stride: terms_stride,
        });
        for query in queries.clone().step_by(LANES) {
            let mut square = [s.splat(0.0); LANES];
            for (j, vector) in square.iter_mut().enumerate() {
                // Beyond the last key, the rows hold what earlier keys left; their lanes are not used.
                let terms = &terms[j * terms_stride..][..terms_stride];
                *vector = distances.lookup(s, terms, low, distances.of_queries(query, last.min(key + j)));
            }
            s.transpose(&mut square);
            let scores = block.scores[(query - queries.start) * scores_stride..].chunks_mut(scores_stride);
            for (vector, scores) in square.into_iter().zip(scores).take(queries.end - query) {
                let scores = scores[key..].first_chunk_mut().expect("16 scores");
                s.store(s.add(s.load(scores), vector), scores);
            }
        }
    }
}
