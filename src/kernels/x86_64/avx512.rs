//! 16 `f32` in one AVX-512 register.

use std::arch::x86_64::*;

use crate::kernels::cpu::{Avx512, Avx512Vnni};
use crate::kernels::simd::{BLOCK, Dot, LANES, Simd, Task, TaskDot};

/// Runs `task` in code compiled for AVX-512.
pub(in crate::kernels) fn run<T: Task>(token: Avx512, task: T) -> T::Output {
    // SAFETY: the token proves the features.
    unsafe { run_avx512(token, task) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn run_avx512<T: Task>(token: Avx512, task: T) -> T::Output {
    task.run(token)
}

/// Runs `task` in code compiled for AVX-512 VNNI.
pub(in crate::kernels) fn run_dot<T: TaskDot>(token: Avx512Vnni, task: T) -> T::Output {
    // SAFETY: the token proves the features.
    unsafe { run_avx512_vnni(token, task) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,avx512vnni")]
fn run_avx512_vnni<T: TaskDot>(token: Avx512Vnni, task: T) -> T::Output {
    task.run(Avx512::from(token), token)
}

impl Dot<Avx512> for Avx512Vnni {
    type Bytes = __m512i;

    const FLIP: u8 = 0x80;
    const SQUARES: usize = 4;

    #[inline(always)]
    fn load(self, bytes: &[u8; 4 * LANES]) -> Self::Bytes {
        // SAFETY: the token proves AVX-512 F; the array has the 64 bytes of a register.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn splat(self, bytes: &[u8; 4]) -> Self::Bytes {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_set1_epi32(i32::from_ne_bytes(*bytes)) }
    }

    #[inline(always)]
    fn dot(self, sum: __m512i, a: Self::Bytes, b: Self::Bytes) -> __m512i {
        // SAFETY: the token proves AVX-512 VNNI.
        unsafe { _mm512_dpbusd_epi32(sum, a, b) }
    }
}

/// Four vectors as [`Simd::store_i8`] stores them: each quarter of the register holds the same quarter of each vector.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn narrow(x: [__m512; BLOCK / LANES]) -> __m512i {
    // Packing works in 128-bit quarters.
    let words = |a, b| _mm512_packs_epi32(_mm512_cvtps_epi32(a), _mm512_cvtps_epi32(b));
    _mm512_max_epi8(_mm512_packs_epi16(words(x[0], x[1]), words(x[2], x[3])), _mm512_set1_epi8(-127))
}

impl Simd for Avx512 {
    type F32 = __m512;
    type I32 = __m512i;
    type Four<'a> = &'a [f32; 4];

    const TILE: (usize, usize) = (12, 2);
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
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::F32 {
        // SAFETY: the token proves AVX-512 F; the array has the 64 bytes of a register.
        unsafe { _mm512_loadu_ps(x.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, x: Self::F32, to: &mut [f32; LANES]) {
        // SAFETY: the token proves AVX-512 F; the array has the 64 bytes of a register.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_fmadd_ps(a, b, c) }
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
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn to_f32(self, x: Self::I32) -> Self::F32 {
        // SAFETY: the token proves AVX-512 F.
        unsafe { _mm512_cvtepi32_ps(x) }
    }

    #[inline(always)]
    fn load_i32(self, x: &[i32; LANES]) -> Self::I32 {
        // SAFETY: the token proves AVX-512 F; the array has the 64 bytes of a register.
        unsafe { _mm512_loadu_epi32(x.as_ptr()) }
    }

    #[inline(always)]
    fn array_i32(self, x: Self::I32) -> [i32; LANES] {
        let mut lanes = [0; LANES];
        // SAFETY: the token proves AVX-512 F; the array has the 64 bytes of a register.
        unsafe { _mm512_storeu_epi32(lanes.as_mut_ptr(), x) }
        lanes
    }

    #[inline(always)]
    fn bits_add_shl23(self, x: Self::F32, add: i32) -> Self::F32 {
        // SAFETY: the token proves AVX-512 F.
        unsafe {
            let bits = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(add));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(bits))
        }
    }

    #[inline(always)]
    fn store_i8(self, x: [Self::F32; BLOCK / LANES], flip: i8, to: &mut [i8; BLOCK]) {
        // SAFETY: the token proves AVX-512 F and BW; the array has the 64 bytes of a register.
        unsafe {
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let bytes = _mm512_permutexvar_epi32(order, narrow(x));
            _mm512_storeu_epi8(to.as_mut_ptr(), _mm512_xor_si512(bytes, _mm512_set1_epi8(flip)));
        }
    }

    #[inline(always)]
    fn store_i8_in_fours(self, x: [Self::F32; BLOCK / LANES], to: &mut [i8; BLOCK]) {
        // SAFETY: the token proves AVX-512 F and BW; the array has the 64 bytes of a register.
        unsafe {
            let order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
            _mm512_storeu_epi8(to.as_mut_ptr(), _mm512_shuffle_epi8(narrow(x), order));
        }
    }

    #[inline(always)]
    fn positions(self, bytes: &[i8; BLOCK], byte: i8) -> u64 {
        // SAFETY: the token proves AVX-512 F and BW; the array has the 64 bytes of a register.
        unsafe { _mm512_cmpeq_epi8_mask(_mm512_loadu_epi8(bytes.as_ptr()), _mm512_set1_epi8(byte)) }
    }

    #[inline(always)]
    fn fold(self, x: Self::F32, f: impl Fn(Self::F32, Self::F32) -> Self::F32) -> f32 {
        // SAFETY: the token proves AVX-512 F.
        unsafe {
            let x = f(x, _mm512_shuffle_f32x4::<0b01_00_11_10>(x, x));
            let x = f(x, _mm512_shuffle_f32x4::<0b10_11_00_01>(x, x));
            let x = f(x, _mm512_permute_ps::<0b01_00_11_10>(x));
            let x = f(x, _mm512_permute_ps::<0b10_11_00_01>(x));
            _mm512_cvtss_f32(x)
        }
    }

    #[inline(always)]
    fn lookup(self, window: &[f32; LANES], columns: &[u32; LANES]) -> Self::F32 {
        let window = self.load(window);
        // SAFETY: the token proves AVX-512 F; the array has the 64 bytes of a register. The permutation takes its indices
        // modulo 16.
        unsafe {
            let columns = _mm512_loadu_epi32(columns.as_ptr().cast());
            let first = _mm512_broadcastd_epi32(_mm512_castsi512_si128(columns));
            _mm512_permutexvar_ps(_mm512_sub_epi32(columns, first), window)
        }
    }

    #[inline(always)]
    fn transpose(self, rows: &mut [Self::F32; LANES]) {
        let r = *rows;
        // SAFETY: the token proves AVX-512 F.
        unsafe {
            let zero = _mm512_setzero_ps();
            let mut pairs = [zero; LANES];
            for i in 0..8 {
                pairs[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                pairs[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            // quads[4 i + c]: columns c, c + 4, c + 8, c + 12 of rows 4 i .. 4 i + 4.
            let mut quads = [zero; LANES];
            for i in 0..4 {
                for half in 0..2 {
                    let (a, b) = (_mm512_castps_pd(pairs[4 * i + half]), _mm512_castps_pd(pairs[4 * i + 2 + half]));
                    quads[4 * i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                    quads[4 * i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
                }
            }
            for c in 0..4 {
                // Quarters of two quads: columns c and c + 8, then c + 4 and c + 12.
                let low = _mm512_shuffle_f32x4::<0b10_00_10_00>(quads[c], quads[4 + c]);
                let high = _mm512_shuffle_f32x4::<0b10_00_10_00>(quads[8 + c], quads[12 + c]);
                rows[c] = _mm512_shuffle_f32x4::<0b10_00_10_00>(low, high);
                rows[c + 8] = _mm512_shuffle_f32x4::<0b11_01_11_01>(low, high);
                let low = _mm512_shuffle_f32x4::<0b11_01_11_01>(quads[c], quads[4 + c]);
                let high = _mm512_shuffle_f32x4::<0b11_01_11_01>(quads[8 + c], quads[12 + c]);
                rows[c + 4] = _mm512_shuffle_f32x4::<0b10_00_10_00>(low, high);
                rows[c + 12] = _mm512_shuffle_f32x4::<0b11_01_11_01>(low, high);
            }
        }
    }
}
