//! A folder of documents: passages, index, reloading, answers, and the command.

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code, reason = "what is shared with the fuzzers")]
#[path = "../fuzz/properties.rs"]
mod properties;

mod ask;
mod folder;
mod index;
mod passages;
mod program;
mod shipped;
