//! Turning rows of stored values into columns of `f32`, for products that want them side by side.

use super::simd::{LANES, Simd, Task, load_part};

/// A part of a row of a table, in one of the stored precisions. What is missing counts as zero.
#[derive(Clone, Copy, Debug)]
pub enum Row<'a> {
    /// Values as they are.
    F32(&'a [f32]),
    /// `real value = value * scale`.
    Int8 {
        /// The values.
        values: &'a [i8],
        /// Their unit.
        scale: f32,
    },
}

impl Row<'_> {
    /// The values from `column` on, as many as there are.
    #[inline(always)]
    pub(super) fn load<S: Simd>(&self, s: S, column: usize) -> S::F32 {
        match self {
            Row::F32(values) => {
                let values = values.get(column..).unwrap_or_default();
                values.first_chunk().map_or_else(|| load_part(s, values), |values| s.load(values))
            }
            Row::Int8 { values, scale } => {
                let values = values.get(column..).unwrap_or_default();
                let mut lanes = [0; LANES];
                match values.first_chunk() {
                    Some(values) => lanes = *values,
                    None => lanes[..values.len()].copy_from_slice(values),
                }
                s.mul(s.to_f32(s.load_i32(&std::array::from_fn(|lane| lanes[lane].into()))), s.splat(*scale))
            }
        }
    }
}

/// Writes the transposed matrix of `rows` rows of `width` values, times `factor`: `[width, rows]`, rows `stride` apart.
pub(super) struct Transposed<'a, R> {
    /// Reads a row.
    pub read: R,
    pub rows: usize,
    pub width: usize,
    pub factor: f32,
    pub to: &'a mut [f32],
    pub stride: usize,
}

impl<'a, R: Fn(usize) -> Row<'a>> Task for Transposed<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let factor = s.splat(self.factor);
        for first in (0..self.rows).step_by(LANES) {
            let mut rows = [Row::F32(&[]); LANES];
            for (r, row) in rows.iter_mut().enumerate().take(self.rows - first) {
                *row = (self.read)(first + r);
            }
            for column in (0..self.width).step_by(LANES) {
                let mut square = [factor; LANES];
                for (vector, row) in square.iter_mut().zip(&rows) {
                    *vector = s.mul(row.load(s, column), factor);
                }
                s.transpose(&mut square);
                let to = self.to[column * self.stride..].chunks_mut(self.stride);
                for (vector, to) in square.into_iter().zip(to).take(self.width - column) {
                    s.store(vector, to[first..].first_chunk_mut().expect("16 values"));
                }
            }
        }
    }
}
