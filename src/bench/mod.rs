//! Measuring a machine: how long answers take and what they cost in memory, with all that must be known to compare the figures.
//!
//! [`run`](mod@run) has one process started per point ([`measure`]), so that its memory is its own and a limit can end it alone.
//! [`record`] is what comes out, as JSON and back; [`report`] and [`compare`], whose rule is in [`verdict`], make a [`page`] of it, which [`text`],
//! and [`html`] with its [`plot`]s write.

pub mod compare;
pub mod doubt;
mod error;
pub mod host;
pub mod html;
pub mod measure;
pub mod page;
pub mod plot;
pub mod record;
pub mod report;
pub mod run;
mod runner;
pub mod state;
pub mod stats;
mod subject;
pub mod text;
mod unlike;
pub mod verdict;

pub use compare::Comparison;
pub use error::BenchError;
pub use record::Record;
pub use run::{Plan, run};
