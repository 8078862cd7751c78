//! After warm-up, a run allocates next to nothing, whatever the length.

use std::alloc::{GlobalAlloc, Layout, System};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use edgeqa::artifact::Artifact;
use edgeqa::model::{ModelWeights, Session};
use edgeqa::threads::Threads;

/// Counts what is asked of the system's allocator.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the promises of `dealloc`; the memory is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that `f` allocates, on all threads.
fn allocated(f: impl FnOnce()) -> usize {
    let before = ALLOCATED.load(Ordering::Relaxed);
    f();
    ALLOCATED.load(Ordering::Relaxed) - before
}

#[test]
fn a_run_after_warm_up_allocates_no_activations() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/model.safetensors");
    let weights = ModelWeights::from_artifact(&Artifact::open(&path).expect("the model")).expect("weights");
    let max = weights.config.max_positions;
    // One activation of the longest sequence, the smallest kind that there is.
    let activation = max * weights.config.hidden_size * size_of::<f32>();
    for threads in [1, 3, 4] {
        let threads = Threads::new(NonZeroUsize::new(threads).expect("not 0"), false).expect("threads");
        let session = Session::new(&weights).expect("a session").on(threads.clone());
        let run = |length: usize| {
            let ids: Vec<i64> = (0..length as i64).map(|i| 1000 + i).collect();
            let types = (weights.config.type_vocab_size > 0).then(|| vec![0; length]);
            session.logits(&ids, types.as_deref()).expect("logits");
        };
        let first = allocated(|| run(max));
        assert!(first > activation, "the first run makes room: {first} bytes");
        // What threads share, rows or channels, and how large blocks of queries are depends on the length.
        let lengths = [max, max / 2, 1, 17, 64, 180, max];
        lengths.iter().for_each(|length| run(*length));
        for length in lengths {
            let bytes = allocated(|| run(length));
            println!("{} threads, {length} tokens: {bytes} bytes", threads.count());
            assert!(bytes < activation / 4, "{length} tokens, {} threads: {bytes} bytes", threads.count());
        }
    }
}
