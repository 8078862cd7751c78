//! edgeqa as a worker.

use std::path::Path;

use anyhow::ensure;
use edgeqa::artifact::Artifact;
use edgeqa::kernels::gemm;
use edgeqa::model::{ModelWeights, Session};

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
    ensure!(threads == 1, "edgeqa runs one inference on one thread, not on {threads}; use --threads 1");
    Ok(Session::new(weights)?)
}
