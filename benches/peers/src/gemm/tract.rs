//! tract-linalg, over weights that lie in somebody else's memory.

use std::alloc::Layout;
use std::fmt;
use std::sync::Arc;

use anyhow::Context;
use tract_core::internal::*;
use tract_core::tract_linalg::MmmDispatch;
use tract_core::tract_linalg::mmm::{
    AsInputValue, EagerPackedInput, FusedSpec, MMMInputFormat, MMMInputValue, MatMatMul, PackedExoticFact, Query,
    ScratchSpace,
};

use super::{Problem, Product};
use crate::versions::version_of;

/// Which operand of the kernel the weights are. The output has the channels of a token side by side, and some kernels store
/// faster along their rows, some along their columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Rows of the kernel are output channels.
    Left,
    /// Columns of the kernel are output channels.
    Right,
}

/// When the activations are brought into the kernel's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// In every product, as a model does that gets them row by row.
    EveryTime,
    /// Before the first product: the kernel alone.
    InAdvance,
}

/// The kernel that tract picks for the product.
pub struct Tract {
    kernel: Box<dyn MatMatMul>,
    /// Which of the kernel's operand layouts.
    layout: usize,
    side: Weights,
    weights: Panels,
    activations: Tensor,
    packed: Option<Box<dyn MMMInputValue>>,
    scratch: Box<dyn ScratchSpace>,
    /// `[m, n]`.
    out: Tensor,
}

impl Tract {
    /// Packs the weights, and copies them to where tract does not own them.
    ///
    /// # Errors
    /// If tract has no kernel for the product.
    pub fn new(problem: &Problem, side: Weights, packing: Packing) -> anyhow::Result<Self> {
        let Problem { m, n, k, .. } = *problem;
        let (rows, columns) = side.in_order(n, m);
        let query =
            Query { allow_extractor: false, ..Query::plain(DatumType::I32, Some(rows), Some(k), Some(columns)) };
        let (kernel, layout, _) = MmmDispatch::native().pick(&query).context("tract has no int8 kernel")?;
        let (left, right) = &kernel.packings()[layout];
        let (of_weights, of_activations) = side.in_order(left, right);
        let weights = of_weights.prepare_one(&Tensor::from_shape(&[n, k], &problem.weights)?, 1, 0)?;
        let weights = Panels::copied(weights.downcast_ref().context("tract packs weights lazily")?);
        let activations = Tensor::from_shape(&[m, k], &problem.activations)?;
        let packed = match packing {
            Packing::EveryTime => None,
            Packing::InAdvance => Some(of_activations.prepare_one(&activations, 1, 0)?),
        };
        let out = Tensor::zero::<i32>(&[m, n])?;
        // SAFETY: the kernel comes from `pick`, which offers only kernels that this CPU can run.
        let scratch = unsafe { kernel.allocate_scratch_space() };
        Ok(Self { kernel, layout, side, weights, activations, packed, scratch, out })
    }
}

impl Weights {
    /// (Of the weights, of the activations) to (left, right), and back.
    fn in_order<T>(self, first: T, second: T) -> (T, T) {
        match self {
            Self::Left => (first, second),
            Self::Right => (second, first),
        }
    }
}

impl Product for Tract {
    fn label(&self) -> String {
        let side = match self.side {
            Weights::Left => "weights left",
            Weights::Right => "weights right",
        };
        let packed = if self.packed.is_some() { ", prepacked" } else { "" };
        format!("tract-linalg {} {}, {side}{packed}", version_of("tract-linalg"), self.kernel.name())
    }

    fn run(&mut self) {
        let (left, right) = &self.kernel.packings()[self.layout];
        let activations = match &self.packed {
            Some(packed) => AsInputValue::Borrowed(&**packed),
            None => {
                let (_, of_activations) = self.side.in_order(left, right);
                AsInputValue::Owned(of_activations.prepare_one(&self.activations, 1, 0).expect("activations to pack"))
            }
        };
        let (rows, columns) = self.side.in_order(self.weights.mn(), activations.mn());
        let (row_axis, column_axis) = self.side.in_order(1, 0);
        let (a, b) = self.side.in_order(AsInputValue::Borrowed(&self.weights), activations);
        // SAFETY: the output has the two axes, channels are axis 1, and it is borrowed mutably until the kernel is done.
        let store = unsafe { self.kernel.c_view(Some(row_axis), Some(column_axis)).wrap(&self.out.view_mut()) };
        let specs = [FusedSpec::AddMatMul { a, b, packing: self.layout }, FusedSpec::Store(store)];
        // SAFETY: both operands are in the kernel's layout number `layout` and have `rows` and `columns` rows, the output has a
        // value for each pair of them, the scratch space is this kernel's, and this CPU can run the kernel.
        let done = unsafe { self.kernel.run_with_scratch_space(rows, columns, &mut *self.scratch, &specs) };
        done.expect("a product");
    }

    fn equals(&self, want: &[i32]) -> bool {
        self.out.try_as_plain_ram().is_ok_and(|out| out.as_slice::<i32>().is_ok_and(|out| out == want))
    }
}

/// Packed weights inside of a larger buffer, as they lie in a mapped file.
#[derive(Clone, Hash, PartialEq, Eq)]
struct Panels {
    fact: PackedExoticFact,
    /// Weights from `start` on, where a cache line starts.
    bytes: Arc<[u8]>,
    start: usize,
    panel_len: usize,
    rows: usize,
}

impl Panels {
    /// A copy of what tract has packed.
    fn copied(from: &EagerPackedInput) -> Self {
        const LINE: usize = 64;
        let packed = from.packed.as_bytes();
        let mut bytes: Arc<[u8]> = vec![0; packed.len() + LINE].into();
        let start = bytes.as_ptr().align_offset(LINE);
        Arc::get_mut(&mut bytes).expect("the only reference")[start..][..packed.len()].copy_from_slice(packed);
        Self { fact: from.fact.clone(), bytes, start, panel_len: from.panel_bytes, rows: from.mn }
    }
}

impl fmt::Debug for Panels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Panels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "borrowed {}", self.fact)
    }
}

impl MMMInputValue for Panels {
    fn format(&self) -> &dyn MMMInputFormat {
        &*self.fact.format
    }

    fn scratch_panel_buffer_layout(&self) -> Option<Layout> {
        None
    }

    fn panel_bytes(&self, i: usize, _buffer: Option<*mut u8>) -> TractResult<*const u8> {
        ensure!(i < self.panels_count(), "panel {i} of {}", self.panels_count());
        Ok(self.bytes[self.start + i * self.panel_len..][..self.panel_len].as_ptr())
    }

    fn mn(&self) -> usize {
        self.rows
    }

    fn k(&self) -> usize {
        self.fact.k
    }

    fn exotic_fact(&self) -> &dyn ExoticFact {
        &self.fact
    }

    fn extract_at_mn_f16(&self, _: usize, _: &mut [f16]) -> TractResult<()> {
        bail!("{self} are not extracted")
    }

    fn extract_at_mn_f32(&self, _: usize, _: &mut [f32]) -> TractResult<()> {
        bail!("{self} are not extracted")
    }
}
