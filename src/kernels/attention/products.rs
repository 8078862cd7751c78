//! The three products of a score, of a few queries and 16 keys at a time.

use crate::kernels::layout::KG;
use crate::kernels::simd::{Dot, LANES, Simd};

/// Bytes of one group of 16 lanes.
pub(in crate::kernels) const GROUP: usize = LANES * KG;
/// Queries that share the keys of a tile.
pub(in crate::kernels) const ROWS: usize = 2;

/// What is multiplied: [`ROWS`] queries of each of `T` squares along a diagonal, of which all have the same windows of the tables.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Operands<'a, const T: usize> {
    /// Groups of the queries.
    pub queries: [[&'a [[u8; KG]]; ROWS]; T],
    /// As many groups of 16 keys.
    pub keys: [&'a [[u8; GROUP]]; T],
    /// Groups of a table by distance, `stride` bytes apart. What belongs to the first query begins with entry `entry` of 4 bytes, and
    /// to each next query with the one before.
    pub position_keys: &'a [u8],
    /// As `position_keys`.
    pub position_queries: &'a [u8],
    pub stride: usize,
    pub entry: usize,
}

/// Sums of products for every query, one per key.
pub(in crate::kernels) struct Sums<I, const T: usize> {
    pub content: [[I; ROWS]; T],
    pub to_position: [[I; ROWS]; T],
    pub of_position: [[I; ROWS]; T],
}

/// Adds the products of the groups from `first` on, group by group.
#[inline(always)]
pub(in crate::kernels) fn add<S: Simd, D: Dot<S>, const T: usize>(
    d: D,
    x: &Operands<'_, T>,
    first: usize,
    sums: &mut Sums<S::I32, T>,
) {
    let groups = x.keys.first().map_or(0, |keys| keys.len());
    let tables = x.position_keys.chunks_exact(x.stride).zip(x.position_queries.chunks_exact(x.stride));
    for (group, (kr, qr)) in tables.enumerate().take(groups).skip(first) {
        let mut windows = [(d.splat(&[0; KG]), d.splat(&[0; KG])); ROWS];
        for (r, to) in windows.iter_mut().enumerate() {
            *to = (d.load(window(kr, x.entry - r)), d.load(window(qr, x.entry - r)));
        }
        for t in 0..T {
            let key = d.load(&x.keys[t][group]);
            for (r, (kr, qr)) in windows.into_iter().enumerate() {
                let query = d.splat(&x.queries[t][r][group]);
                sums.content[t][r] = d.dot(sums.content[t][r], query, key);
                sums.to_position[t][r] = d.dot(sums.to_position[t][r], query, kr);
                sums.of_position[t][r] = d.dot(sums.of_position[t][r], qr, key);
            }
        }
    }
}

/// The bytes of 16 entries of a group from `entry` on.
#[inline(always)]
fn window(group: &[u8], entry: usize) -> &[u8; GROUP] {
    group[entry * KG..].first_chunk().expect("64 bytes")
}
