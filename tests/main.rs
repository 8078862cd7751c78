//! The tests that need no program of their own: to link them one by one would take longer than they do.

mod artifact;
mod bench;
mod bench_cli;
mod cli;
mod common;
mod doctor_cli;
mod documents;
mod eval;
mod eval_cli;
mod fuzz;
mod layers;
mod page;
#[path = "fuzz/properties.rs"]
mod properties;
mod qa_golden;
mod reader;
mod tokenizer;
