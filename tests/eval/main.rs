//! Evaluation: datasets, the official scorer, and models run on a dataset.

#[path = "../common/mod.rs"]
mod common;
mod dataset;
mod run;
mod score;
