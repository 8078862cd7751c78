//! For tests: values at the very end of a mapped file, followed by a mapped page that the file does not have. Touching it kills the process
//! (SIGBUS).

use std::io::Write;

/// See the [module](self).
pub(super) struct EndOfFile<T> {
    map: memmap2::Mmap,
    values: std::ops::Range<usize>,
    of: std::marker::PhantomData<T>,
}

impl<T: bytemuck::Pod> EndOfFile<T> {
    /// A multiple of the page size of every target.
    const PAGE: usize = 1 << 16;

    pub fn new(values: &[T]) -> Self {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let end = bytes.len().next_multiple_of(Self::PAGE);
        let mut file = tempfile::tempfile().expect("temporary file");
        file.write_all(&vec![0; end - bytes.len()]).and_then(|()| file.write_all(bytes)).expect("write");
        // SAFETY: nothing else knows the file, so its bytes do not change; those after its end are not reached through `values`.
        let map = unsafe { memmap2::MmapOptions::new().len(end + Self::PAGE).map(&file) }.expect("map");
        Self { map, values: end - bytes.len()..end, of: std::marker::PhantomData }
    }

    pub fn values(&self) -> &[T] {
        bytemuck::cast_slice(&self.map[self.values.clone()])
    }
}

impl<T: bytemuck::Pod> AsRef<[T]> for EndOfFile<T> {
    fn as_ref(&self) -> &[T] {
        self.values()
    }
}
