//! Tables of vectors, read row by row: embeddings and projected relative positions.

use crate::artifact::View;
use crate::kernels::attention;

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
        let range = row * self.width()..(row + 1) * self.width();
        match self {
            Table::F32 { values, .. } => {
                let values = values.get(range).unwrap_or_default();
                out.iter_mut().zip(values).for_each(|(out, v)| *out += v);
            }
            Table::Int8 { values, scales, .. } => {
                let (values, scale) = (values.get(range).unwrap_or_default(), scales.get(row).copied().unwrap_or(0.0));
                out.iter_mut().zip(values).for_each(|(out, v)| *out += f32::from(*v) * scale);
            }
        }
    }

    /// Lets the rows go from memory until they are read again, if they are those of a mapped file.
    pub fn release(&self) {
        match self {
            Table::F32 { values, .. } => values.release(),
            Table::Int8 { values, .. } => values.release(),
        }
    }

    /// As a table of relative positions, with one part per head.
    pub fn positions(&self) -> attention::Table<'_> {
        match self {
            Table::F32 { values, .. } => attention::Table::F32(values),
            Table::Int8 { values, scales, .. } => attention::Table::Int8 { values, scales },
        }
    }
}
