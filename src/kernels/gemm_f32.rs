//! Products of small `f32` matrices, in tiles whose sums stay in registers.

use super::simd::{LANES, Simd, Task};

/// `c[m][n] = sum over k of a[m][k] b[k][n]` for `rows` rows, `depth` values of `k` and `columns` columns.
///
/// Sums are added up in the order of `k`, whatever the tiles.
pub(super) struct Product<'a> {
    pub rows: usize,
    pub depth: usize,
    /// Whole vectors: a multiple of [`LANES`].
    pub columns: usize,
    /// `[rows, depth]`, rows `a_stride` apart.
    pub a: &'a [f32],
    pub a_stride: usize,
    /// `[depth, columns]`, rows `b_stride` apart, in panels of [`panel_width`] columns, `b_panel` apart. In an ordinary matrix,
    /// panels lie side by side, and `b_panel` is their width. Where they are matrices of their own, so that `b_stride` is their
    /// width, products take fewer instructions.
    pub b: &'a [f32],
    pub b_stride: usize,
    pub b_panel: usize,
    /// `[rows, columns]`, rows `c_stride` apart; what lies between is left as it is.
    pub c: &'a mut [f32],
    pub c_stride: usize,
}

/// Columns of a panel of the second matrix.
#[inline(always)]
pub(super) fn panel_width<S: Simd>() -> usize {
    S::TILE.1 * LANES
}

impl Task for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        /// Values of `k` at a time: as many rows of `b` stay in the first-level cache for all rows of `a`.
        const DEPTH: usize = 128;
        let (height, vectors) = S::TILE;
        let width = panel_width::<S>();
        if self.rows == 0 || self.depth == 0 || self.columns == 0 {
            return;
        }
        let last = (self.columns - 1) / width;
        let needed = last * self.b_panel + (self.depth - 1) * self.b_stride + self.columns - last * width;
        assert!(self.b.len() >= needed, "the second matrix has {} values, not {needed}", self.b.len());
        // Tiles of nearly equal height, as a last tile of few rows would cost nearly as much as a full one.
        let tiles = self.rows.div_ceil(height);
        for k in (0..self.depth).step_by(DEPTH) {
            for (panel, n) in (0..self.columns).step_by(width).enumerate() {
                let wide = self.columns - n >= width;
                for t in 0..tiles {
                    let (m, end) = (self.rows * t / tiles, self.rows * (t + 1) / tiles);
                    let operands = Operands {
                        depth: DEPTH.min(self.depth - k),
                        add: k > 0,
                        a: &self.a[m * self.a_stride + k..],
                        a_stride: self.a_stride,
                        b: &self.b[panel * self.b_panel + k * self.b_stride..],
                        b_stride: self.b_stride,
                        c: &mut self.c[m * self.c_stride + n..],
                        c_stride: self.c_stride,
                    };
                    macro_rules! pick {
                        ($($rows:literal)+) => {
                            match end - m {
                                $(
                                    $rows if $rows <= height && wide && vectors == 2 => tile::<S, $rows, 2>(s, operands),
                                    $rows if $rows <= height => tile::<S, $rows, 1>(s, operands),
                                )+
                                _ => {}
                            }
                        };
                    }
                    pick!(1 2 3 4 5 6 7 8 9 10 11 12);
                }
            }
        }
    }
}

struct Operands<'a> {
    depth: usize,
    /// Whether the sums start with what `c` holds.
    add: bool,
    a: &'a [f32],
    a_stride: usize,
    b: &'a [f32],
    b_stride: usize,
    c: &'a mut [f32],
    c_stride: usize,
}

/// `M` rows of `V` vectors.
#[inline(always)]
fn tile<S: Simd, const M: usize, const V: usize>(s: S, x: Operands<'_>) {
    let mut rows = [&[][..]; M];
    for (m, row) in rows.iter_mut().enumerate() {
        *row = &x.a[m * x.a_stride..][..x.depth];
    }
    let mut sums = [[s.splat(0.0); V]; M];
    if x.add {
        for (m, sums) in sums.iter_mut().enumerate() {
            let (c, _) = x.c[m * x.c_stride..][..V * LANES].as_chunks();
            for (sum, c) in sums.iter_mut().zip(c) {
                *sum = s.load(c);
            }
        }
    }
    s.add_products(&mut sums, rows, x.b, x.b_stride);
    for (m, sums) in sums.iter().enumerate() {
        let (c, _) = x.c[m * x.c_stride..][..V * LANES].as_chunks_mut();
        for (c, sum) in c.iter_mut().zip(sums) {
            s.store(*sum, c);
        }
    }
}

/// See [`Simd::add_products`].
#[inline(always)]
pub(super) fn add_products<S: Simd, const M: usize, const V: usize>(
    s: S,
    sums: &mut [[S::F32; V]; M],
    rows: [&[f32]; M],
    b: &[f32],
    b_stride: usize,
) {
    let depth = rows[0].len();
    // Four values at a time where that takes one load per row for all of them.
    let fours = if S::FOURS { depth / 4 } else { 0 };
    let width = panel_width::<S>();
    match b.get(..depth * width) {
        // What the compiler knows needs no check in the loop, and one pointer.
        Some(b) if b_stride == width => {
            let (first, last) = b.split_at(4 * fours * width);
            add_all(s, sums, rows, first.chunks_exact(4 * width), last.chunks_exact(width), width);
        }
        _ => {
            let last = b.chunks(b_stride).take(depth).skip(4 * fours);
            add_all(s, sums, rows, b.chunks(4 * b_stride).take(fours), last, b_stride);
        }
    }
}

/// Adds the products of all values of every row with the first `V` vectors of the rows of `b`, of which the first come in fours.
#[inline(always)]
fn add_all<'a, S: Simd, const M: usize, const V: usize>(
    s: S,
    sums: &mut [[S::F32; V]; M],
    rows: [&[f32]; M],
    fours: impl ExactSizeIterator<Item = &'a [f32]>,
    ones: impl Iterator<Item = &'a [f32]>,
    b_stride: usize,
) {
    let first = 4 * fours.len();
    for (i, b) in fours.enumerate() {
        let mut fours = [s.four(&[0.0; 4]); M];
        for (four, row) in fours.iter_mut().zip(rows) {
            *four = s.four(&row.as_chunks().0[i]);
        }
        add_of_four::<S, M, V, 0>(s, sums, fours, b);
        add_of_four::<S, M, V, 1>(s, sums, fours, &b[b_stride..]);
        add_of_four::<S, M, V, 2>(s, sums, fours, &b[2 * b_stride..]);
        add_of_four::<S, M, V, 3>(s, sums, fours, &b[3 * b_stride..]);
    }
    for (k, b) in (first..).zip(ones) {
        add_one::<S, M, V>(s, sums, rows, k, b);
    }
}

/// Adds the products of value `I` of four of every row with the first `V` vectors of `b`.
#[inline(always)]
fn add_of_four<S: Simd, const M: usize, const V: usize, const I: i32>(
    s: S,
    sums: &mut [[S::F32; V]; M],
    fours: [S::Four<'_>; M],
    b: &[f32],
) {
    let vectors = vectors::<S, V>(s, b);
    for (sums, four) in sums.iter_mut().zip(fours) {
        for (sum, vector) in sums.iter_mut().zip(vectors) {
            *sum = s.mul_add_of_four::<I>(four, vector, *sum);
        }
    }
}

/// Adds the products of value `k` of every row with the first `V` vectors of `b`.
#[inline(always)]
fn add_one<S: Simd, const M: usize, const V: usize>(
    s: S,
    sums: &mut [[S::F32; V]; M],
    rows: [&[f32]; M],
    k: usize,
    b: &[f32],
) {
    let vectors = vectors::<S, V>(s, b);
    for (sums, row) in sums.iter_mut().zip(rows) {
        let factor = s.splat(row[k]);
        for (sum, vector) in sums.iter_mut().zip(vectors) {
            *sum = s.mul_add(factor, vector, *sum);
        }
    }
}

/// The first `V` vectors of `b`.
#[inline(always)]
fn vectors<S: Simd, const V: usize>(s: S, b: &[f32]) -> [S::F32; V] {
    let mut vectors = [s.splat(0.0); V];
    for (vector, b) in vectors.iter_mut().zip(&b.as_chunks().0[..V]) {
        *vector = s.load(b);
    }
    vectors
}

#[cfg(test)]
mod tests {
    use super::super::cpu::Isa;
    use super::super::end_of_file::EndOfFile;
    use super::super::tested::isas;
    use super::*;

    /// `b` in panels that are matrices of their own, and their width. What the last panel lacks is NaN.
    struct ByPanels<'a> {
        b: &'a [f32],
        b_stride: usize,
        depth: usize,
        columns: usize,
    }

    impl Task for ByPanels<'_> {
        type Output = (Vec<f32>, usize);

        #[inline(always)]
        fn run<S: Simd>(self, _: S) -> Self::Output {
            let width = panel_width::<S>();
            let mut panels = vec![f32::NAN; self.columns.div_ceil(width) * self.depth * width];
            for k in 0..self.depth {
                for n in 0..self.columns {
                    panels[(n / width * self.depth + k) * width + n % width] = self.b[k * self.b_stride + n];
                }
            }
            (panels, width)
        }
    }

    #[test]
    fn products_of_small_integers_are_exact_at_every_height_and_width() {
        for rows in 1..=30 {
            for (depth, columns) in [(1, 16), (3, 32), (5, 48), (64, 80), (128, 16), (129, 48), (300, 32)] {
                let (a_stride, b_stride, c_stride) = (depth + 3, columns + 5, columns + 7);
                let a: Vec<f32> = (0..rows * a_stride).map(|i| (i % 13) as f32 - 6.0).collect();
                let b: Vec<f32> = (0..depth * b_stride).map(|i| (i % 11) as f32 - 5.0).collect();
                let (a, b) = (&a[..a.len() - 3], &b[..b.len() - 5]);
                let want = |(m, n): (usize, usize)| {
                    let product = || (0..depth).map(|k| a[m * a_stride + k] * b[k * b_stride + n]).sum();
                    if n < columns { product() } else { 0.5 }
                };
                let places = (0..rows).flat_map(|m| (0..c_stride).map(move |n| (m, n)));
                let want: Vec<f32> = places.map(want).collect();
                for isa in isas() {
                    let (panels, width) = isa.run(ByPanels { b, b_stride, depth, columns });
                    // The last one without what the last row has beyond the columns.
                    let cut = panels.len() - (columns.next_multiple_of(width) - columns);
                    let by_panels = [&panels[..], &panels[..cut]].map(|panels| (panels, width, depth * width));
                    let layouts = [(b, b_stride, width)].into_iter().chain(by_panels);
                    for (layout, (b_of_layout, stride, b_panel)) in layouts.enumerate() {
                        let mut c = vec![0.5; rows * c_stride];
                        isa.run(Product {
                            rows,
                            depth,
                            columns,
                            a,
                            a_stride,
                            b: b_of_layout,
                            b_stride: stride,
                            b_panel,
                            c: &mut c,
                            c_stride,
                        });
                        let wrong =
                            (0..want.len()).find(|i| c[*i] != want[*i]).map(|i| (i / c_stride, i % c_stride, c[i]));
                        assert_eq!(wrong, None, "{}, {rows} x {depth} x {columns}, layout {layout}", isa.name());
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_is_read_beyond_the_operands() {
        for depth in 1..=9 {
            for (rows, columns) in [(1, 16), (2, 32), (3, 48), (4, 16), (5, 32), (12, 16)] {
                let a: Vec<f32> = (0..rows * depth).map(|i| (i % 13) as f32 - 6.0).collect();
                let b: Vec<f32> = (0..depth * columns).map(|i| (i % 11) as f32 - 5.0).collect();
                let (a_at_end, b_at_end) = (EndOfFile::new(&a), EndOfFile::new(&b));
                for isa in isas() {
                    let (_, b_panel) = isa.run(ByPanels { b: &b, b_stride: columns, depth, columns });
                    let mut c = vec![0.5; rows * columns];
                    isa.run(Product {
                        rows,
                        depth,
                        columns,
                        a: a_at_end.values(),
                        a_stride: depth,
                        b: b_at_end.values(),
                        b_stride: columns,
                        b_panel,
                        c: &mut c,
                        c_stride: columns,
                    });
                    for (i, c) in c.iter().enumerate() {
                        let products = (0..depth).map(|k| a[i / columns * depth + k] * b[k * columns + i % columns]);
                        assert_eq!(*c, products.sum::<f32>(), "{} {i} of {rows} x {depth} x {columns}", isa.name());
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "the second matrix has 47 values, not 48")]
    fn a_missing_value_is_refused() {
        let (a, b, mut c) = ([1.0; 3], [1.0; 47], [0.0; 16]);
        Isa::Portable.run(Product {
            rows: 1,
            depth: 3,
            columns: 16,
            a: &a,
            a_stride: 3,
            b: &b,
            b_stride: 16,
            b_panel: 16,
            c: &mut c,
            c_stride: 16,
        });
    }
}
