//! Vectors of 16 `f32`, whatever the registers of the CPU: one AVX-512 register, two AVX registers, four of 128 bits.
//!
//! Code over [`Simd`] is written once. As every instruction set works on the same 16 lanes, sums are added up in the same
//! order everywhere; results differ only where a fused multiply-add rounds once instead of twice, or subnormal numbers count as zero.

use super::elementary::{self, MAGIC};
use super::gemm_f32;
use super::score_products::{self, Operands, Sums};

/// Lanes of a vector; also the channels of a panel of packed weights.
pub(super) const LANES: usize = 16;
/// Values of a block, which is what is narrowed to bytes at once.
pub(super) const BLOCK: usize = 4 * LANES;

/// Work that is compiled once per instruction set. `run`, and all that it calls with the token, must be `#[inline(always)]`, so
/// that it becomes part of the function whose instruction set the token stands for.
pub(super) trait Task {
    type Output;

    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Operations on vectors of [`LANES`] lanes. Implementors are tokens, which exist only where the CPU has the instructions. Subnormal
/// numbers, below 1.2e-38, may count as zero.
pub(super) trait Simd: Copy {
    type F32: Copy;
    type I32: Copy;
    /// Four neighbouring `f32`, of which each can be a factor of a whole vector.
    type Four<'a>: Copy;

    /// Rows and vectors of a tile of an `f32` product whose sums stay in registers: at most 12 and 2.
    const TILE: (usize, usize);

    /// Whether [`Simd::mul_add_of_four`] takes no more instructions than [`Simd::mul_add`].
    const FOURS: bool;
    /// Whether [`Simd::min`] and [`Simd::max`] are NaN if either operand is.
    const NAN_STAYS: bool;
    /// Whether, besides, a range costs least where it is found while the values are computed.
    const RANGE_IN_PASSING: bool = false;

    /// Runs `task` as a function of its own.
    fn call<T: Task>(self, task: T) -> T::Output;

    /// Asks for `bytes` to be brought into the caches, for use soon. Without effect where there is no such instruction.
    fn prefetch(self, bytes: &[i8]);

    fn splat(self, x: f32) -> Self::F32;
    fn load(self, x: &[f32; LANES]) -> Self::F32;
    fn store(self, x: Self::F32, to: &mut [f32; LANES]);
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a / b`, correctly rounded on x86-64 and 64-bit Arm, which therefore give the same answers: the next layer may make different bytes of
    /// values that differ in their last digit.
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a b + c`, rounded once or twice.
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    fn four<'a>(self, x: &'a [f32; 4]) -> Self::Four<'a>;
    /// [`Simd::mul_add`] with `a` in all lanes, which is value `I` of four.
    fn mul_add_of_four<const I: i32>(self, a: Self::Four<'_>, b: Self::F32, c: Self::F32) -> Self::F32;
    /// The smaller one; NaN if `b` is, `b` or NaN if `a` is.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The larger one; NaN if `b` is, `b` or NaN if `a` is.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// Takes every lane of `low` down, and of `high` up, to the values of some vectors in that lane.
    #[inline(always)]
    fn extend_range(self, vectors: &[[f32; LANES]], low: &mut Self::F32, high: &mut Self::F32) {
        for x in vectors {
            let x = self.load(x);
            *low = self.min(x, *low);
            *high = self.max(x, *high);
        }
    }
    /// The integers as `f32`, rounded to nearest even.
    fn to_f32(self, x: Self::I32) -> Self::F32;
    fn load_i32(self, x: &[i32; LANES]) -> Self::I32;
    /// `(x scale + sums offset) scales + bias`, of a row's `[scale, offset]` and the channels' `[sums, scales, bias]`.
    #[inline(always)]
    fn scaled(self, x: &[i32; LANES], row: [f32; 2], channels: &[Self::F32; 3]) -> Self::F32 {
        let ([scale, offset], [sums, scales, bias]) = (row.map(|x| self.splat(x)), *channels);
        let sum = self.mul_add(self.to_f32(self.load_i32(x)), scale, self.mul(sums, offset));
        self.mul_add(sum, scales, bias)
    }
    fn array_i32(self, x: Self::I32) -> [i32; LANES];
    /// Reinterprets the bits of `x`, adds `add` and shifts left by 23: with `x = n + 1.5 * 2^23`, `add = 127` and `n` in
    /// `-126..=127`, the `f32` `2^n`.
    fn bits_add_shl23(self, x: Self::F32, add: i32) -> Self::F32;
    /// Rounds values below 2^15 in magnitude to the nearest integers, of ties to the even ones, takes the nearest of
    /// `[-127, 127]`, and stores it with the bits of `flip` flipped. NaN gives an unspecified integer of these.
    fn store_i8(self, x: [Self::F32; BLOCK / LANES], flip: i8, to: &mut [i8; BLOCK]);
    /// [`Simd::store_i8`], without flipping bits, in another order: byte `i` of the four from `4 l` on is that of lane `l` of vector `i`.
    #[inline(always)]
    fn store_i8_in_fours(self, x: [Self::F32; BLOCK / LANES], to: &mut [i8; BLOCK]) {
        let mut bytes = [0; BLOCK];
        self.store_i8(x, 0, &mut bytes);
        for (lane, to) in to.as_chunks_mut::<{ BLOCK / LANES }>().0.iter_mut().enumerate() {
            *to = std::array::from_fn(|i| bytes[i * LANES + lane]);
        }
    }
    /// The bytes that are `byte`: bit `i` of the result stands for byte `i`.
    #[inline(always)]
    fn positions(self, bytes: &[i8; BLOCK], byte: i8) -> u64 {
        const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
        let all = u64::from_ne_bytes([byte.cast_unsigned(); 8]);
        let mut positions = 0;
        for (i, word) in bytes.as_chunks::<8>().0.iter().enumerate() {
            let differences = u64::from_le_bytes(bytemuck::cast(*word)) ^ all;
            // The top bit of every byte that is 0.
            let zeros = !(((differences & LOW) + LOW) | differences | LOW);
            if zeros != 0 {
                // Multiplied, bit 8 k goes to bit 56 + k.
                positions |= ((zeros >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * i);
            }
        }
        positions
    }
    /// Lane `l` is `window[columns[l] - columns[0]]`, for columns of which none is less than the one before it or more than 1
    /// above it. Other columns give unspecified values.
    fn lookup(self, window: &[f32; LANES], columns: &[u32; LANES]) -> Self::F32;
    /// Transposes in place: lane `c` of vector `r` changes places with lane `r` of vector `c`.
    fn transpose(self, rows: &mut [Self::F32; LANES]);

    /// Adds the products of all values of every row with the first `V` vectors of the rows of `b`, `b_stride` values apart, in the order of
    /// the values. All rows of a tile are of one length, and there are no more of them than [`Simd::TILE`] says.
    #[inline(always)]
    fn add_products<const M: usize, const V: usize>(
        self,
        sums: &mut [[Self::F32; V]; M],
        rows: [&[f32]; M],
        b: &[f32],
        b_stride: usize,
    ) {
        gemm_f32::add_products(self, sums, rows, b, b_stride);
    }

    /// [`elementary::exp`], by the same operations as everywhere.
    #[inline(always)]
    fn exp(self, x: Self::F32) -> Self::F32 {
        elementary::exp_of_operations(self, x)
    }

    /// [`elementary::gelu`], by the same operations as everywhere.
    #[inline(always)]
    fn gelu(self, x: Self::F32) -> Self::F32 {
        elementary::gelu_of_operations(self, x)
    }

    /// Two polynomials of `x` by Horner's rule: a [`Simd::mul_add`] for every coefficient but the highest.
    #[inline(always)]
    fn polynomials(self, x: Self::F32, of: &Polynomials) -> [Self::F32; 2] {
        let [[p, _, _, _], [q, _, _, _]] = of.0[0];
        let mut sums = [self.splat(p), self.splat(q)];
        for coefficients in &of.0[1..] {
            for (sum, c) in sums.iter_mut().zip(coefficients) {
                *sum = self.mul_add(*sum, x, self.splat(c[0]));
            }
        }
        sums
    }

    /// Combines the lanes in pairs at distance 8, 4, 2, 1 with `f`, which works lane by lane and takes its operands in any order.
    fn fold(self, x: Self::F32, f: impl Fn(Self::F32, Self::F32) -> Self::F32) -> f32;

    /// Lane `r` is the largest lane of vector `r`, NaN if one is and [`Simd::NAN_STAYS`].
    #[inline(always)]
    fn largest_of_each(self, mut vectors: [Self::F32; LANES]) -> Self::F32 {
        self.transpose(&mut vectors);
        let mut largest = vectors[0];
        for vector in vectors {
            largest = self.max(vector, largest);
        }
        largest
    }

    /// The sum of all lanes, in pairs at distance 8, 4, 2, 1.
    #[inline(always)]
    fn sum(self, x: Self::F32) -> f32 {
        self.fold(x, |a, b| self.add(a, b))
    }

    /// The smallest lane; unspecified if one is NaN.
    #[inline(always)]
    fn smallest(self, x: Self::F32) -> f32 {
        self.fold(x, |a, b| self.min(a, b))
    }

    /// The largest lane; unspecified if one is NaN.
    #[inline(always)]
    fn largest(self, x: Self::F32) -> f32 {
        self.fold(x, |a, b| self.max(a, b))
    }
}

/// Coefficients of two polynomials of degree 5, of the highest power first, each in the four lanes of a register.
#[repr(C, align(32))]
pub(super) struct Polynomials(pub [[[f32; 4]; 2]; 6]);

impl Polynomials {
    /// From the coefficients of `1, x, ..., x^5`.
    pub const fn new(p: [f32; 6], q: [f32; 6]) -> Self {
        let mut all = [[[0.0; 4]; 2]; 6];
        let mut i = 0;
        while i < 6 {
            all[5 - i] = [[p[i]; 4], [q[i]; 4]];
            i += 1;
        }
        Self(all)
    }
}

/// Work that needs products of bytes, compiled once per instruction set that has them; see [`Task`].
pub(super) trait TaskDot {
    type Output;

    #[cfg_attr(
        not(any(target_arch = "x86_64", target_arch = "aarch64")),
        allow(dead_code, reason = "no vectors here multiply bytes")
    )]
    fn run<S: Simd, D: Dot<S>>(self, simd: S, dot: D) -> Self::Output;
}

/// Sums of products of bytes: one or a few instructions that add the products of four pairs of neighbouring bytes to each lane.
/// Implementors are tokens, which exist only where the CPU has them.
pub(super) trait Dot<S: Simd>: Copy {
    /// Four bytes for every lane.
    type Bytes: Copy;

    /// The first operand's bytes are numbers in `[-127, 127]` xored with this: with 0x80, they count as unsigned ones and thus too
    /// much by 128; with 0, as they are.
    const FLIP: u8;
    /// Vectors of keys, 1, 2 or 4, that are multiplied together with 2 queries each.
    const SQUARES: usize;

    fn load(self, bytes: &[u8; 4 * LANES]) -> Self::Bytes;
    /// The same four bytes for every lane.
    fn splat(self, bytes: &[u8; 4]) -> Self::Bytes;
    /// `sum + a_0 b_0 + ... + a_3 b_3` in every lane, wrapping around. `a` is meant as [`Dot::FLIP`] says, `b` as `i8`. Both are in
    /// `[-127, 127]`; -128, which neither quantisation nor a valid artifact gives, makes the sum unspecified.
    fn dot(self, sum: S::I32, a: Self::Bytes, b: Self::Bytes) -> S::I32;

    /// The sums of the products of the queries from `row` on, as [`Dot::dot`] adds them to `start`, which is zero where [`Dot::FLIP`] is.
    ///
    /// # Panics
    /// If a square has no such queries.
    #[inline(always)]
    fn score_sums<const T: usize>(
        self,
        operands: &Operands<'_, T>,
        row: usize,
        start: Sums<S::I32, T>,
    ) -> Sums<S::I32, T> {
        score_products::add::<S, Self, T>(self, operands, row, start)
    }
}

/// The first values of a vector; the other lanes are zero.
///
/// # Panics
/// If there are more than [`LANES`].
#[inline(always)]
pub(super) fn load_part<S: Simd>(simd: S, x: &[f32]) -> S::F32 {
    match x.try_into() {
        Ok(x) => simd.load(x),
        Err(_) if x.is_empty() => simd.splat(0.0),
        Err(_) => {
            let mut lanes = [0.0; LANES];
            lanes[..x.len()].copy_from_slice(x);
            simd.load(&lanes)
        }
    }
}

/// Stores the first lanes of a vector.
///
/// # Panics
/// If there are fewer than `to` has places.
#[inline(always)]
pub(super) fn store_part<S: Simd>(simd: S, x: S::F32, to: &mut [f32]) {
    let len = to.len();
    match to.try_into() {
        Ok(to) => simd.store(x, to),
        Err(_) if len == 0 => {}
        Err(_) => {
            let mut lanes = [0.0; LANES];
            simd.store(x, &mut lanes);
            to.copy_from_slice(&lanes[..len]);
        }
    }
}

/// The vectors that every target has: arrays, for the compiler to vectorise. Multiply-add rounds twice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portable;

#[inline(always)]
fn zip(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Portable {
    type F32 = [f32; LANES];
    type I32 = [i32; LANES];
    type Four<'a> = &'a [f32; 4];

    const TILE: (usize, usize) = (2, 1);
    const FOURS: bool = false;
    const NAN_STAYS: bool = false;

    fn call<T: Task>(self, task: T) -> T::Output {
        task.run(self)
    }

    #[inline(always)]
    fn prefetch(self, _: &[i8]) {}

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F32 {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::F32 {
        *x
    }

    #[inline(always)]
    fn store(self, x: Self::F32, to: &mut [f32; LANES]) {
        *to = x;
    }

    #[inline(always)]
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        self.add(self.mul(a, b), c)
    }

    #[inline(always)]
    fn four<'a>(self, x: &'a [f32; 4]) -> Self::Four<'a> {
        x
    }

    #[inline(always)]
    fn mul_add_of_four<const I: i32>(self, a: Self::Four<'_>, b: Self::F32, c: Self::F32) -> Self::F32 {
        self.mul_add(Simd::splat(self, a[I as usize]), b, c)
    }

    #[inline(always)]
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn to_f32(self, x: Self::I32) -> Self::F32 {
        x.map(|x| x as f32)
    }

    #[inline(always)]
    fn load_i32(self, x: &[i32; LANES]) -> Self::I32 {
        *x
    }

    #[inline(always)]
    fn array_i32(self, x: Self::I32) -> [i32; LANES] {
        x
    }

    #[inline(always)]
    fn bits_add_shl23(self, x: Self::F32, add: i32) -> Self::F32 {
        x.map(|x| f32::from_bits(x.to_bits().wrapping_add_signed(add) << 23))
    }

    #[inline(always)]
    fn store_i8(self, x: [Self::F32; BLOCK / LANES], flip: i8, to: &mut [i8; BLOCK]) {
        // Adding so large a number rounds.
        for (to, x) in to.iter_mut().zip(x.as_flattened()) {
            *to = (((x + MAGIC) - MAGIC) as i8).max(-127) ^ flip;
        }
    }

    #[inline(always)]
    fn fold(self, mut x: Self::F32, f: impl Fn(Self::F32, Self::F32) -> Self::F32) -> f32 {
        for distance in [8, 4, 2, 1] {
            x = f(x, std::array::from_fn(|lane| x[lane ^ distance]));
        }
        x[0]
    }

    #[inline(always)]
    fn lookup(self, window: &[f32; LANES], columns: &[u32; LANES]) -> Self::F32 {
        columns.map(|column| window[column.wrapping_sub(columns[0]) as usize % LANES])
    }

    #[inline(always)]
    fn transpose(self, rows: &mut [Self::F32; LANES]) {
        *rows = std::array::from_fn(|c| std::array::from_fn(|r| rows[r][c]));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tested::isas;
    use super::*;

    struct Folds([f32; LANES]);

    impl Task for Folds {
        type Output = [f32; 3];

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let x = s.load(&self.0);
            [s.sum(x), s.smallest(x), s.largest(x)]
        }
    }

    #[test]
    fn every_instruction_set_folds_all_lanes_in_the_same_order() {
        for at in 0..LANES {
            let mut x: [f32; LANES] = std::array::from_fn(|i| 1.0 + 1e-7 * (i * i) as f32);
            (x[at], x[(at + 5) % LANES]) = (-3e7, 1e8);
            let mut lanes = x.to_vec();
            for width in [8, 4, 2, 1] {
                lanes = (0..width).map(|i| lanes[i] + lanes[i + width]).collect();
            }
            for isa in isas() {
                assert_eq!(isa.run(Folds(x)), [lanes[0], -3e7, 1e8], "{} {at}", isa.name());
            }
        }
    }
}
