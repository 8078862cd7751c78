//! What the inputs of every linear layer look like on real text, and what follows from it for int8.
//!
//! - [`texts`]: the text, as questions and passages
//! - [`inputs`]: statistics of the inputs that the fp32 model feeds its linear layers
//! - [`smooth`]: per-input-channel factors that move the spread of activations into the weights
//! - [`rounding`]: rounding that makes up for its own errors

pub mod inputs;
pub mod rounding;
pub mod smooth;
pub mod texts;

pub use inputs::{Calibration, Inputs};
pub use texts::Texts;
