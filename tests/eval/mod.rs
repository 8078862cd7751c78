//! Evaluation: datasets, the official scorer, and models run on a dataset.

mod dataset;
mod run;
mod score;
