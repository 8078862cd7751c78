//! From weights to logits: [`weights`] gathers the views, [`graph`] wires the tract model, [`session`] runs it.

pub mod graph;
pub mod session;
pub mod weights;

pub use session::{Logits, ModelError, Session, Stop};
pub use weights::ModelWeights;
