//! The models that the pipeline of the tokenizers library runs with: its own, and the mapped ones.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokenizers::{AddedToken, Model, ModelWrapper, Token, Trainer};

use super::unigram::Unigram;
use super::word_piece::WordPiece;
use crate::vocabulary::Trie;

/// What turns a word into tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "ModelWrapper")]
pub enum AnyModel {
    /// One of the library's, with its vocabulary in private memory.
    Library(Box<ModelWrapper>),
    /// Unigram with a compiled vocabulary.
    Unigram(Unigram),
    /// WordPiece with a compiled vocabulary.
    WordPiece(WordPiece),
}

impl From<ModelWrapper> for AnyModel {
    fn from(model: ModelWrapper) -> Self {
        Self::Library(Box::new(model))
    }
}

impl AnyModel {
    /// The trie of a compiled vocabulary.
    fn trie(&self) -> Trie<'_> {
        match self {
            Self::Library(_) => Trie(&[]),
            Self::Unigram(model) => model.trie(),
            Self::WordPiece(model) => model.trie(),
        }
    }
}

impl Model for AnyModel {
    type Trainer = NoTrainer;

    fn tokenize(&self, word: &str) -> tokenizers::Result<Vec<Token>> {
        match self {
            Self::Library(model) => model.tokenize(word),
            Self::Unigram(model) => model.tokenize(word),
            Self::WordPiece(model) => model.tokenize(word),
        }
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            Self::Library(model) => model.token_to_id(token),
            _ => self.trie().get(token.as_bytes()),
        }
    }

    /// Reads the vocabulary up to that token: meant for messages.
    fn id_to_token(&self, id: u32) -> Option<String> {
        match self {
            Self::Library(model) => model.id_to_token(id),
            _ => self.get_vocab().into_iter().find_map(|(token, found)| (found == id).then_some(token)),
        }
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        if let Self::Library(model) = self {
            return model.get_vocab();
        }
        let mut all = HashMap::new();
        // What comes before a fault is still of use; `Artifact::verify` names it.
        let _ = self.trie().pieces(|piece, id| {
            all.insert(String::from_utf8_lossy(piece).into_owned(), id);
            Ok(())
        });
        all
    }

    fn get_vocab_size(&self) -> usize {
        match self {
            Self::Library(model) => model.get_vocab_size(),
            Self::Unigram(model) => model.size(),
            Self::WordPiece(model) => model.size(),
        }
    }

    fn save(&self, folder: &Path, prefix: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        match self {
            Self::Library(model) => model.save(folder, prefix),
            _ => Err("a compiled vocabulary is not saved, only the model file it is in".into()),
        }
    }

    fn get_trainer(&self) -> NoTrainer {
        NoTrainer
    }
}

/// Refuses to train: the library's trait asks for a trainer, and nothing here trains.
#[derive(Debug)]
pub struct NoTrainer;

impl Trainer for NoTrainer {
    type Model = AnyModel;

    fn should_show_progress(&self) -> bool {
        false
    }

    fn train(&self, _: &mut AnyModel) -> tokenizers::Result<Vec<AddedToken>> {
        Err("the tokenizer of a model file is not trained".into())
    }

    fn feed<I, S, F>(&mut self, _: I, _: F) -> tokenizers::Result<()>
    where
        I: Iterator<Item = S> + Send,
        S: AsRef<str> + Send,
        F: Fn(&str) -> tokenizers::Result<Vec<String>> + Sync,
    {
        Err("the tokenizer of a model file is not trained".into())
    }
}

/// Why a model or a normalizer of our own makes nothing of a text.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("the text holds something that the vocabulary does not know, and there is no token for that")]
    NoUnknown,
    #[error(
        "the model's vocabulary is damaged (it has a token with id {id}, but the model has {limit} tokens); copy or download the model again"
    )]
    Id { id: u32, limit: usize },
    #[error("the model's vocabulary is damaged ({0}); copy or download the model again")]
    Damaged(&'static str),
    #[error("a word of {0} bytes is too long")]
    Long(usize),
    #[error("the normalizer makes more than {most} bytes of {original} bytes of text")]
    Normalized { original: usize, most: usize },
}

impl Problem {
    /// Whether it is for what a text holds, and not for a damaged vocabulary.
    pub(super) fn is_of_text(&self) -> bool {
        !matches!(self, Self::Id { .. } | Self::Damaged(_))
    }
}
