//! A compiled vocabulary: a trie of pieces and their ids that is searched where it lies, in a mapped file.
//!
//! The trie is one string of bytes. A node begins with a header byte, from the low bits up: whether a piece ends here
//! (1 bit), what follows (3 bits, the constants below), and a count (4 bits: the count itself from 1 to 15, or 0 for a
//! count of 1 to 256 whose value less one is the next byte). Then, if a piece ends here, its id in three bytes,
//! little-endian. Then
//!
//! - [`LEAF`]: nothing.
//! - [`RUN`]: `count` bytes that lead to one child, which follows.
//! - [`TAIL`]: `count` bytes that lead to the end of a piece without children, whose id follows.
//! - [`BRANCH`]` + w`, for `w` of 1, 2 or 3: `count` bytes in ascending order, each of which leads to a child; then for
//!   every child but the first, in `w` little-endian bytes, how far behind the first it begins; then the children.
//!
//! Nodes are in the order of a walk that takes children before siblings, and the first node is the root. So all ways
//! lead forward, and a search ends whatever the bytes are. [`Trie::pieces`] checks everything; a search only that it
//! stays inside.

mod build;
mod trie;

pub use build::build;
pub use trie::{Cursor, Found, Start, Trie};

/// A node without children.
pub const LEAF: u8 = 0;
/// A node with one child, behind a run of bytes.
pub const RUN: u8 = 1;
/// As a run, but what it leads to is a leaf and has no header.
pub const TAIL: u8 = 2;
/// Added to the width of the places of children: a node with children.
pub const BRANCH: u8 = 2;

/// Length of the longest piece that is compiled, in bytes.
pub const MAX_PIECE: usize = 1024;
/// Ids and places have three bytes.
pub const MAX_SIZE: usize = 1 << 24;

/// What can be wrong with a compiled vocabulary.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A node is not all there.
    #[error("the trie ends inside of its node at {at}")]
    Cut {
        /// Where the node begins, in bytes.
        at: usize,
    },
    /// A header that no node has.
    #[error("the node at {at} is of no known kind")]
    Kind {
        /// Where the node begins.
        at: usize,
    },
    /// Labels are not in ascending order.
    #[error("the labels of the node at {at} are not in ascending order")]
    Labels {
        /// Where the node begins.
        at: usize,
    },
    /// A child is not where the node says.
    #[error("the node at {at} places a child where none begins")]
    Child {
        /// Where the node begins.
        at: usize,
    },
    /// Bytes that belong to no node.
    #[error("nothing leads to the trie's bytes from {at} on")]
    Rest {
        /// The first of them.
        at: usize,
    },
    /// A piece is longer than any may be.
    #[error("the way to the node at {at} is longer than {MAX_PIECE} bytes")]
    Long {
        /// Where the node begins.
        at: usize,
    },
    /// A piece is no text.
    #[error("the piece with id {id} is not UTF-8")]
    Text {
        /// Its id.
        id: u32,
    },
    /// An id that the model has no embedding for.
    #[error("a piece has id {id}, but the model has {limit} tokens")]
    Id {
        /// The id.
        id: u32,
        /// What it must be below.
        limit: usize,
    },
    /// Two pieces with one id.
    #[error("two pieces have id {id}")]
    Twice {
        /// The id.
        id: u32,
    },
    /// A score that is infinite or not a number.
    #[error("the piece with id {id} has no finite score")]
    Score {
        /// The id.
        id: usize,
    },
    /// More or fewer scores than pieces.
    #[error("there are {found} scores for {expected} pieces")]
    Scores {
        /// Scores there are.
        found: usize,
        /// Pieces there are.
        expected: usize,
    },
}

#[cfg(test)]
mod tests;
