//! What a conversion is doing.

/// A stage of a conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Importing the weights.
    Reading,
    /// Comparing the import with the graph.
    Proving,
    /// Running the fp32 model over the calibration text, sequence by sequence.
    Calibrating,
    /// Making int8 weights, layer by layer.
    Quantizing,
    /// Measuring what each layer costs.
    Sensitivity,
    /// Writing the file beside its name, and verifying it.
    Writing,
    /// Asking the fp32 model, question by question.
    Fp32Questions,
    /// Asking the int8 model, question by question.
    Int8Questions,
    /// Measuring the noise of what was written.
    Checking,
}

/// All stages, in the order in which a conversion comes to them first.
pub const STAGES: [Stage; 9] = [
    Stage::Reading,
    Stage::Proving,
    Stage::Calibrating,
    Stage::Quantizing,
    Stage::Sensitivity,
    Stage::Writing,
    Stage::Fp32Questions,
    Stage::Int8Questions,
    Stage::Checking,
];

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Stage::Reading => "reading the model",
            Stage::Proving => "proving the import",
            Stage::Calibrating => "calibrating",
            Stage::Quantizing => "quantising",
            Stage::Sensitivity => "measuring sensitivity",
            Stage::Writing => "writing",
            Stage::Checking => "checking what was written",
            Stage::Fp32Questions => "asking the fp32 model",
            Stage::Int8Questions => "asking the int8 model",
        })
    }
}

/// Called with a stage, its finished steps and all of them, from any thread. No parameter of types: the pipeline is compiled once, not
/// once per caller.
pub(crate) type OnStage<'a> = dyn Fn(Stage, usize, usize) + Sync + 'a;
