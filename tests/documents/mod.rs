//! A folder of documents: passages, index, reloading, answers, and the command.

mod ask;
mod folder;
mod index;
mod passages;
mod program;
mod shipped;
