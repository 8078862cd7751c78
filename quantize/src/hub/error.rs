//! What can go wrong between a repo id and the files of a model.

use std::path::PathBuf;
use std::time::Duration;

/// An error of [`download`](super::download).
///
/// Every message names the place (`repo (revision …) at endpoint`) and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The repo id is not one the hub could have.
    #[error(
        "{repo:?} is not a hub repo id: {reason}; write it as OWNER/NAME, for example \
         nbroad/deberta-v3-xsmall-squad2"
    )]
    InvalidRepo {
        /// The id as it was given.
        repo: String,
        /// The rule that it breaks.
        reason: &'static str,
    },

    /// The revision is neither a commit sha nor a usable branch or tag name.
    #[error(
        "{revision:?} is not a revision: {reason}; give a 40-digit commit sha, a branch or a tag \
         (the default is main)"
    )]
    InvalidRevision {
        /// The revision as it was given.
        revision: String,
        /// The rule that it breaks.
        reason: &'static str,
    },

    /// The endpoint is not an HTTP address.
    #[error(
        "the hub endpoint (option or HF_ENDPOINT) is unusable: {reason}; give an address such as \
         https://HOST or unset it"
    )]
    InvalidEndpoint {
        /// The rule that it breaks; the address itself is left out, it may hold a password.
        reason: &'static str,
    },

    /// The access token cannot be sent in a header.
    #[error(
        "the access token of {origin} is unusable: it has characters other than ASCII letters, \
         digits and signs; copy it again, set HF_TOKEN to another one, or unset it"
    )]
    InvalidToken {
        /// Where it is from; the token itself is left out.
        origin: String,
    },

    /// There is no place for the cache.
    #[error(
        "no folder for the hub cache: neither HF_HUB_CACHE, HF_HOME nor a home folder is set; set HF_HOME to a \
         writable folder"
    )]
    NoCacheFolder,

    /// The hub knows no such repo (or no such revision, where it does not tell them apart).
    #[error(
        "{place} was not found; check the spelling of the repo id and the revision, and set \
         HF_TOKEN if the repo is private"
    )]
    RepoNotFound {
        /// Repo, revision and endpoint.
        place: String,
    },

    /// The repo exists, the revision does not.
    #[error(
        "{place}: the repo has no such revision; use main, or a branch, tag or 40-digit commit \
         sha from the repo's list of commits"
    )]
    RevisionNotFound {
        /// Repo, revision and endpoint.
        place: String,
    },

    /// The hub answered 401 or 403.
    #[error(
        "{place}: access denied (HTTP {status}{details}); the repo does not exist, is private or is \
         gated: check the spelling, accept the repo's terms on its web page if it has any, and set \
         HF_TOKEN to a token that may read it"
    )]
    AccessDenied {
        /// Repo, revision and endpoint.
        place: String,
        /// 401 or 403.
        status: u16,
        /// The hub's own error code and where the token is from, each with a separator before it, if there are any.
        details: String,
    },

    /// The server could not be reached, or the connection broke.
    #[error(
        "{place}: network error at {file}: {detail}; check the connection, then run the same \
         command again (what has come by then is kept)"
    )]
    Network {
        /// Repo, revision and endpoint.
        place: String,
        /// The file, or what else was asked for.
        file: String,
        /// The client's message.
        detail: String,
    },

    /// A server stopped in the middle of a file.
    #[error(
        "{place}: nothing more of {file} has come for {seconds} s; check the connection, then run the same command \
         again (what has come is kept)"
    )]
    Silence {
        /// Repo, revision and endpoint.
        place: String,
        /// The file.
        file: String,
        /// [`HubOptions::answer_timeout`](super::HubOptions::answer_timeout).
        seconds: f64,
    },

    /// The hub lists the file, but whoever has its content does not give it.
    #[error(
        "{place}: the file store {host} refuses {file} (HTTP {status}), which the hub lists; check proxies, then run the same \
         command again"
    )]
    StoreRefused {
        /// Repo, revision and endpoint.
        place: String,
        /// The file.
        file: String,
        /// The store's address, without the path.
        host: String,
        /// The status code.
        status: u16,
    },

    /// The server answered with another HTTP error.
    #[error("{place}: the server answered HTTP {status} for {file}; {}", advice(*status))]
    HttpStatus {
        /// Repo, revision and endpoint.
        place: String,
        /// The file, or what else was asked for.
        file: String,
        /// The status code.
        status: u16,
        /// For how long the server wants to be left alone.
        retry_after: Option<Duration>,
    },

    /// The server's answer is not one that a hub gives.
    #[error(
        "{place}: unusable answer for {file}: {detail}; check that the endpoint is a hub and that \
         no proxy or login page answers in its place"
    )]
    BadResponse {
        /// Repo, revision and endpoint.
        place: String,
        /// The file, or what else was asked for.
        file: String,
        /// What is wrong with it.
        detail: String,
    },

    /// A required file is not in the repo.
    #[error(
        "{place} has no {file}; edgeqa needs a transformers question-answering model with \
         config.json, tokenizer.json and its weights: choose such a repo or another revision"
    )]
    MissingFile {
        /// Repo, revision and endpoint.
        place: String,
        /// The file.
        file: String,
    },

    /// The repo has no fast tokenizer.
    #[error(
        "{place} has no tokenizer.json, the fast tokenizer file that edgeqa needs (it has: \
         {present}); make it with:\n  python -c \"from transformers import AutoTokenizer; \
         AutoTokenizer.from_pretrained({python_args}).save_pretrained('DIR')\"\nput config.json and \
         the weights into DIR too, and use that local folder instead of the repo id"
    )]
    MissingTokenizer {
        /// Repo, revision and endpoint.
        place: String,
        /// The tokenizer files that the repo does have.
        present: String,
        /// The arguments of `from_pretrained`.
        python_args: String,
    },

    /// The repo has no weight file in a form that can be read.
    #[error(
        "{place} has neither model.safetensors nor onnx/model.onnx nor model.onnx (weight files it \
         has: {present}); {advice}"
    )]
    NoUsableWeights {
        /// Repo, revision and endpoint.
        place: String,
        /// The weight files that the repo does have.
        present: String,
        /// How to get a usable one.
        advice: String,
    },

    /// A downloaded file is not the one that the hub announced. It has been removed.
    #[error(
        "{place}: {file} arrived damaged: {detail}; the file was removed from the cache: run the \
         same command again, and check proxies and mirrors if it stays"
    )]
    Integrity {
        /// Repo, revision and endpoint.
        place: String,
        /// The file.
        file: String,
        /// Expected and found.
        detail: String,
    },

    /// Another process holds the lock of the file.
    #[error(
        "{place}: {file} is being downloaded by another process (lock {}); wait until it is done \
         and run the same command again", lock.display()
    )]
    Locked {
        /// Repo, revision and endpoint.
        place: String,
        /// The file.
        file: String,
        /// The lock file.
        lock: PathBuf,
    },

    /// The cache could not be read or written.
    #[error(
        "{place}: cannot store {file} in the hub cache {}: {source}; check free space and \
         permissions, or set HF_HUB_CACHE to another folder", cache.display()
    )]
    Cache {
        /// Repo, revision and endpoint.
        place: String,
        /// The file.
        file: String,
        /// The cache folder.
        cache: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },

    /// Offline, and the files are not all in the cache.
    #[error(
        "{place} is not completely in the hub cache {} and the network is switched off; run once \
         with network access, or use a local folder with the model's files", cache.display()
    )]
    NotCached {
        /// Repo, revision and endpoint.
        place: String,
        /// The cache folder.
        cache: PathBuf,
    },
}

impl HubError {
    /// Whether the same request may well succeed in a while.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Network { .. } => true,
            Self::HttpStatus { status, .. } => is_trouble(*status),
            _ => false,
        }
    }

    /// For how long the server wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::HttpStatus { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Whether the status is that of a server that is asked too much, or fails itself.
pub(super) fn is_trouble(status: u16) -> bool {
    status == 429 || status >= 500
}

fn advice(status: u16) -> &'static str {
    match status {
        429 => {
            "it is asked too often from here: wait some minutes, then run the same command again (what has come by then is kept)"
        }
        500.. => "it is in trouble: run the same command again later (what has come by then is kept)",
        _ => "check that HF_ENDPOINT names a hub",
    }
}
