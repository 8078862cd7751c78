//! Tables of vectors, read row by row: embeddings and projected relative positions.

use crate::artifact::View;

/// `rows x width` values in one of the stored precisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Table {
    /// `f32` values.
    F32 {
        /// `[rows, width]`.
        values: View<f32>,
        /// Length of a row.
        width: usize,
    },
    /// Symmetric int8, with one scale for each of `parts` equal parts of every row.
    Int8 {
        /// `[rows, width]`.
        values: View<i8>,
        /// `[rows, parts]`: `real value = value * scale`.
        scales: View<f32>,
        /// Length of a row.
        width: usize,
        /// Parts per row.
        parts: usize,
    },
}

impl Table {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Table::F32 { values, width } => values.len() / width,
            Table::Int8 { values, width, .. } => values.len() / width,
        }
    }

    /// Length of a row.
    pub fn width(&self) -> usize {
        match self {
            Table::F32 { width, .. } | Table::Int8 { width, .. } => *width,
        }
    }

    /// Adds row `row` to `out` (`width` values; the table has one part). Nothing is added if it is outside the table.
    pub fn add_row(&self, row: usize, out: &mut [f32]) {
        self.each(row, 0, out, |out, v| *out += v);
    }

    /// Writes the values `from..from + out.len()` of row `row`, which must lie in one part of it. Nothing is written if they are
    /// outside the table.
    pub fn read_part(&self, row: usize, from: usize, out: &mut [f32]) {
        self.each(row, from, out, |out, v| *out = v);
    }

    fn each(&self, row: usize, from: usize, out: &mut [f32], f: impl Fn(&mut f32, f32)) {
        let start = row * self.width() + from;
        match self {
            Table::F32 { values, .. } => {
                let values = values.get(start..start + out.len()).unwrap_or_default();
                out.iter_mut().zip(values).for_each(|(out, v)| f(out, *v));
            }
            Table::Int8 { values, scales, width, parts } => {
                let scale = scales.get(row * parts + from * parts / width).copied().unwrap_or_default();
                let values = values.get(start..start + out.len()).unwrap_or_default();
                out.iter_mut().zip(values).for_each(|(out, v)| f(out, f32::from(*v) * scale));
            }
        }
    }
}
