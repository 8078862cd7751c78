//! rten as a worker.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, ValueOrView};
use rten_tensor::NdTensor;

use super::Loaded;
use crate::versions::version_of;

/// Loads an ONNX file into a pool of `threads` threads.
pub fn load(model: &Path, threads: usize, prepack: bool) -> anyhow::Result<Loaded> {
    let model = ModelOptions::with_all_ops().prepack_weights(prepack).load_file(model)?;
    let inputs = inputs(&model)?;
    let outputs = model.output_ids().to_vec();
    let pool = Arc::new(ThreadPool::with_num_threads(threads));
    Ok(Loaded {
        name: "rten",
        version: version_of("rten"),
        detail: if prepack { "weights packed at load" } else { "weights as in the file" }.to_owned(),
        infer: Box::new(move |ids| {
            let values = inputs.iter().map(|(id, input)| (*id, input.value(ids))).collect();
            let mut options = RunOptions::default();
            options.thread_pool = Some(pool.clone());
            model.run(values, &outputs, Some(options))?;
            Ok(())
        }),
    })
}

/// An input of a question-answering graph.
#[derive(Clone, Copy, Debug)]
enum Input {
    Ids,
    Mask,
    Types,
}

impl Input {
    /// Its value for one sequence without padding, as `[1, tokens]`.
    fn value(self, ids: &[i64]) -> ValueOrView<'static> {
        let values: Vec<i32> = match self {
            Self::Ids => ids.iter().map(|&id| id as i32).collect(),
            Self::Mask => vec![1; ids.len()],
            Self::Types => vec![0; ids.len()],
        };
        NdTensor::from_data([1, ids.len()], values).into()
    }
}

/// Which input of the graph is what, by name.
fn inputs(model: &Model) -> anyhow::Result<Vec<(NodeId, Input)>> {
    let kind = |id: &NodeId| {
        let info = model.node_info(*id).context("the graph has an input without a node")?;
        let input = match info.name().unwrap_or_default() {
            "input_ids" => Input::Ids,
            "attention_mask" => Input::Mask,
            "token_type_ids" => Input::Types,
            other => bail!(
                "the graph has an input {other:?}; only input_ids, attention_mask and token_type_ids can be filled in"
            ),
        };
        Ok((*id, input))
    };
    model.input_ids().iter().map(kind).collect()
}
