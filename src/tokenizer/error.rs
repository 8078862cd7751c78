//! Everything that can go wrong between text and tokens.

use crate::artifact::ArtifactError;

/// Why a text has no windows. Every message says what, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The tensor that holds the tokenizer is missing or does not unpack.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The bytes are no tokenizer, or one that cannot frame a question and a context.
    #[error("the model's tokenizer cannot be used: {0}; convert the model again with a tokenizer.json that fits it")]
    Invalid(String),
    /// A part of the tokenizer asks for more than that of any real one; nothing was made of it.
    #[error(
        "the model's tokenizer cannot be used: its {part} has {found} {what}, and {limit} are the most that is read; convert the \
         model again with a tokenizer.json that has fewer"
    )]
    Excess {
        /// The part, as the file calls it.
        part: &'static str,
        /// What it has too many of.
        what: &'static str,
        /// How many.
        found: usize,
        /// How many it may have.
        limit: usize,
    },
    /// The tokenizer knows a token that the model has no embedding for.
    #[error(
        "the tokenizer has token {token:?} with id {id}, but the model has {vocab_size} tokens; copy the model again, \
         or convert it with the tokenizer.json that belongs to it"
    )]
    Vocabulary {
        /// The token.
        token: String,
        /// Its id.
        id: u32,
        /// Rows of the model's embedding table.
        vocab_size: usize,
    },
    /// The tokenizer gives tokens a type that the model has no embedding for.
    #[error(
        "the tokenizer makes tokens of type {id}, but the model has {types} token types; convert the model again with the tokenizer.json \
         that belongs to it"
    )]
    TokenType {
        /// The type.
        id: u32,
        /// Rows of the model's token type table.
        types: usize,
    },
    /// A question or context of white space, or of characters that the tokenizer drops.
    #[error("the {what} holds no word that the model can read; give it at least one")]
    Empty {
        /// `question` or `context`.
        what: &'static str,
    },
    /// The question fills the whole window.
    #[error(
        "the question has {question} tokens, which with {special} special tokens leaves no room for the text in a window \
         of {max_seq_len} tokens; shorten the question, or raise max_seq_len (--max-seq-len) as far as the model allows"
    )]
    QuestionTooLong {
        /// Tokens of the question.
        question: usize,
        /// Special tokens of every window.
        special: usize,
        /// Longest window, in tokens.
        max_seq_len: usize,
    },
    /// Windows overlap so much that they make no progress.
    #[error(
        "a question of {question} tokens leaves room for {room} tokens of text in a window of {max_seq_len}, which must \
         be more than the overlap of {stride}; lower doc_stride (--doc-stride), raise max_seq_len (--max-seq-len) or shorten the question"
    )]
    Stride {
        /// Tokens of the question.
        question: usize,
        /// Context tokens that fit into one window.
        room: usize,
        /// Context tokens that consecutive windows share.
        stride: usize,
        /// Longest window, in tokens.
        max_seq_len: usize,
    },
    /// A text that this tokenizer cannot make tokens of.
    #[error("cannot tokenize the {what}: {problem}; leave that out, or use another model")]
    Text {
        /// `question` or `context`.
        what: &'static str,
        /// What is in the way.
        problem: String,
    },
    /// The tokenizer failed on a text, by a fault of its own.
    #[error("cannot tokenize the {what}: {problem}")]
    Tokenize {
        /// `question` or `context`.
        what: &'static str,
        /// What the library said.
        problem: String,
    },
}
