//! Questions to a folder of documents, in the order the data flow: [`folder`] reads its text files ([`encoding`]), [`passages`] cuts them,
//! [`index`] finds the passages that share the most telling words with a question (BM25), [`library`] holds them all, `reading`
//! lets a [`crate::qa::Reader`] read what was found and ranks its spans, [`answer`] is what comes out. A [`shelf`] keeps a library up to
//! date while it is asked.
//!
//! **One score** ranks spans over all passages that were read and decides whether there is an answer. It is called null odds, as
//! those of an answer from one text, and has the same threshold; the lowest is best:
//!
//! ```text
//! null score of the passage - (start logit + end logit) + 4 * (1 - BM25 score of the passage / that of the best match)
//! ```
//!
//! The first two terms come from one run of the model over one passage. Their difference is the model's log-odds that nothing,
//! rather than the span, is the answer, which can be compared between passages; scores alone cannot. The last term is 0 for the
//! best match: its null odds are those that it would have alone. Other passages have to be better than it, by up to 4.
//!
//! **Texts are kept in memory**, as they stand in the files, and the index beside them. A mapped file that its owner edits in
//! place would change under a question that is being answered, and fault if it gets shorter.

pub mod answer;
pub mod encoding;
mod error;
pub mod folder;
pub mod index;
pub mod library;
pub mod passages;
mod reading;
pub mod sentences;
pub mod shelf;
mod stem;
mod text;
pub mod words;

pub use answer::{DocumentAnswer, Found, Source};
pub use error::DocumentsError;
pub use folder::{Reason, Skipped, left_out};
pub use library::{Library, LibraryOptions, RetrievalOptions};
pub use shelf::{Refresh, Shelf};
pub use text::Passage;
