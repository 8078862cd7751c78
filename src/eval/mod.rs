//! How good a model is: [`dataset`] reads questions with known answers in the format of SQuAD, [`run`] lets a reader answer
//! them, [`files`] exchanges the answers with the official tools, and [`score`] is the official scorer.
//!
//! Whatever is measured here can be measured again with `evaluate-v2.0.py` on the files that [`files`] writes: with
//! `--na-prob-thresh 1e9`, lest its default of 1.0 drop answers, it prints the same figures under the same names.

pub mod dataset;
mod error;
pub mod files;
pub mod random;
pub mod run;
pub mod score;
pub mod workers;

pub use dataset::{Dataset, Paragraph, Place, Question, Subset};
pub use error::EvalError;
pub use random::Random;
pub use run::{NBestEntry, Observer, Prediction, evaluate, evaluate_with};
pub use score::{Metrics, Scores};
