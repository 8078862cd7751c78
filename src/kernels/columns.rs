//! Columns of a matrix that threads write at the same time.

use std::marker::PhantomData;
use std::ops::Range;

/// Some neighbouring columns of a row-major matrix, to write to.
#[derive(Debug)]
pub(crate) struct Columns<'a> {
    /// The first of them in the first row.
    start: *mut f32,
    rows: usize,
    width: usize,
    /// Width of the matrix.
    stride: usize,
    matrix: PhantomData<&'a mut [f32]>,
}

// SAFETY: as with `&mut [f32]`, nobody else has access to these columns: `Columns::of` borrows the matrix for itself, and
// `Columns::split_off` gives columns away that it does not keep.
unsafe impl Send for Columns<'_> {}

impl<'a> Columns<'a> {
    /// All columns of a matrix of `width` columns.
    ///
    /// # Panics
    /// If the values are no whole rows.
    pub fn of(values: &'a mut [f32], width: usize) -> Self {
        assert!(values.len().is_multiple_of(width), "{} values are no rows of {width}", values.len());
        let rows = values.len().checked_div(width).unwrap_or_default();
        Self { start: values.as_mut_ptr(), rows, width, stride: width, matrix: PhantomData }
    }

    /// The first `width` columns, which are none of these any more.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn split_off(&mut self, width: usize) -> Self {
        assert!(width <= self.width, "{width} of {} columns", self.width);
        let first = Self { width, ..*self };
        // Stays in the matrix or at its end, or is not used, as there is no row.
        self.start = self.start.wrapping_add(width);
        self.width -= width;
        first
    }

    /// Consecutive parts of the given widths.
    ///
    /// # Panics
    /// If these are more than there are columns.
    pub fn cut(mut self, widths: impl Iterator<Item = usize>) -> impl Iterator<Item = Self> {
        widths.map(move |width| self.split_off(width))
    }

    /// Whether there are `rows` rows of `width` columns.
    pub fn has_shape(&self, rows: usize, width: usize) -> bool {
        (self.rows, self.width) == (rows, width)
    }

    /// The columns in row `m`.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline(always)]
    pub fn row(&mut self, m: usize) -> &mut [f32] {
        assert!(m < self.rows, "row {m} of {}", self.rows);
        // SAFETY: the matrix has the row, where these columns lie `m` strides after those of the first row. They are borrowed as long as
        // `self` is, which alone has access to them.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(m * self.stride), self.width) }
    }

    /// `N` columns, from the `first` of these on, in each of some rows.
    ///
    /// # Panics
    /// If there are no such rows or columns.
    #[inline(always)]
    pub fn chunks<const N: usize>(&mut self, rows: Range<usize>, first: usize) -> impl Iterator<Item = &mut [f32; N]> {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        assert!(first <= self.width && N <= self.width - first, "{N} of {} columns from {first} on", self.width);
        let stride = self.stride;
        let mut next = self.start.wrapping_add(rows.start * stride + first);
        rows.map(move |_| {
            let row = next.cast();
            next = next.wrapping_add(stride);
            // SAFETY: as checked, the matrix has the row, and these columns have as many from `first` on. Rows do not overlap, each
            // comes once, and all are borrowed as long as `self` is, which alone has access to them.
            unsafe { &mut *row }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_writes_its_own_columns() {
        for widths in [&[4][..], &[1, 3], &[1, 0, 3], &[2, 1, 1], &[4, 0]] {
            let mut values = [0.0; 12];
            let parts: Vec<_> = Columns::of(&mut values, 4).cut(widths.iter().copied()).collect();
            // All at once.
            std::thread::scope(|scope| {
                for (p, mut part) in parts.into_iter().enumerate() {
                    let width = widths[p];
                    assert!(part.has_shape(3, width) && !part.has_shape(2, width) && !part.has_shape(3, width + 1));
                    scope.spawn(move || {
                        for m in 0..3 {
                            assert_eq!(part.row(m).len(), width);
                            part.row(m).fill((10 * m + p) as f32);
                        }
                    });
                }
            });
            let parts = || widths.iter().enumerate().flat_map(|(p, &width)| std::iter::repeat_n(p, width));
            let want: Vec<f32> = (0..3).flat_map(|m| parts().map(move |p| (10 * m + p) as f32)).collect();
            assert_eq!(values[..], want, "{widths:?}");
        }
        assert!(Columns::of(&mut [], 5).cut([2, 3].into_iter()).all(|part| part.rows == 0));
        assert!(Columns::of(&mut [], 0).has_shape(0, 0));
    }

    #[test]
    fn chunks_are_those_columns_of_those_rows() {
        let mut values: Vec<f32> = (0..20).map(|i| i as f32).collect();
        let mut columns = Columns::of(&mut values, 5);
        columns.split_off(1);
        let chunks: Vec<_> = columns.chunks::<2>(1..4, 2).collect();
        assert_eq!(chunks, [&[8.0, 9.0], &[13.0, 14.0], &[18.0, 19.0]]);
        for chunk in chunks {
            chunk[0] = -1.0;
        }
        assert_eq!(columns.chunks::<0>(4..4, 4).count(), 0);
        assert_eq!((values[8], values[13], values[18]), (-1.0, -1.0, -1.0));
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let refused = |f: fn(&mut Columns<'_>) -> usize| {
            let mut values = [0.0; 6];
            let mut columns = Columns::of(&mut values, 3);
            let call = std::panic::AssertUnwindSafe(|| f(&mut columns));
            std::panic::catch_unwind(call).is_err()
        };
        assert!(refused(|columns| columns.row(2).len()));
        assert!(refused(|columns| columns.split_off(4).width));
        assert!(refused(|columns| columns.chunks::<1>(1..3, 0).count()));
        assert!(refused(|columns| columns.chunks::<2>(0..2, 2).count()));
        assert!(refused(|columns| columns.chunks::<1>(0..2, 4).count()));
        assert!(!refused(|columns| columns.chunks::<2>(0..2, 1).count()));
        assert!(std::panic::catch_unwind(|| Columns::of(&mut [0.0; 5], 3).rows).is_err());
    }
}
