//! Which row of the position tables belongs to a distance, and where it is found.

use crate::kernels::simd::{LANES, Simd};

/// Table rows by distance, for sequences of one length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distances {
    /// Row of the distance `d - (length - 1)` at index `d`.
    rows: Vec<usize>,
    length: usize,
    /// Columns of `Kr^T`, whose rows are held backwards, for the distances `length - 1`, ..., `-(length - 1)`: ascending with the
    /// key. Then 16 times the last.
    key_columns: Vec<u32>,
    /// Columns of `Qr^T` for the distances `-(length - 1)`, ..., `length - 1`: ascending with the query. Then 16 times the last.
    query_columns: Vec<u32>,
    /// Whether no column is skipped between neighbouring distances, as [`Simd::lookup`] wants it.
    dense: bool,
}

impl Distances {
    /// `rows` holds the table row of every distance between a query and a key, from `-(length - 1)` to `length - 1`.
    ///
    /// # Panics
    /// If the number of rows is even, as there is one for every distance, or rows descend or span 2^32.
    pub fn new(rows: Vec<usize>) -> Self {
        assert!(!rows.len().is_multiple_of(2), "{} rows are not those of all distances", rows.len());
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
            length: rows.len() / 2 + 1,
            key_columns: columns(&|i| last_row - rows[rows.len() - 1 - i]),
            query_columns: columns(&|i| rows[i] - first_row),
            dense: rows.windows(2).all(|pair| pair[1] - pair[0] <= 1),
            rows,
        }
    }

    /// The length of the sequences.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The first table row in use.
    pub(super) fn first_row(&self) -> usize {
        self.rows[0]
    }

    /// The last table row in use.
    pub(super) fn last_row(&self) -> usize {
        self.rows[self.rows.len() - 1]
    }

    /// Number of table rows between the first and the last in use.
    pub(super) fn used(&self) -> usize {
        self.last_row() - self.first_row() + 1
    }

    /// Table row of a distance, which is brought into `-(length - 1)..=length - 1` first.
    #[inline(always)]
    pub(super) fn row(&self, distance: isize) -> usize {
        let reach = self.length as isize - 1;
        self.rows[(distance.clamp(-reach, reach) + reach) as usize]
    }

    /// Columns of `Kr^T` for query `i` and the keys from `j` on.
    #[inline(always)]
    pub(super) fn of_keys(&self, i: usize, j: usize) -> &[u32] {
        &self.key_columns[self.length - 1 + j - i..]
    }

    /// Columns of `Qr^T` for key `j` and the queries from `i` on.
    #[inline(always)]
    pub(super) fn of_queries(&self, i: usize, j: usize) -> &[u32] {
        &self.query_columns[self.length - 1 + i - j..]
    }

    /// Lane `l` is the entry of column `columns[l]` in `values`, which begin with column `first`.
    #[inline(always)]
    pub(super) fn lookup<S: Simd>(&self, s: S, values: &[f32], first: u32, columns: &[u32]) -> S::F32 {
        let columns: &[u32; LANES] = columns.first_chunk().expect("16 columns");
        if self.dense {
            let window = values[(columns[0] - first) as usize..].first_chunk().expect("16 values");
            s.lookup(window, columns)
        } else {
            s.load(&std::array::from_fn(|lane| values[(columns[lane] - first) as usize]))
        }
    }
}
