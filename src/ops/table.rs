//! Tables of vectors, read row by row: embeddings and projected relative positions.

use crate::artifact::View;
use crate::kernels::attention::{PositionTable, Row};

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
        match self.part(row, 0, out.len()) {
            Row::F32(values) => out.iter_mut().zip(values).for_each(|(out, v)| *out += v),
            Row::Int8 { values, scale } => {
                out.iter_mut().zip(values).for_each(|(out, v)| *out += f32::from(*v) * scale);
            }
        }
    }
}

impl PositionTable for Table {
    /// Values outside the table are missing.
    fn part(&self, row: usize, from: usize, len: usize) -> Row<'_> {
        let start = row * self.width() + from;
        let range = start..start + len;
        match self {
            Table::F32 { values, .. } => Row::F32(values.get(range).unwrap_or_default()),
            Table::Int8 { values, scales, width, parts } => Row::Int8 {
                values: values.get(range).unwrap_or_default(),
                scale: scales.get(row * parts + from * parts / width).copied().unwrap_or_default(),
            },
        }
    }
}
