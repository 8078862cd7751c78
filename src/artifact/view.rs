//! A tensor's elements, wherever they live.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use bytemuck::Pod;

use super::map::Mapping;

/// An immutable slice that keeps its memory alive: a range of a mapped file (no copy is made), or owned values.
///
/// Two views are equal if they are the same memory; values are not compared.
#[derive(Clone)]
pub struct View<T> {
    memory: Memory<T>,
}

#[derive(Clone)]
enum Memory<T> {
    Mapped { map: Arc<Mapping>, bytes: Range<usize> },
    Owned(Arc<[T]>),
}

impl<T: Pod> View<T> {
    /// Views `bytes` of `map`; `None` if the range is not inside the map, not aligned for `T`, or no whole number of `T`.
    pub fn mapped(map: Arc<Mapping>, bytes: Range<usize>) -> Option<Self> {
        bytemuck::try_cast_slice::<u8, T>(map.bytes().get(bytes.clone())?).ok()?;
        Some(Self { memory: Memory::Mapped { map, bytes } })
    }

    /// Lets the pages of a mapped file go from this process until they are touched again; see [`Mapping::release`].
    pub fn release(&self) {
        if let Memory::Mapped { map, bytes } = &self.memory {
            map.release(bytes.clone());
        }
    }

    /// Whether the elements lie in a mapped file.
    pub fn is_mapped(&self) -> bool {
        matches!(self.memory, Memory::Mapped { .. })
    }
}

impl<T: Pod> Deref for View<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.memory {
            // The range and its alignment were checked when the view was made, and a map never moves.
            Memory::Mapped { map, bytes } => bytemuck::cast_slice(&map.bytes()[bytes.clone()]),
            Memory::Owned(values) => values,
        }
    }
}

impl<T> From<Vec<T>> for View<T> {
    fn from(values: Vec<T>) -> Self {
        Self { memory: Memory::Owned(values.into()) }
    }
}

impl<T: Pod> PartialEq for View<T> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq::<[T]>(&**self, &**other)
    }
}

impl<T: Pod> Eq for View<T> {}

impl<T: Pod> fmt::Debug for View<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = if self.is_mapped() { "mapped" } else { "owned" };
        write!(f, "View({} x {}, {memory})", self.len(), std::any::type_name::<T>())
    }
}
