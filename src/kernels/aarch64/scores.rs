//! The products of scores, in assembly. Of a register whose halves are the same, the compiler takes the lower one, and moves the other
//! operand's upper half down for it, instead of `smull2`; and it keeps the sums of all three products, which do not fit into the
//! registers, at the same time.

use std::arch::aarch64::*;
use std::arch::asm;

use crate::kernels::cpu::{Neon, NeonDot};
use crate::kernels::layout::KG;
use crate::kernels::score_products::{GROUP, GROUPS, Operands, ROWS, Sums};
use crate::kernels::simd::LANES;

/// Registers that hold 16 lanes.
const CHUNKS: usize = 4;

/// Groups that are multiplied together without dot products: two products of bytes in `[-127, 127]` fit into 16 bits.
const PAIR: usize = 2;
/// Groups that are multiplied together with dot products: a register of a query's bytes.
const QUAD: usize = 4;

// There are at least two pairs and one quad, and nothing is left over.
const _: () = assert!(GROUPS.is_multiple_of(2 * PAIR) && GROUPS.is_multiple_of(QUAD));

/// Where the operands of a tile of one square begin.
struct Pointers {
    queries: [*const [u8; KG]; ROWS],
    keys: *const [u8; GROUP],
    position_keys: [*const u8; ROWS],
    position_queries: [*const u8; ROWS],
}

impl Pointers {
    /// Those of the queries from `row` on of square `t`. From each, [`Operands::groups`] groups can be read: those of the tables
    /// `stride` bytes apart.
    ///
    /// # Panics
    /// If there are no such queries.
    #[inline(always)]
    fn new<const T: usize>(x: &Operands<'_, T>, t: usize, row: usize) -> Self {
        assert!(row <= LANES - ROWS, "row {row} of a square");
        let (groups, x) = (x.groups(), x.squares());
        let windows = |table: &[u8]| std::array::from_fn(|r| table.as_ptr().wrapping_add((x.entry - row - r) * KG));
        Self {
            queries: std::array::from_fn(|r| x.queries[t].as_ptr().wrapping_add((row + r) * groups)),
            keys: x.keys[t].as_ptr(),
            position_keys: windows(x.position_keys),
            position_queries: windows(x.position_queries),
        }
    }
}

/// Sums of a product for the queries of a tile of one square.
type Product = [[int32x4_t; CHUNKS]; ROWS];

/// The sums of all products, with `smull`, `smlal` and `sadalp`.
#[inline(always)]
pub(super) fn neon<const T: usize>(
    _: Neon,
    x: &Operands<'_, T>,
    row: usize,
    zero: Sums<[int32x4_t; CHUNKS], T>,
) -> Sums<[int32x4_t; CHUNKS], T> {
    let (groups, stride) = (x.groups(), x.squares().stride);
    let mut sums = zero;
    for t in 0..T {
        let from = Pointers::new(x, t, row);
        // SAFETY: the token proves NEON; all groups are there, as was checked.
        unsafe {
            sums.content[t] = content(&from, groups / PAIR);
            sums.to_position[t] = to_position(&from, stride, groups / PAIR);
            sums.of_position[t] = of_position(&from, stride, groups / PAIR);
        }
    }
    sums
}

/// A loop over at least one time two pairs of groups, whose products it gives. Per row and chunk, v16 to v31 hold the sums for two lanes
/// each: of products of bytes 0 and 1, and of 2 and 3. v0 to v15 are free.
macro_rules! pairs {
    ($pairs:expr, [$($name:ident = $pointer:expr),*], [$($input:ident),*], $body:ident) => {{
        let (a, b, c, d, e, f, g, h): (int32x4_t, int32x4_t, int32x4_t, int32x4_t, int32x4_t, int32x4_t, int32x4_t, int32x4_t);
        asm!(
            $body!(first),
            $body!(next),
            "cbz {twos}, 3f",
            "2:",
            $body!(next),
            $body!(next),
            "subs {twos}, {twos}, #1",
            "b.ne 2b",
            "3:",
            join!("16" "17", "18" "19", "20" "21", "22" "23", "24" "25", "26" "27", "28" "29", "30" "31"),
            twos = inout(reg) $pairs / 2 - 1 => _,
            $($name = inout(reg) $pointer => _,)*
            $($input = in(reg) $input,)*
            out("v16") a, out("v18") b, out("v20") c, out("v22") d, out("v24") e, out("v26") f, out("v28") g, out("v30") h,
            out("v17") _, out("v19") _, out("v21") _, out("v23") _, out("v25") _, out("v27") _, out("v29") _, out("v31") _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            options(readonly, nostack),
        );
        [[a, b, c, d], [e, f, g, h]]
    }};
}

/// Adds neighbours of two registers, in the first.
macro_rules! join {
    ($($to:literal $from:literal),*) => { lines!($(concat!("addp v", $to, ".4s, v", $to, ".4s, v", $from, ".4s")),*) };
}

/// A row, whose bytes of two groups fill all lanes of `$x` and `$y`, times the vectors v0 to v3 of the first and v4 to v7 of the second.
macro_rules! splat_row {
    ($how:ident $x:literal $y:literal, $a:literal $b:literal $c:literal $d:literal $e:literal $f:literal $g:literal $h:literal) => {
        lines!(
            long!("smull", "v12", "v13", "v0", $x),
            long!("smull", "v14", "v15", "v1", $x),
            long!("smlal", "v12", "v13", "v4", $y),
            long!("smlal", "v14", "v15", "v5", $y),
            widen!($how $a "v12", $b "v13", $c "v14", $d "v15"),
            long!("smull", "v12", "v13", "v2", $x),
            long!("smull", "v14", "v15", "v3", $x),
            long!("smlal", "v12", "v13", "v6", $y),
            long!("smlal", "v14", "v15", "v7", $y),
            widen!($how $e "v12", $f "v13", $g "v14", $h "v15"),
        )
    };
}

/// Rows 0 and 1 of [`splat_row`], the bytes of row 0 in v8 and v9, of row 1 in v10 and v11.
macro_rules! splat_rows {
    ($how:ident 0) => { splat_row!($how "v8" "v9", "v16" "v17" "v18" "v19" "v20" "v21" "v22" "v23") };
    ($how:ident 1) => { splat_row!($how "v10" "v11", "v24" "v25" "v26" "v27" "v28" "v29" "v30" "v31") };
}

/// Products of queries with keys.
///
/// # Safety
/// There must be an even number of pairs, not 0, and from every pointer on two groups per pair, those of tables `stride` bytes apart.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn content(from: &Pointers, pairs: usize) -> Product {
    macro_rules! pair {
        ($how:ident) => {
            lines!(
                "ld2r {{v8.4s, v9.4s}}, [{q0}], #8",
                "ld2r {{v10.4s, v11.4s}}, [{q1}], #8",
                "ld1 {{v0.16b, v1.16b, v2.16b, v3.16b}}, [{k}], #64",
                "ld1 {{v4.16b, v5.16b, v6.16b, v7.16b}}, [{k}], #64",
                splat_rows!($how 0),
                splat_rows!($how 1),
            )
        };
    }
    // SAFETY: the caller promises what is read.
    unsafe { pairs!(pairs, [q0 = from.queries[0], q1 = from.queries[1], k = from.keys], [], pair) }
}

/// Products of queries with windows of `Kr`.
///
/// # Safety
/// There must be an even number of pairs, not 0, and from every pointer on two groups per pair, those of tables `stride` bytes apart.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn to_position(from: &Pointers, stride: usize, pairs: usize) -> Product {
    let [w0, w1] = from.position_keys;
    macro_rules! pair {
        ($how:ident) => {
            lines!(
                "ld2r {{v8.4s, v9.4s}}, [{q0}], #8",
                "ld2r {{v10.4s, v11.4s}}, [{q1}], #8",
                "ld1 {{v0.16b, v1.16b, v2.16b, v3.16b}}, [{w0}], {stride}",
                "ld1 {{v4.16b, v5.16b, v6.16b, v7.16b}}, [{w0}], {stride}",
                splat_rows!($how 0),
                "ld1 {{v0.16b, v1.16b, v2.16b, v3.16b}}, [{w1}], {stride}",
                "ld1 {{v4.16b, v5.16b, v6.16b, v7.16b}}, [{w1}], {stride}",
                splat_rows!($how 1),
            )
        };
    }
    // SAFETY: the caller promises what is read.
    unsafe { pairs!(pairs, [q0 = from.queries[0], q1 = from.queries[1], w0 = w0, w1 = w1], [stride], pair) }
}

/// Products of windows of `Qr` with keys.
///
/// # Safety
/// There must be an even number of pairs, not 0, and from every pointer on two groups per pair, those of tables `stride` bytes apart.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn of_position(from: &Pointers, stride: usize, pairs: usize) -> Product {
    /// One group of a row into v8 to v15.
    macro_rules! group {
        ($op:literal, $k:literal, $w:literal) => {
            lines!(
                concat!("ld1 {{v0.16b, v1.16b, v2.16b, v3.16b}}, [{", $k, "}], #64"),
                concat!("ld1 {{v4.16b, v5.16b, v6.16b, v7.16b}}, [{", $w, "}], {stride}"),
                long!($op, "v8", "v9", "v0", "v4"),
                long!($op, "v10", "v11", "v1", "v5"),
                long!($op, "v12", "v13", "v2", "v6"),
                long!($op, "v14", "v15", "v3", "v7"),
            )
        };
    }
    let [w0, w1] = from.position_queries;
    macro_rules! pair {
        ($how:ident) => {
            lines!(
                group!("smull", "k0", "w0"),
                group!("smlal", "k0", "w0"),
                widen!($how "v16" "v8", "v17" "v9", "v18" "v10", "v19" "v11", "v20" "v12", "v21" "v13", "v22" "v14", "v23" "v15"),
                group!("smull", "k1", "w1"),
                group!("smlal", "k1", "w1"),
                widen!($how "v24" "v8", "v25" "v9", "v26" "v10", "v27" "v11", "v28" "v12", "v29" "v13", "v30" "v14", "v31" "v15"),
            )
        };
    }
    // SAFETY: the caller promises what is read.
    unsafe { pairs!(pairs, [k0 = from.keys, k1 = from.keys, w0 = w0, w1 = w1], [stride], pair) }
}

/// The sums of all products, with `sdot`.
#[inline(always)]
pub(super) fn sdot<const T: usize>(
    _: NeonDot,
    x: &Operands<'_, T>,
    row: usize,
    zero: Sums<[int32x4_t; CHUNKS], T>,
) -> Sums<[int32x4_t; CHUNKS], T> {
    let (groups, stride) = (x.groups(), x.squares().stride);
    let mut sums = zero;
    for t in 0..T {
        let from = Pointers::new(x, t, row);
        // SAFETY: the token proves dot products; all groups are there, as was checked.
        unsafe { sdot_quads(&from, stride, groups / QUAD, t, &mut sums) }
    }
    sums
}

/// Adds the products of four groups per quad, for square `t`.
///
/// # Safety
/// The CPU must have dot products. There must be at least one quad, and from every pointer on four groups per quad, those of tables
/// `stride` bytes apart.
#[inline(always)]
unsafe fn sdot_quads<const T: usize>(
    from: &Pointers,
    stride: usize,
    quads: usize,
    t: usize,
    sums: &mut Sums<[int32x4_t; CHUNKS], T>,
) {
    /// Products of chunks with four bytes of a query.
    macro_rules! by_bytes {
        ($q:literal [$i:literal], $($to:literal $with:literal),*) => {
            lines!($(concat!("sdot ", $to, ".4s, ", $with, ".16b, ", $q, ".4b[", $i, "]")),*)
        };
    }
    /// Products of chunks with chunks.
    macro_rules! by_vectors {
        ($($to:literal $a:literal $b:literal),*) => {
            lines!($(concat!("sdot ", $to, ".4s, ", $a, ".16b, ", $b, ".16b")),*)
        };
    }
    /// A group: v0 and v1 are the queries, v4 to v7 a window, v2 and v3 half of the keys: the lower, the upper, the lower and the upper
    /// again, while `k` moves by half a group twice.
    macro_rules! group {
        ($i:literal) => {
            lines!(
                "ldp q2, q3, [{k}], #32",
                "ld1 {{v4.16b, v5.16b, v6.16b, v7.16b}}, [{kr0}], {stride}",
                by_bytes!("v0" [$i], "v8" "v2", "v9" "v3"),
                by_bytes!("v1" [$i], "v12" "v2", "v13" "v3"),
                "ldp q2, q3, [{k}]",
                by_bytes!("v0" [$i], "v16" "v4", "v17" "v5", "v18" "v6", "v19" "v7"),
                "ld1 {{v4.16b, v5.16b, v6.16b, v7.16b}}, [{kr1}], {stride}",
                by_bytes!("v0" [$i], "v10" "v2", "v11" "v3"),
                by_bytes!("v1" [$i], "v14" "v2", "v15" "v3"),
                by_bytes!("v1" [$i], "v20" "v4", "v21" "v5", "v22" "v6", "v23" "v7"),
                "ld1 {{v4.16b, v5.16b, v6.16b, v7.16b}}, [{qr0}], {stride}",
                by_vectors!("v26" "v6" "v2", "v27" "v7" "v3"),
                "ldp q2, q3, [{k}, #-32]",
                by_vectors!("v24" "v4" "v2", "v25" "v5" "v3"),
                "ld1 {{v4.16b, v5.16b, v6.16b, v7.16b}}, [{qr1}], {stride}",
                by_vectors!("v28" "v4" "v2", "v29" "v5" "v3"),
                "ldp q2, q3, [{k}], #32",
                by_vectors!("v30" "v6" "v2", "v31" "v7" "v3"),
            )
        };
    }
    let [[c0, c1, c2, c3], [d0, d1, d2, d3]] = &mut sums.content[t];
    let [[e0, e1, e2, e3], [f0, f1, f2, f3]] = &mut sums.to_position[t];
    let [[g0, g1, g2, g3], [h0, h1, h2, h3]] = &mut sums.of_position[t];
    // SAFETY: the caller promises the instructions and what is read.
    unsafe {
        asm!(
            "2:",
            "ldr q0, [{q0}], #16",
            "ldr q1, [{q1}], #16",
            group!("0"),
            group!("1"),
            group!("2"),
            group!("3"),
            "subs {quads}, {quads}, #1",
            "b.ne 2b",
            quads = inout(reg) quads => _,
            stride = in(reg) stride,
            q0 = inout(reg) from.queries[0] => _, q1 = inout(reg) from.queries[1] => _, k = inout(reg) from.keys => _,
            kr0 = inout(reg) from.position_keys[0] => _, kr1 = inout(reg) from.position_keys[1] => _,
            qr0 = inout(reg) from.position_queries[0] => _, qr1 = inout(reg) from.position_queries[1] => _,
            inout("v8") *c0, inout("v9") *c1, inout("v10") *c2, inout("v11") *c3,
            inout("v12") *d0, inout("v13") *d1, inout("v14") *d2, inout("v15") *d3,
            inout("v16") *e0, inout("v17") *e1, inout("v18") *e2, inout("v19") *e3,
            inout("v20") *f0, inout("v21") *f1, inout("v22") *f2, inout("v23") *f3,
            inout("v24") *g0, inout("v25") *g1, inout("v26") *g2, inout("v27") *g3,
            inout("v28") *h0, inout("v29") *h1, inout("v30") *h2, inout("v31") *h3,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            options(readonly, nostack),
        );
    }
}
