//! Products of `f32` on 32-bit Arm: four rows times eight columns, whose sums stay in eight of the sixteen registers.

use crate::kernels::cpu::Neon32;
use crate::kernels::simd::LANES;

/// Rows that are multiplied together.
pub(super) const ROWS: usize = 4;
/// Columns whose sums stay in registers for all rows.
const COLUMNS: usize = LANES / 2;

/// `sums[m][n] += sum over k of rows[m][k] b[k][n]`, in the order of `k`, where row `k` of `b` begins at `k * b_stride`. Products and sums are
/// rounded one after the other; numbers too small for a full mantissa count as zero.
///
/// # Panics
/// If rows are not of one length, or `b` has not so many of its own.
pub(super) fn add(_: Neon32, sums: &mut [[f32; LANES]; ROWS], rows: [&[f32]; ROWS], b: &[f32], b_stride: usize) {
    let depth = rows[0].len();
    if depth == 0 {
        return;
    }
    assert!(rows.iter().all(|row| row.len() == depth), "rows of several lengths");
    assert!(b.len() >= LANES && (b.len() - LANES) / b_stride.max(1) >= depth - 1, "{depth} rows of {b_stride}");
    let rows = rows.map(<[f32]>::as_ptr);
    for first in (0..LANES).step_by(COLUMNS) {
        // SAFETY: the token proves NEON. The function reads `depth` values, at least one, of every row and eight of every row of `b`, from
        // `first` on; a row of `b` has 16, also the last one, as checked above. It reads and writes eight sums of each row, from `first` on.
        unsafe {
            let sums = sums.as_mut_ptr().cast::<f32>().add(first);
            edgeqa_neon32_product_f32(&rows, b.as_ptr().add(first), b_stride * size_of::<f32>(), depth, sums);
        }
    }
}

unsafe extern "C" {
    /// Needs NEON. Reads `depth` values of every row, eight values at every multiple of `b_stride` bytes from `b` on, `depth` times, and eight
    /// sums at every multiple of 64 bytes, four times, which it writes, too. `depth` must not be 0.
    fn edgeqa_neon32_product_f32(
        rows: &[*const f32; ROWS],
        b: *const f32,
        b_stride: usize,
        depth: usize,
        sums: *mut f32,
    );
}

/// A row of `b`, in `$low` and `$high`, times one value of every row.
macro_rules! value {
    ($low:literal, $high:literal, $a:literal, $b:literal, $c:literal, $d:literal) => {
        lines!(
            concat!("vmla.f32 q8, ", $low, ", ", $a),
            concat!("vmla.f32 q9, ", $high, ", ", $a),
            concat!("vmla.f32 q10, ", $low, ", ", $b),
            concat!("vmla.f32 q11, ", $high, ", ", $b),
            concat!("vmla.f32 q12, ", $low, ", ", $c),
            concat!("vmla.f32 q13, ", $high, ", ", $c),
            concat!("vmla.f32 q14, ", $low, ", ", $d),
            concat!("vmla.f32 q15, ", $high, ", ", $d),
        )
    };
}

function!(edgeqa_neon32_product_f32:
    // r0: pointers to rows, then sums; r1: b; r2: bytes from row to row of it; r3: values left; r4 to r7: rows; r12: bytes from row to row of
    // the sums. The fifth argument lies above the four and eight registers that are pushed.
    "push {{r4-r7}}",
    "vpush {{d8-d15}}",
    "ldm r0, {{r4-r7}}",
    "ldr r0, [sp, #80]",
    "mov r12, #64",
    "vld1.32 {{d16-d19}}, [r0], r12",
    "vld1.32 {{d20-d23}}, [r0], r12",
    "vld1.32 {{d24-d27}}, [r0], r12",
    "vld1.32 {{d28-d31}}, [r0]",
    "subs r3, r3, #4",
    "blt 3f",
    // Four values of every row at a time.
    "2:",
    "vld1.32 {{d8-d9}}, [r4]!",
    "vld1.32 {{d0-d3}}, [r1], r2",
    "vld1.32 {{d10-d11}}, [r5]!",
    "vld1.32 {{d12-d13}}, [r6]!",
    "vld1.32 {{d14-d15}}, [r7]!",
    "vld1.32 {{d4-d7}}, [r1], r2",
    value!("q0", "q1", "d8[0]", "d10[0]", "d12[0]", "d14[0]"),
    "vld1.32 {{d0-d3}}, [r1], r2",
    value!("q2", "q3", "d8[1]", "d10[1]", "d12[1]", "d14[1]"),
    "vld1.32 {{d4-d7}}, [r1], r2",
    value!("q0", "q1", "d9[0]", "d11[0]", "d13[0]", "d15[0]"),
    value!("q2", "q3", "d9[1]", "d11[1]", "d13[1]", "d15[1]"),
    "subs r3, r3, #4",
    "bge 2b",
    "3:",
    "adds r3, r3, #4",
    "beq 5f",
    // What is left, one by one.
    "4:",
    "vld1.32 {{d8[0]}}, [r4]!",
    "vld1.32 {{d10[0]}}, [r5]!",
    "vld1.32 {{d12[0]}}, [r6]!",
    "vld1.32 {{d14[0]}}, [r7]!",
    "vld1.32 {{d0-d3}}, [r1], r2",
    value!("q0", "q1", "d8[0]", "d10[0]", "d12[0]", "d14[0]"),
    "subs r3, r3, #1",
    "bne 4b",
    "5:",
    "ldr r0, [sp, #80]",
    "vst1.32 {{d16-d19}}, [r0], r12",
    "vst1.32 {{d20-d23}}, [r0], r12",
    "vst1.32 {{d24-d27}}, [r0], r12",
    "vst1.32 {{d28-d31}}, [r0]",
    "vpop {{d8-d15}}",
    "pop {{r4-r7}}",
    "bx lr",
);
