//! 16 `f32` in two AVX registers.

use std::arch::x86_64::*;

use crate::kernels::cpu::{Avx2, AvxVnni};
use crate::kernels::simd::{BLOCK, Dot, LANES, Simd, Task, TaskDot};

/// Runs `task` in code compiled for AVX2 and FMA.
pub(in crate::kernels) fn run<T: Task>(token: Avx2, task: T) -> T::Output {
    // SAFETY: the token proves the features.
    unsafe { run_avx2(token, task) }
}

#[target_feature(enable = "avx2,fma")]
fn run_avx2<T: Task>(token: Avx2, task: T) -> T::Output {
    task.run(token)
}

/// Lanes of one register.
const HALF: usize = LANES / 2;

/// Both halves of a slice's first 16 values.
#[inline(always)]
fn halves<T>(x: &[T; LANES]) -> (&[T; HALF], &[T; HALF]) {
    let (low, high) = x.split_at(HALF);
    (low.try_into().expect("8 values"), high.try_into().expect("8 values"))
}

/// Transposes 8 x 8 values.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose_8x8(r: [__m256; HALF]) -> [__m256; HALF] {
    let zero = _mm256_setzero_ps();
    let mut pairs = [zero; HALF];
    for i in 0..4 {
        pairs[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    // quads[4 i + c]: columns c and c + 4 of rows 4 i .. 4 i + 4.
    let mut quads = [zero; HALF];
    for i in 0..2 {
        for half in 0..2 {
            let (a, b) = (pairs[4 * i + half], pairs[4 * i + 2 + half]);
            quads[4 * i + 2 * half] = _mm256_shuffle_ps::<0b01_00_01_00>(a, b);
            quads[4 * i + 2 * half + 1] = _mm256_shuffle_ps::<0b11_10_11_10>(a, b);
        }
    }
    let mut out = [zero; HALF];
    for c in 0..4 {
        out[c] = _mm256_permute2f128_ps::<0x20>(quads[c], quads[4 + c]);
        out[c + 4] = _mm256_permute2f128_ps::<0x31>(quads[c], quads[4 + c]);
    }
    out
}

/// Runs `task`, which needs products of bytes, in code compiled for AVX2.
pub(in crate::kernels) fn run_dot_avx2<T: TaskDot>(token: Avx2, task: T) -> T::Output {
    // SAFETY: the token proves the features.
    unsafe { run_dot(token, task) }
}

#[target_feature(enable = "avx2,fma")]
fn run_dot<T: TaskDot>(token: Avx2, task: T) -> T::Output {
    task.run(token, token)
}

/// `vpmaddubsw` of magnitudes and of bytes that take over the signs: two products of bytes in `[-127, 127]` are at most 32258, so
/// that it does not saturate.
impl Dot<Avx2> for Avx2 {
    type Bytes = (__m256i, __m256i);

    const FLIP: u8 = 0;
    const SQUARES: usize = 1;

    #[inline(always)]
    fn load(self, bytes: &[u8; 4 * LANES]) -> Self::Bytes {
        load_bytes(self, bytes)
    }

    #[inline(always)]
    fn splat(self, bytes: &[u8; 4]) -> Self::Bytes {
        splat_bytes(self, bytes)
    }

    #[inline(always)]
    fn dot(self, sum: (__m256i, __m256i), a: Self::Bytes, b: Self::Bytes) -> (__m256i, __m256i) {
        // SAFETY: the token proves AVX2.
        unsafe { (dot_magnitudes(sum.0, a.0, b.0), dot_magnitudes(sum.1, a.1, b.1)) }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn dot_magnitudes(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(b, a));
    _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

#[inline(always)]
fn load_bytes(_: Avx2, bytes: &[u8; 4 * LANES]) -> (__m256i, __m256i) {
    let (low, high) = bytes.split_at(2 * LANES);
    // SAFETY: the token proves AVX2; each half has the 32 bytes of a register.
    unsafe { (_mm256_loadu_si256(low.as_ptr().cast()), _mm256_loadu_si256(high.as_ptr().cast())) }
}

#[inline(always)]
fn splat_bytes(_: Avx2, bytes: &[u8; 4]) -> (__m256i, __m256i) {
    // SAFETY: the token proves AVX2.
    let bytes = unsafe { _mm256_set1_epi32(i32::from_ne_bytes(*bytes)) };
    (bytes, bytes)
}

/// Runs `task` in code compiled for AVX-VNNI.
pub(in crate::kernels) fn run_dot_avx_vnni<T: TaskDot>(token: AvxVnni, task: T) -> T::Output {
    // SAFETY: the token proves the features.
    unsafe { run_avx_vnni(token, task) }
}

#[target_feature(enable = "avx2,fma,avxvnni")]
fn run_avx_vnni<T: TaskDot>(token: AvxVnni, task: T) -> T::Output {
    task.run(Avx2::from(token), token)
}

impl Dot<Avx2> for AvxVnni {
    type Bytes = (__m256i, __m256i);

    const FLIP: u8 = 0x80;
    const SQUARES: usize = 1;

    #[inline(always)]
    fn load(self, bytes: &[u8; 4 * LANES]) -> Self::Bytes {
        load_bytes(self.into(), bytes)
    }

    #[inline(always)]
    fn splat(self, bytes: &[u8; 4]) -> Self::Bytes {
        splat_bytes(self.into(), bytes)
    }

    #[inline(always)]
    fn dot(self, sum: (__m256i, __m256i), a: Self::Bytes, b: Self::Bytes) -> (__m256i, __m256i) {
        // SAFETY: the token proves AVX-VNNI.
        unsafe { (_mm256_dpbusd_avx_epi32(sum.0, a.0, b.0), _mm256_dpbusd_avx_epi32(sum.1, a.1, b.1)) }
    }
}

impl Simd for Avx2 {
    type F32 = (__m256, __m256);
    type I32 = (__m256i, __m256i);
    type Four<'a> = &'a [f32; 4];

    const TILE: (usize, usize) = (6, 1);
    const FOURS: bool = false;
    const NAN_STAYS: bool = false;

    #[inline(always)]
    fn call<T: Task>(self, task: T) -> T::Output {
        run(self, task)
    }

    #[inline(always)]
    fn prefetch(self, bytes: &[i8]) {
        for line in bytes.chunks(64) {
            // SAFETY: SSE, which every x86-64 CPU has. No address can do harm, and this one is valid.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr()) }
        }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F32 {
        // SAFETY: the token proves AVX2.
        let x = unsafe { _mm256_set1_ps(x) };
        (x, x)
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::F32 {
        let (low, high) = halves(x);
        // SAFETY: the token proves AVX2; each half has the 32 bytes of a register.
        unsafe { (_mm256_loadu_ps(low.as_ptr()), _mm256_loadu_ps(high.as_ptr())) }
    }

    #[inline(always)]
    fn store(self, x: Self::F32, to: &mut [f32; LANES]) {
        let (low, high) = to.split_at_mut(HALF);
        // SAFETY: the token proves AVX2; each half has the 32 bytes of a register.
        unsafe {
            _mm256_storeu_ps(low.as_mut_ptr(), x.0);
            _mm256_storeu_ps(high.as_mut_ptr(), x.1);
        }
    }

    #[inline(always)]
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: the token proves AVX2.
        unsafe { (_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: the token proves AVX2.
        unsafe { (_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: the token proves AVX2.
        unsafe { (_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: the token proves AVX2.
        unsafe { (_mm256_div_ps(a.0, b.0), _mm256_div_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        // SAFETY: the token proves FMA.
        unsafe { (_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1)) }
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
        // SAFETY: the token proves AVX2.
        unsafe { (_mm256_min_ps(a.0, b.0), _mm256_min_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: the token proves AVX2.
        unsafe { (_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn to_f32(self, x: Self::I32) -> Self::F32 {
        // SAFETY: the token proves AVX2.
        unsafe { (_mm256_cvtepi32_ps(x.0), _mm256_cvtepi32_ps(x.1)) }
    }

    #[inline(always)]
    fn load_i32(self, x: &[i32; LANES]) -> Self::I32 {
        let (low, high) = halves(x);
        // SAFETY: the token proves AVX2; each half has the 32 bytes of a register.
        unsafe { (_mm256_loadu_si256(low.as_ptr().cast()), _mm256_loadu_si256(high.as_ptr().cast())) }
    }

    #[inline(always)]
    fn array_i32(self, x: Self::I32) -> [i32; LANES] {
        let mut lanes = [0; LANES];
        let (low, high) = lanes.split_at_mut(HALF);
        // SAFETY: the token proves AVX2; each half has the 32 bytes of a register.
        unsafe {
            _mm256_storeu_si256(low.as_mut_ptr().cast(), x.0);
            _mm256_storeu_si256(high.as_mut_ptr().cast(), x.1);
        }
        lanes
    }

    #[inline(always)]
    fn bits_add_shl23(self, x: Self::F32, add: i32) -> Self::F32 {
        // SAFETY: the token proves AVX2.
        unsafe {
            let add = _mm256_set1_epi32(add);
            let low = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_castps_si256(x.0), add));
            let high = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_castps_si256(x.1), add));
            (_mm256_castsi256_ps(low), _mm256_castsi256_ps(high))
        }
    }

    #[inline(always)]
    fn store_i8(self, x: [Self::F32; BLOCK / LANES], flip: i8, to: &mut [i8; BLOCK]) {
        for (x, to) in x.as_chunks::<2>().0.iter().zip(to.as_chunks_mut::<{ BLOCK / 2 }>().0) {
            // SAFETY: the token proves AVX2; the part has the 32 bytes of a register.
            unsafe {
                let words = |x: Self::F32| _mm256_packs_epi32(_mm256_cvtps_epi32(x.0), _mm256_cvtps_epi32(x.1));
                let bytes = _mm256_max_epi8(_mm256_packs_epi16(words(x[0]), words(x[1])), _mm256_set1_epi8(-127));
                // Packing works in 128-bit halves, so that each of them holds a part of all registers.
                let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
                let bytes = _mm256_permutevar8x32_epi32(bytes, order);
                _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm256_xor_si256(bytes, _mm256_set1_epi8(flip)));
            }
        }
    }

    #[inline(always)]
    fn store_i8_in_fours(self, x: [Self::F32; BLOCK / LANES], to: &mut [i8; BLOCK]) {
        let halves = [[x[0].0, x[1].0, x[2].0, x[3].0], [x[0].1, x[1].1, x[2].1, x[3].1]];
        for (x, to) in halves.into_iter().zip(to.as_chunks_mut::<{ BLOCK / 2 }>().0) {
            // SAFETY: the token proves AVX2; the part has the 32 bytes of a register.
            unsafe {
                // Packing works in 128-bit halves, of which each then holds four lanes of every vector.
                let words = |a, b| _mm256_packs_epi32(_mm256_cvtps_epi32(a), _mm256_cvtps_epi32(b));
                let bytes = _mm256_packs_epi16(words(x[0], x[1]), words(x[2], x[3]));
                let bytes = _mm256_max_epi8(bytes, _mm256_set1_epi8(-127));
                let order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
                let bytes = _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(order));
                _mm256_storeu_si256(to.as_mut_ptr().cast(), bytes);
            }
        }
    }

    #[inline(always)]
    fn positions(self, bytes: &[i8; BLOCK], byte: i8) -> u64 {
        let (halves, _) = bytes.as_chunks::<{ BLOCK / 2 }>();
        let mut positions = 0;
        for (i, half) in halves.iter().enumerate() {
            // SAFETY: the token proves AVX2; the half has the 32 bytes of a register.
            let mask = unsafe {
                let bytes = _mm256_loadu_si256(half.as_ptr().cast());
                _mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(byte)))
            };
            positions |= u64::from(mask.cast_unsigned()) << (i * BLOCK / 2);
        }
        positions
    }

    #[inline(always)]
    fn fold(self, x: Self::F32, f: impl Fn(Self::F32, Self::F32) -> Self::F32) -> f32 {
        let x = f(x, (x.1, x.0)).0;
        let f = |a, b| f((a, a), (b, b)).0;
        // SAFETY: the token proves AVX2.
        unsafe {
            let x = f(x, _mm256_permute2f128_ps::<1>(x, x));
            let x = f(x, _mm256_permute_ps::<0b01_00_11_10>(x));
            let x = f(x, _mm256_permute_ps::<0b10_11_00_01>(x));
            _mm256_cvtss_f32(x)
        }
    }

    #[inline(always)]
    fn lookup(self, window: &[f32; LANES], columns: &[u32; LANES]) -> Self::F32 {
        let (low, high) = halves(columns);
        // The upper half starts at most 8 columns after the lower one.
        let step = (high[0].wrapping_sub(low[0]) as usize).min(HALF);
        // SAFETY: the token proves AVX2; either half starts 8 values before the end of the window or earlier. The permutation takes
        // its indices modulo 8.
        unsafe {
            let (low, high) = (_mm256_loadu_si256(low.as_ptr().cast()), _mm256_loadu_si256(high.as_ptr().cast()));
            let first = |x| _mm256_broadcastd_epi32(_mm256_castsi256_si128(x));
            let upper = &window[step..][..HALF];
            (
                _mm256_permutevar8x32_ps(_mm256_loadu_ps(window.as_ptr()), _mm256_sub_epi32(low, first(low))),
                _mm256_permutevar8x32_ps(_mm256_loadu_ps(upper.as_ptr()), _mm256_sub_epi32(high, first(high))),
            )
        }
    }

    #[inline(always)]
    fn transpose(self, rows: &mut [Self::F32; LANES]) {
        let r = *rows;
        // SAFETY: the token proves AVX2.
        unsafe {
            let zero = _mm256_setzero_ps();
            let (mut a, mut b, mut c, mut d) = ([zero; HALF], [zero; HALF], [zero; HALF], [zero; HALF]);
            for i in 0..HALF {
                (a[i], b[i]) = r[i];
                (c[i], d[i]) = r[i + HALF];
            }
            let (a, b, c, d) = (transpose_8x8(a), transpose_8x8(b), transpose_8x8(c), transpose_8x8(d));
            for i in 0..HALF {
                rows[i] = (a[i], c[i]);
                rows[i + HALF] = (b[i], d[i]);
            }
        }
    }
}
