//! Questions to answers: [`reader`] runs the model over every window of a text, [`decode`] finds the best spans in its scores, [`answer`]
//! is what comes out. [`probe`] sees whether a model can be asked at all.

pub mod answer;
pub mod decode;
mod error;
mod options;
pub mod probe;
pub mod reader;

pub use answer::{Answer, Candidate};
pub use error::QaError;
pub use options::AskOptions;
pub use reader::{Context, Reader, Scorer};
