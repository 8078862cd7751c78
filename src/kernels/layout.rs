//! Where weight `(n, k)` lies in a packed matrix: the one layout that every kernel reads.
//!
//! Output channels are cut into panels of [`NR`] = 16; inside a panel, the inner dimension is cut into groups of
//! [`KG`] = 4. One group of one panel is 64 bytes: 16 channels of 4 consecutive `k` each.
//!
//! ```text
//! index(n, k) = (n / 16) * 16 * Kp  +  (k / 4) * 64  +  (n % 16) * 4  +  k % 4        Kp = K rounded up to 8
//! ```
//!
//! Why one layout serves all instruction sets: every int8 dot instruction in use sums 4 neighbouring products into
//! one 32-bit lane, so 4 consecutive `k` of a channel must be neighbours. Then 16 channels x 4 fill exactly one
//! AVX-512 register (`vpdpbusd`), two AVX registers (AVX-VNNI, or `vpmovsxbw` + `vpmaddwd` on AVX2) and four NEON
//! registers (`sdot`); `smmla` wants 8 consecutive `k` of two channels, which `zip1`/`zip2` of two neighbouring groups
//! give, and that is why `K` is padded to a multiple of 8. NEON without `sdot` arranges a panel anew, once for all rows
//! ([`Kernel::arrange`](super::gemm::Kernel::arrange)). A group is one cache line, and the artifact starts every tensor
//! on a 64-byte boundary.
//!
//! Padding (channels to 16, inner dimension to 8) is zero, so that kernels need no tail in either direction.

use std::ops::Range;

/// Identifies this layout in artifacts.
pub const LAYOUT_ID: &str = "i8-panel16-k4";
/// Output channels per panel.
pub const NR: usize = 16;
/// Inner-dimension values that lie next to each other.
pub const KG: usize = 4;
/// The inner dimension is padded to a multiple of this.
pub const K_ALIGN: usize = 8;
/// Bytes of one group of one panel.
pub(crate) const GROUP: usize = NR * KG;
/// The largest inner dimension, for which `u8 x i8` dot products cannot overflow an `i32`: `255 * 127 * 2^16 < 2^31`.
pub const MAX_K: usize = 1 << 16;

/// How a kernel wants activations stored, a byte each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// The value itself.
    #[default]
    Signed,
    /// The value plus 128, as an unsigned byte: its bits are the value's with the top one flipped. For instructions that multiply
    /// unsigned by signed bytes.
    Offset128,
}

impl Form {
    /// The byte that stands for `value`, and the value that stands for a byte: the same function does both.
    #[inline(always)]
    pub fn convert(self, value: i8) -> i8 {
        match self {
            Form::Signed => value,
            Form::Offset128 => value ^ i8::MIN,
        }
    }
}

/// The geometry of one packed weight matrix of `n` output channels and inner dimension `k`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedShape {
    /// Output channels.
    pub n: usize,
    /// Inner dimension.
    pub k: usize,
}

impl PackedShape {
    /// Number of panels: `n` in units of [`NR`], rounded up.
    pub fn panels(self) -> usize {
        self.n.div_ceil(NR)
    }

    /// The output channels of some panels that exist.
    pub fn channels(self, panels: Range<usize>) -> Range<usize> {
        (panels.start * NR).min(self.n)..(panels.end * NR).min(self.n)
    }

    /// The padded inner dimension; also the row stride of quantised activations.
    pub fn padded_k(self) -> usize {
        self.k.next_multiple_of(K_ALIGN)
    }

    /// Number of `k` groups per panel.
    pub fn groups(self) -> usize {
        self.padded_k() / KG
    }

    /// Bytes of one panel.
    pub fn panel_len(self) -> usize {
        NR * self.padded_k()
    }

    /// Bytes of the whole packed matrix.
    pub fn packed_len(self) -> usize {
        self.panels() * self.panel_len()
    }

    /// Length of the per-channel vectors (scale, bias, column sum), which are padded to whole panels.
    pub fn padded_n(self) -> usize {
        self.panels() * NR
    }

    /// Index of weight `(n, k)`: output channel `n`, input channel `k`.
    pub fn index(self, n: usize, k: usize) -> usize {
        (n / NR) * self.panel_len() + (k / KG) * (NR * KG) + (n % NR) * KG + k % KG
    }
}
