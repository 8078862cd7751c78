//! Threads and memory that the operators of one run share, and that the next run uses again.

use std::cell::RefCell;

use tract_core::internal::*;

use super::{RelativeIndex, linear};
use crate::config::RelativeConfig;
use crate::kernels::attention::{self, Distances};
use crate::threads::Threads;

/// What operators find in [`EvalContext::shared`]. A run of a length that it has seen allocates nothing whose size depends on the
/// model, but for fp32 attention by a thread that had no share of that before; on one thread, neither does a run of a shorter one.
#[derive(Debug, Default)]
pub struct Workspace {
    /// Who computes.
    pub(super) threads: Threads,
    /// Memory of attention.
    pub(super) attention: attention::Scratch,
    /// Memory of linear layers, one for each share of the rows.
    pub(super) linear: Vec<linear::Scratch>,
    /// Word embeddings read since their pages were let go.
    pub(super) words: usize,
    /// Tensors that nobody uses.
    tensors: Vec<Tensor>,
    /// Of the latest length.
    distances: Option<(RelativeConfig, Distances)>,
}

impl Workspace {
    /// Makes the next run of `state` one on `threads`.
    pub fn prepare(state: &mut TypedSimpleState, threads: &Threads) {
        let workspace = state.turn_state.shared.entry::<RefCell<Self>>().or_default();
        workspace.get_mut().threads = threads.clone();
    }

    /// Calls `f` with the workspace of the run, or with an empty one if there is none.
    pub(super) fn with<R>(context: &EvalContext<'_>, f: impl FnOnce(&mut Self) -> TractResult<R>) -> TractResult<R> {
        match context.shared.and_then(|shared| shared.get::<RefCell<Self>>()) {
            Some(workspace) => f(&mut *workspace.try_borrow_mut()?),
            None => f(&mut Self::default()),
        }
    }

    /// An `f32` tensor of shape `[rows, width]` that holds anything.
    pub(super) fn tensor(&mut self, rows: usize, width: usize) -> TractResult<Tensor> {
        let bytes = rows.checked_mul(width).and_then(|values| values.checked_mul(size_of::<f32>()));
        let bytes = bytes.with_context(|| format!("a tensor of {rows} x {width} does not fit into memory"))?;
        // The smallest that is large enough, or else the largest, which makes room for a larger one.
        let key = |tensor: &Tensor| (capacity(tensor) < bytes, capacity(tensor).abs_diff(bytes));
        let best = (0..self.tensors.len()).min_by_key(|&i| key(&self.tensors[i]));
        if let Some(mut tensor) = best.map(|best| self.tensors.swap_remove(best))
            && capacity(&tensor) >= bytes
        {
            // SAFETY: it is of `f32`, of which all bits are values, and its memory has room for as many: `bytes` is exact.
            unsafe { tensor.set_shape_unchecked(&[rows, width]) };
            return Ok(tensor);
        }
        Tensor::zero::<f32>(&[rows, width])
    }

    /// Keeps the tensors that nobody else uses for [`Workspace::tensor`].
    pub(super) fn recycle(&mut self, values: TVec<TValue>) {
        let unused = values.into_iter().filter(TValue::is_exclusive).map(IntoTensor::into_tensor);
        self.tensors.extend(unused.filter(|tensor| tensor.datum_type() == f32::datum_type() && capacity(tensor) > 0));
    }

    /// What attention needs; the distances are those of sequences of `length` tokens.
    pub(super) fn for_attention(
        &mut self,
        config: Option<&RelativeConfig>,
        length: usize,
    ) -> (&Threads, &mut attention::Scratch, Option<&Distances>) {
        let distances = config.map(|config| {
            let cached = self.distances.take().filter(|(of, distances)| of == config && distances.length() == length);
            let new = || (config.clone(), Distances::new(RelativeIndex::new(config, length).into_rows()));
            &self.distances.insert(cached.unwrap_or_else(new)).1
        });
        (&self.threads, &mut self.attention, distances)
    }
}

/// Bytes that a tensor has memory for.
fn capacity(tensor: &Tensor) -> usize {
    tensor.as_plain_ram().map_or(0, |view| view.layout().size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_used_again_at_every_smaller_size() {
        let mut workspace = Workspace::default();
        let place = |tensor: &Tensor| tensor.as_ptr::<f32>().expect("f32");
        let large = workspace.tensor(10, 7).expect("a tensor");
        let first = place(&large);
        workspace.recycle(tvec!(large.into_tvalue()));
        for (rows, width) in [(10, 7), (1, 1), (7, 10), (3, 20)] {
            let tensor = workspace.tensor(rows, width).expect("a tensor");
            assert_eq!((tensor.shape(), tensor.len()), (&[rows, width][..], rows * width));
            assert_eq!(place(&tensor), first);
            let len = tensor.try_as_plain_ram().and_then(|view| Ok(view.as_slice::<f32>()?.len())).expect("f32");
            assert_eq!(len, rows * width);
            workspace.recycle(tvec!(tensor.into_tvalue()));
        }
        let larger = workspace.tensor(11, 7).expect("a tensor");
        assert_eq!(larger.len(), 77);
        assert!(workspace.tensors.is_empty(), "the smaller one made room");
        workspace.recycle(tvec!(larger.into_tvalue()));
        for (rows, width) in [(1 << (usize::BITS - 3), 2), (usize::MAX, usize::MAX)] {
            let problem = workspace.tensor(rows, width).expect_err("its bytes cannot be counted").to_string();
            assert!(problem.contains("does not fit"), "{problem}");
        }
    }

    #[test]
    fn what_is_in_use_is_not_recycled() {
        let mut workspace = Workspace::default();
        let value = workspace.tensor(2, 2).expect("a tensor").into_tvalue();
        workspace.recycle(tvec!(value.clone(), tensor1(&[1i64]).into_tvalue()));
        assert!(workspace.tensors.is_empty());
        workspace.recycle(tvec!(value));
        assert_eq!(workspace.tensors.len(), 1);
    }
}
