//! Vectors of 32-bit Arm: those that every target has, but for what is a function in assembly.

use super::{product, vectors};
use crate::kernels::cpu::Neon32;
use crate::kernels::simd::{BLOCK, LANES, Polynomials, Portable, Simd, Task};

/// Methods that do what those of [`Portable`] do.
macro_rules! portable {
    ($(fn $name:ident $(<$lifetime:lifetime>)? ($($argument:ident: $type:ty),*) $(-> $out:ty)?;)*) => {$(
        #[inline(always)]
        fn $name $(<$lifetime>)? (self, $($argument: $type),*) $(-> $out)? {
            Simd::$name(Portable, $($argument),*)
        }
    )*};
}

/// Methods that are functions of [`vectors`].
macro_rules! vectors {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $out:ty;)*) => {$(
        #[inline(always)]
        fn $name(self, $($argument: $type),*) -> $out {
            vectors::$name(self, $(&$argument),*)
        }
    )*};
}

type F32 = <Portable as Simd>::F32;
type I32 = <Portable as Simd>::I32;

impl Simd for Neon32 {
    type F32 = F32;
    type I32 = I32;
    type Four<'a> = <Portable as Simd>::Four<'a>;

    const TILE: (usize, usize) = (product::ROWS, 1);
    const FOURS: bool = Portable::FOURS;
    const NAN_STAYS: bool = true;

    fn call<T: Task>(self, task: T) -> T::Output {
        task.run(self)
    }

    portable! {
        fn prefetch(bytes: &[i8]);
        fn splat(x: f32) -> F32;
        fn load(x: &[f32; LANES]) -> F32;
        fn store(x: F32, to: &mut [f32; LANES]);
        fn div(a: F32, b: F32) -> F32;
        fn four<'a>(x: &'a [f32; 4]) -> Self::Four<'a>;
        fn load_i32(x: &[i32; LANES]) -> I32;
        fn array_i32(x: I32) -> [i32; LANES];
        fn lookup(window: &[f32; LANES], columns: &[u32; LANES]) -> F32;
        fn transpose(rows: &mut [F32; LANES]);
        fn fold(x: F32, f: impl Fn(F32, F32) -> F32) -> f32;
    }

    vectors! {
        fn add(a: F32, b: F32) -> F32;
        fn sub(a: F32, b: F32) -> F32;
        fn mul(a: F32, b: F32) -> F32;
        fn mul_add(a: F32, b: F32, c: F32) -> F32;
        fn min(a: F32, b: F32) -> F32;
        fn max(a: F32, b: F32) -> F32;
        fn to_f32(x: I32) -> F32;
        fn bits_add_shl23(x: F32, add: i32) -> F32;
    }

    #[inline(always)]
    fn scaled(self, x: &I32, row: [f32; 2], channels: &[F32; 3]) -> F32 {
        vectors::scaled(self, x, &row, channels)
    }

    #[inline(always)]
    fn extend_range(self, vectors: &[[f32; LANES]], low: &mut F32, high: &mut F32) {
        vectors::extend_range(self, vectors, low, high);
    }

    #[inline(always)]
    fn store_i8(self, x: [F32; BLOCK / LANES], flip: i8, to: &mut [i8; BLOCK]) {
        vectors::store_i8(self, &x, flip, to);
    }

    #[inline(always)]
    fn polynomials(self, x: F32, of: &Polynomials) -> [F32; 2] {
        vectors::polynomials(self, &x, of)
    }

    #[inline(always)]
    fn mul_add_of_four<const I: i32>(self, a: Self::Four<'_>, b: F32, c: F32) -> F32 {
        self.mul_add(self.splat(a[I as usize]), b, c)
    }

    #[inline(always)]
    fn add_products<const M: usize, const V: usize>(
        self,
        sums: &mut [[F32; V]; M],
        rows: [&[f32]; M],
        b: &[f32],
        b_stride: usize,
    ) {
        assert!(M <= product::ROWS, "a tile of {M} rows");
        for v in 0..V {
            // For rows that the function has and the tile has not, the last one is multiplied again.
            let mut all = std::array::from_fn(|m| sums[m.min(M - 1)][v]);
            let rows = std::array::from_fn(|m| rows[m.min(M - 1)]);
            product::add(self, &mut all, rows, &b[v * LANES..], b_stride);
            for (sums, all) in sums.iter_mut().zip(all) {
                sums[v] = all;
            }
        }
    }
}
