//! edgeqa as a worker.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::Context;
use edgeqa::artifact::Artifact;
use edgeqa::kernels::gemm;
use edgeqa::model::{ModelWeights, Session};
use edgeqa::threads::Threads;

use super::Loaded;

/// Maps and checks the file as `edgeqa ask` does.
pub fn load(model: &Path, threads: usize) -> anyhow::Result<Loaded> {
    let weights = ModelWeights::from_artifact(&Artifact::open(model)?)?;
    let session = session(&weights, threads)?;
    let has_types = session.config().type_vocab_size > 0;
    Ok(Loaded {
        name: "edgeqa",
        version: env!("CARGO_PKG_VERSION"),
        detail: gemm::chosen().name.to_owned(),
        infer: Box::new(move |ids| {
            let types = has_types.then(|| vec![0; ids.len()]);
            session.logits(ids, types.as_deref())?;
            Ok(())
        }),
    })
}

/// A session that uses `threads` threads for one inference.
fn session(weights: &ModelWeights, threads: usize) -> anyhow::Result<Session> {
    let threads = NonZeroUsize::new(threads).context("--threads 0 cannot compute anything")?;
    Ok(Session::new(weights)?.on(Threads::new(threads, false)?))
}
