//! Packed weights and what is known about them.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use crate::artifact::View;
use crate::kernels::gemm;

/// Packed int8 weights, with what [`gemm::chosen`] notes about them, which is found out when they are first multiplied and shared by all
/// clones.
///
/// Equal, as [`View`]s are, if they are the same memory.
#[derive(Clone)]
pub struct Packed {
    values: View<i8>,
    /// The inner dimension that they are about, and the notes.
    notes: Arc<OnceLock<(usize, Vec<u8>)>>,
}

impl Packed {
    /// [`gemm::Kernel::examine`]'s notes on these weights, of inner dimension `padded_k`.
    ///
    /// # Panics
    /// If they are no whole panels of it, or were multiplied as panels of another one before.
    pub(super) fn notes(&self, padded_k: usize) -> &[u8] {
        let (of, notes) = self.notes.get_or_init(|| (padded_k, gemm::chosen().examine(&self.values, padded_k)));
        assert_eq!(*of, padded_k, "weights of two inner dimensions");
        notes
    }
}

impl From<View<i8>> for Packed {
    fn from(values: View<i8>) -> Self {
        Self { values, notes: Arc::default() }
    }
}

impl Deref for Packed {
    type Target = [i8];

    fn deref(&self) -> &[i8] {
        &self.values
    }
}

impl PartialEq for Packed {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl Eq for Packed {}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.values.fmt(f)
    }
}
