//! Fetches the files of a question-answering model from a Hugging Face hub.
//!
//! [`download`] asks the hub for the file list of a repo at a revision, chooses the files that a
//! conversion needs, and transfers those that are not in the standard hub cache yet:
//!
//! - `config.json` and `tokenizer.json`, both required;
//! - the weights: `model.safetensors`, else `onnx/model.onnx` or `model.onnx` with the file of
//!   external tensors (`….data` or `…_data`) that lies beside it.
//!
//! # Cache
//!
//! The cache is the one that the hub's other clients share (`HF_HUB_CACHE`, else `hub` in `HF_HOME`,
//! else in `~/.cache/huggingface`). A file that is in the cache is not transferred again, also when it got
//! there for another revision. A revision that is a full commit sha needs no network at all once
//! its `model.safetensors` is there and whole. Branches and tags are looked up on the hub each time; when the
//! hub cannot be reached, the commit they stood for last is used, with a warning in the log. The
//! same holds for commits of ONNX-only repos, since the cache does not tell whether the repo has
//! better weights.
//!
//! # Interruptions
//!
//! A transfer that breaks leaves a `.part` file in the cache, and the next attempt, in the same
//! call or a later one, asks for the rest only. A partial file that cannot be continued is thrown
//! away and fetched from the start, once per attempt. As long as attempts make progress, there is another one.
//!
//! A server that answers 429 or 5xx for a file counts as a transfer that broke. If it says with `Retry-After` for how many seconds it
//! wants to be left alone, it is, for a minute at most.
//!
//! A connection must be made within 30 seconds, and an answer begin within
//! [`HubOptions::answer_timeout`]. A transfer is given up if nothing more comes for that long.
//!
//! # Integrity
//!
//! Large files (the weights, always) are stored on the hub under their SHA-256, announced in the
//! file list (`lfs.sha256`) and as ETag of the file. What arrives is hashed and compared before it
//! gets its name in the cache; a file that differs is removed. Small files have no SHA-256: for
//! them, and for servers that announce none, the length is compared where one is announced, and no
//! more than that is taken. Files that are in the cache already are compared in the same way, and fetched
//! again if they differ; where there is no list to compare with, the weights and external tensors are hashed if they are named
//! after their SHA-256, and the other two files have to hold JSON.
//!
//! # Token
//!
//! The access token goes to the hub with the request for the file list, and with the requests for
//! files only if the hub refuses them without it. The file store that a hub redirects to never gets
//! it. Where the hub refuses the token itself, the list is asked for without one.
//!
//! # Proxy
//!
//! Requests go through the proxy of the environment (`ALL_PROXY`, else `HTTPS_PROXY`, else `HTTP_PROXY`, also in lower case), but for
//! those to hosts of `NO_PROXY` and to this machine itself.

mod chunks;
mod error;
mod listing;
mod session;
mod store;
mod transfer;

pub use error::HubError;

use listing::{CONFIG, Choice, Listing, ONNX, SAFETENSORS, TOKENIZER};
use session::Session;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The revision that is meant when none is given.
pub const DEFAULT_REVISION: &str = "main";

/// Where to download from and how. [`HubOptions::default`] follows the environment: the variables that are named here, and those of the
/// proxy.
#[derive(Clone)]
pub struct HubOptions {
    /// The hub's address; `None` stands for `HF_ENDPOINT`, else for the public hub.
    pub endpoint: Option<String>,
    /// The hub cache; `None` stands for `$HF_HUB_CACHE`, else `$HF_HOME/hub`, else `~/.cache/huggingface/hub`.
    pub cache_dir: Option<PathBuf>,
    /// The access token; `None` stands for `HF_TOKEN`, else for the token file in `$HF_HOME`, else in `~/.cache/huggingface`, or beside
    /// `cache_dir`.
    pub token: Option<String>,
    /// Whether to show a progress bar; it goes to stderr, and only if that is a terminal.
    pub progress: bool,
    /// How often a file whose transfer broke is tried again before giving up, without an attempt that brings at least 64 KiB more of it
    /// than any before.
    pub retries: u32,
    /// How long a server may take to begin an answer, to send all of the file list, and from one part of a file to the next.
    pub answer_timeout: Duration,
    /// Whether to use the cache only; `None` stands for `HF_HUB_OFFLINE`.
    pub offline: Option<bool>,
    /// Whether any of these variables counts; else they are as good as not set.
    pub environment: bool,
}

impl Default for HubOptions {
    fn default() -> Self {
        let answer_timeout = Duration::from_secs(60);
        Self {
            endpoint: None,
            cache_dir: None,
            token: None,
            progress: true,
            retries: 3,
            answer_timeout,
            offline: None,
            environment: true,
        }
    }
}

impl fmt::Debug for HubOptions {
    /// Shows everything but the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubOptions")
            .field("endpoint", &self.endpoint)
            .field("cache_dir", &self.cache_dir)
            .field("token", &self.token.as_ref().map(|_| "set"))
            .field("progress", &self.progress)
            .field("retries", &self.retries)
            .field("answer_timeout", &self.answer_timeout)
            .field("offline", &self.offline)
            .field("environment", &self.environment)
            .finish()
    }
}

/// The weight file that was downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Weights {
    /// A safetensors file.
    Safetensors(PathBuf),
    /// An ONNX graph; a file with its external tensors, if any, lies in the same folder.
    Onnx(PathBuf),
}

impl Weights {
    /// The path of the file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Safetensors(path) | Self::Onnx(path) => path,
        }
    }
}

/// The files of a model in the hub cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// The snapshot folder of the commit.
    pub dir: PathBuf,
    /// The repo id.
    pub repo: String,
    /// The revision that was asked for.
    pub requested_revision: String,
    /// The commit sha that the revision stands for.
    pub commit: String,
    /// The weights.
    pub weights: Weights,
    /// `config.json`.
    pub config: PathBuf,
    /// `tokenizer.json`.
    pub tokenizer: PathBuf,
}

/// Makes sure that the files of `repo` at `revision` (default [`DEFAULT_REVISION`]) are in the hub
/// cache, and returns where.
///
/// # Errors
/// [`HubError`]: before any request for an impossible repository, revision, endpoint or token; of the network only if the cache does not
/// hold the commit either; [`HubError::Integrity`] for a file that arrived damaged, which is removed.
pub fn download(repo: &str, revision: Option<&str>, options: &HubOptions) -> Result<Downloaded, HubError> {
    let revision = revision.unwrap_or(DEFAULT_REVISION);
    check_repo(repo)?;
    check_revision(revision)?;
    let session = Session::new(repo, revision, options)?;

    let pinned = listing::is_commit(revision);
    if pinned
        && let Some(found) = cached(&session, revision)
        && matches!(found.weights, Weights::Safetensors(_))
    {
        return Ok(found);
    }
    let offline = options.offline.unwrap_or_else(|| session::offline_by_env(options));
    let listed = if offline { Err(session.not_cached()) } else { session.listing() };
    let listing = match listed {
        Ok(listing) => listing,
        Err(error) if may_use_cache(&error) => {
            let commit = match pinned {
                true => Some(revision.to_owned()),
                false => session.cached_commit(),
            };
            let Some(found) = commit.and_then(|commit| cached(&session, &commit)) else {
                return Err(error);
            };
            if !offline {
                log::warn!("{error}");
            }
            log::warn!("using commit {} of {repo} from the hub cache", found.commit);
            return Ok(found);
        }
        Err(error) => return Err(error),
    };
    if pinned && listing.commit != revision {
        return Err(
            session.bad_response(session::INFO, format!("asked for this commit, it speaks of {}", listing.commit))
        );
    }
    fetch_all(&session, &listing)
}

/// Fetches what the listing's plan names; the weights last, so that their presence in a snapshot
/// stands for the presence of the rest.
fn fetch_all(session: &Session, listing: &Listing) -> Result<Downloaded, HubError> {
    let plan = listing.plan(&session.repo, &session.revision, &session.place)?;
    let commit = &listing.commit;
    let config = session.fetch(commit, &plan.config)?;
    let tokenizer = session.fetch(commit, &plan.tokenizer)?;
    for file in &plan.external {
        session.fetch(commit, file)?;
    }
    let weights = match &plan.weights {
        Choice::Safetensors(file) => Weights::Safetensors(session.fetch(commit, file)?),
        Choice::Onnx(file) => Weights::Onnx(session.fetch(commit, file)?),
    };
    session.remember(commit);
    Ok(Downloaded {
        dir: session.snapshot(commit),
        repo: session.repo.clone(),
        requested_revision: session.revision.clone(),
        commit: commit.clone(),
        weights,
        config,
        tokenizer,
    })
}

/// The files of `commit` if the cache has them all, undamaged as far as that can be seen.
fn cached(session: &Session, commit: &str) -> Option<Downloaded> {
    let dir = session.snapshot(commit);
    let present = |name: &str| Some(dir.join(name)).filter(|path| path.is_file());
    let (weights, external) = match present(SAFETENSORS) {
        Some(path) => (Weights::Safetensors(path), Vec::new()),
        None => {
            let (name, graph) = ONNX.iter().find_map(|name| Some((name, present(name)?)))?;
            (Weights::Onnx(graph), listing::external_names(name).filter_map(|name| present(&name)).collect())
        }
    };
    let (config, tokenizer) = (present(CONFIG)?, present(TOKENIZER)?);
    let is_damaged = |path: &&Path| !store::is_named_rightly(path);
    let damaged = external.iter().map(PathBuf::as_path).chain([weights.path()]).find(is_damaged);
    let is_damaged = |path: &&Path| !store::is_json(path);
    if let Some(path) = damaged.or_else(|| [config.as_path(), &tokenizer].into_iter().find(is_damaged)) {
        log::warn!("{} is damaged, and has to be fetched again", path.display());
        return None;
    }
    Some(Downloaded {
        repo: session.repo.clone(),
        requested_revision: session.revision.clone(),
        commit: commit.to_owned(),
        weights,
        config,
        tokenizer,
        dir,
    })
}

/// Whether `error` says nothing about the repo, so that a cached commit is as good as before.
fn may_use_cache(error: &HubError) -> bool {
    match error {
        HubError::NotCached { .. } => true,
        error => error.is_passing(),
    }
}

fn check_repo(repo: &str) -> Result<(), HubError> {
    let name_char = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let reason = if repo.is_empty() {
        "it is empty"
    } else if repo.len() > 193 {
        "it is too long"
    } else if repo.split('/').count() > 2 {
        "it has more than one \"/\""
    } else if repo.split('/').any(str::is_empty) {
        "a part of it is empty"
    } else if repo.contains("..") || repo.contains("--") {
        "\"..\" and \"--\" are not allowed"
    } else if !repo.split('/').all(|part| part.bytes().all(name_char)) {
        "only letters, digits, \"-\", \"_\" and \".\" are allowed"
    } else if repo.split('/').any(|part| part.starts_with(['-', '.']) || part.ends_with(['-', '.'])) {
        "its parts must not begin or end with \"-\" or \".\""
    } else {
        return Ok(());
    };
    Err(HubError::InvalidRepo { repo: listing::printable(repo, 200), reason })
}

fn check_revision(revision: &str) -> Result<(), HubError> {
    let name_char = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/' | b'+');
    let reason = if revision.is_empty() {
        "it is empty"
    } else if revision.len() > 255 {
        "it is too long"
    } else if revision.contains("..") {
        "\"..\" is not allowed"
    } else if !revision.bytes().all(name_char) {
        "only letters, digits and \"-\", \"_\", \".\", \"+\", \"/\" are allowed"
    } else if revision.split('/').any(|part| part.is_empty() || part.starts_with(['-', '.'])) {
        "its parts must not be empty or begin with \"-\" or \".\""
    } else {
        return Ok(());
    };
    Err(HubError::InvalidRevision { revision: listing::printable(revision, 300), reason })
}
