//! `gemm_i8_64x16k4_neon`: bytes are multiplied to 16 bits, as many products are summed there as are sure to fit, and pairs of sums are
//! added to 32 bits.
//!
//! A register holds 16 `k` of a row or of a channel, so that both halves of a product of two registers are added to the same sums: those
//! of one sum are 8 `k` apart. [`TileKernel::arrange`] and [`TileKernel::arrange_rows`] bring the operands into that order, 64 `k` of two
//! channels or eight rows after the other. How many products of such a step are summed in 16 bits, eight, four or two,
//! [`fits`](super::fits) says.

use std::arch::asm;

use super::arrange::{BLOCK, BlockStep, PAIR, PairStep, STEP, arrange, arrange_rows, examine};
use super::fits::{self, EIGHT, END, FOUR, PAIRS, TWO, Ways};
use crate::kernels::cpu::{Isa, Neon};
use crate::kernels::gemm::{Accumulators, Tile, TileKernel};
use crate::kernels::layout::{Form, NR};

impl TileKernel for Neon {
    const NAME: &'static str = "gemm_i8_64x16k4_neon";
    const ROWS: usize = 64;
    const PANELS: usize = 1;
    const ROW_STEP: usize = BLOCK;
    const FORM: Form = Form::Signed;

    fn detect() -> Option<Self> {
        Self::new()
    }

    fn isa(self) -> Isa {
        Isa::Neon(self)
    }

    fn notes(padded_k: usize) -> usize {
        PAIRS * fits::notes_len(padded_k.div_ceil(STEP))
    }

    fn examine(self, panel: &[i8], notes: &mut [u8]) {
        // SAFETY: the token proves the feature.
        unsafe { examine(panel, notes) }
    }

    fn arranged(padded_k: usize) -> usize {
        PAIRS * padded_k.div_ceil(STEP) * size_of::<PairStep>()
    }

    fn arrange(self, panel: &[i8], to: &mut [i8]) {
        // SAFETY: the token proves the feature.
        unsafe { arrange(panel, to) }
    }

    /// Steps, then notes on them.
    fn arranged_rows(padded_k: usize) -> usize {
        let steps = padded_k.div_ceil(STEP);
        steps * size_of::<BlockStep>() + fits::notes_len(steps)
    }

    fn arrange_rows(self, rows: &[i8], padded_k: usize, to: &mut [i8]) {
        // SAFETY: the token proves the feature.
        unsafe { arrange_rows(rows, padded_k, to) }
    }

    #[inline(always)]
    fn tile(self, tile: &Tile<'_>, acc: &mut Accumulators) {
        // SAFETY: the token proves the feature.
        unsafe { blocks(tile, acc) }
    }
}

/// Eight rows at a time.
#[target_feature(enable = "neon")]
fn blocks(tile: &Tile<'_>, acc: &mut Accumulators) {
    let steps = tile.padded_k.div_ceil(STEP);
    let mut ways = Ways::new();
    let rows = tile.arranged_rows.chunks_exact(Neon::arranged_rows(tile.padded_k));
    for (rows, acc) in rows.zip(acc.0.as_flattened_mut()[..tile.rows].chunks_mut(BLOCK)) {
        let (rows, notes) = rows.split_at(steps * size_of::<BlockStep>());
        ways.find(bytemuck::cast_slice(notes), tile.notes, steps);
        if let Some(acc) = acc.first_chunk_mut() {
            block(rows, tile.arranged, &ways, acc);
        } else {
            let mut sums = [[0; NR]; BLOCK];
            block(rows, tile.arranged, &ways, &mut sums);
            acc.copy_from_slice(&sums[..acc.len()]);
        }
    }
}

/// Eight rows times a panel: in assembly, as the compiler does not keep all sums in registers.
///
/// # Panics
/// If rows or weights have fewer steps than `ways`, or there are none.
#[inline]
#[target_feature(enable = "neon")]
fn block(rows: &[i8], weights: &[i8], ways: &Ways, acc: &mut [[i32; NR]; BLOCK]) {
    let steps = ways.steps();
    let all = rows.len() >= steps * size_of::<BlockStep>() && weights.len() >= PAIRS * steps * size_of::<PairStep>();
    assert!(all && steps > 0, "not {steps} steps");
    /// Half a step of two rows: of the first in v24 and v25, of the second in v26 and v27.
    macro_rules! load {
        () => {
            "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{a}], #64"
        };
    }
    /// One half of a register of both rows, times those of both channels, to v28 to v31.
    macro_rules! products {
        ($op:literal "8b", $a:literal $b:literal, $v:literal $w:literal) => {
            lines!(
                concat!($op, " v28.8h, ", $v, ".8b, ", $a, ".8b"),
                concat!($op, " v29.8h, ", $w, ".8b, ", $a, ".8b"),
                concat!($op, " v30.8h, ", $v, ".8b, ", $b, ".8b"),
                concat!($op, " v31.8h, ", $w, ".8b, ", $b, ".8b"),
            )
        };
        ($op:literal "16b", $a:literal $b:literal, $v:literal $w:literal) => {
            lines!(
                concat!($op, "2 v28.8h, ", $v, ".16b, ", $a, ".16b"),
                concat!($op, "2 v29.8h, ", $w, ".16b, ", $a, ".16b"),
                concat!($op, "2 v30.8h, ", $v, ".16b, ", $b, ".16b"),
                concat!($op, "2 v31.8h, ", $w, ".16b, ", $b, ".16b"),
            )
        };
    }
    /// A register of both rows: of the lower halves, `$op` are the products.
    macro_rules! register {
        ($op:literal, $a:literal $b:literal, $v:literal $w:literal) => {
            lines!(products!($op "8b", $a $b, $v $w), products!("smlal" "16b", $a $b, $v $w))
        };
    }
    /// The sums of two rows, of which half a step is loaded: eight products, four or two are summed in 16 bits. `$next` comes as soon as
    /// the rows are no longer needed.
    macro_rules! rows {
        ($which:ident 8 $next:expr, $($to:literal)*) => {
            lines!(
                register!("smull", "v24" "v26", "v0" "v4"),
                register!("smlal", "v25" "v27", "v1" "v5"),
                load!(),
                register!("smlal", "v24" "v26", "v2" "v6"),
                register!("smlal", "v25" "v27", "v3" "v7"),
                $next,
                sums!($which $($to)*),
            )
        };
        ($which:ident 4 $next:expr, $($to:literal)*) => {
            lines!(
                register!("smull", "v24" "v26", "v0" "v4"),
                register!("smlal", "v25" "v27", "v1" "v5"),
                load!(),
                sums!($which $($to)*),
                register!("smull", "v24" "v26", "v2" "v6"),
                register!("smlal", "v25" "v27", "v3" "v7"),
                $next,
                sums!(next $($to)*),
            )
        };
        ($which:ident 2 $next:expr, $($to:literal)*) => {
            lines!(
                register!("smull", "v24" "v26", "v0" "v4"),
                sums!($which $($to)*),
                register!("smull", "v25" "v27", "v1" "v5"),
                load!(),
                sums!(next $($to)*),
                register!("smull", "v24" "v26", "v2" "v6"),
                sums!(next $($to)*),
                register!("smull", "v25" "v27", "v3" "v7"),
                $next,
                sums!(next $($to)*),
            )
        };
    }
    /// The sums of 16 bits go to those of 32, of both channels of the first row and of the second.
    macro_rules! sums {
        ($which:ident $a:literal $b:literal $c:literal $d:literal) => {
            widen!($which $a "v28", $b "v29", $c "v30", $d "v31")
        };
    }
    /// A step: v0 to v3 are the weights of the first channel, v4 to v7 those of the second. And how the next one is multiplied.
    macro_rules! step {
        ($which:ident $products:tt) => {
            lines!(
                "ld1 {{v0.16b, v1.16b, v2.16b, v3.16b}}, [{w}], #64",
                load!(),
                "ld1 {{v4.16b, v5.16b, v6.16b, v7.16b}}, [{w}], #64",
                rows!($which $products load!(), "v8" "v9" "v10" "v11"),
                rows!($which $products load!(), "v12" "v13" "v14" "v15"),
                rows!($which $products load!(), "v16" "v17" "v18" "v19"),
                rows!($which $products "ldrb {way:w}, [{ways}], #{pairs}", "v20" "v21" "v22" "v23"),
            )
        };
    }
    /// Adds neighbours: to those of both registers in the first one.
    macro_rules! neighbours {
        ($($a:literal $b:literal),*) => { lines!($(concat!("addp ", $a, ".4s, ", $a, ".4s, ", $b, ".4s")),*) };
    }
    /// Bytes from row to row of the sums, and of a pair of channels.
    const ROW: usize = size_of::<[i32; NR]>();
    const PAIR_SUMS: usize = PAIR * size_of::<i32>();
    // The bits by which ways are told apart.
    const _: () = assert!(EIGHT == 0 && FOUR & 1 == 1 && TWO & 0x81 == 0x80 && END & 0x81 == 0 && END != 0);
    let first_row = acc.as_mut_ptr();
    // SAFETY: NEON. There is a step, whose way is not the end. Every way but the end, which ends a pair of channels, stands for 512 bytes of
    // rows and 128 of weights, which are there, as checked above, as the ways of each pair end after `steps`. Of each row of `acc`, eight bytes
    // are written per pair.
    unsafe {
        asm!(
            // A pair of channels.
            "2:",
            "ldrb {way:w}, [{first_way}], #1",
            "mov {a}, {rows}",
            "add {ways}, {first_way}, #{pairs} - 1",
            "cbnz {way:w}, 3f",
            step!(first 8),
            "cbz {way:w}, 7f",
            "b 8f",
            "3:",
            "tbz {way:w}, #0, 4f",
            step!(first 4),
            "tbnz {way:w}, #0, 9f",
            "b 6f",
            "4:",
            step!(first 2),
            // Further steps.
            "6:",
            "cbnz {way:w}, 8f",
            "7:",
            step!(next 8),
            "cbz {way:w}, 7b",
            "8:",
            "tbz {way:w}, #0, 12f",
            "9:",
            step!(next 4),
            "cbz {way:w}, 7b",
            "tbnz {way:w}, #0, 9b",
            "12:",
            "tbz {way:w}, #7, 13f",
            step!(next 2),
            "tbnz {way:w}, #0, 9b",
            "b 6b",
            "13:",
            // Those of two rows in the halves of v8, of the next in v12, v16 and v20.
            neighbours!("v8" "v9", "v10" "v11", "v12" "v13", "v14" "v15", "v16" "v17", "v18" "v19", "v20" "v21", "v22" "v23"),
            neighbours!("v8" "v10", "v12" "v14", "v16" "v18", "v20" "v22"),
            "st1 {{v8.d}}[1], [{second}], {two_rows}",
            "st1 {{v12.d}}[1], [{second}], {two_rows}",
            "st1 {{v16.d}}[1], [{second}], {two_rows}",
            "st1 {{v20.d}}[1], [{second}], {back}",
            "str d12, [{acc}, #2 * {row}]",
            "str d16, [{acc}, #4 * {row}]",
            "str d20, [{acc}, #6 * {row}]",
            "str d8, [{acc}], #{pair}",
            "subs {left:w}, {left:w}, #1",
            "b.ne 2b",
            rows = in(reg) rows.as_ptr(),
            a = out(reg) _,
            w = inout(reg) weights.as_ptr() => _,
            first_way = inout(reg) ways.as_ptr() => _,
            ways = out(reg) _,
            way = out(reg) _,
            acc = inout(reg) first_row => _,
            second = inout(reg) first_row.wrapping_add(1) => _,
            two_rows = in(reg) 2 * ROW,
            back = in(reg) PAIR_SUMS.wrapping_sub(6 * ROW),
            left = inout(reg) PAIRS => _,
            row = const ROW,
            pair = const PAIR_SUMS,
            pairs = const PAIRS,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack),
        );
    }
}
