//! Requests for the file list and for files.

use super::listing::{FileEntry, Listing, is_lower_hex};
use super::session::{CONNECT_TIMEOUT, INFO, Session, header};
use super::watch::watch;
use super::{HubError, store};
use edgeqa::guard::guard;
use hf_hub::api::sync::{ApiError, ApiRepo};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::{HeaderMap, StatusCode, Uri};

/// The hub's list of a large repo is some hundred kilobytes long.
const MAX_INFO_BYTES: u64 = 16 << 20;
const MAX_RELATIVE_REDIRECTS: usize = 5;
/// As many as the client follows.
const MAX_STORE_REDIRECTS: u32 = 10;
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// What the hub announces about a file in the headers of its answer.
struct Announced {
    etag: String,
    size: Option<u64>,
    /// Where the content is, if the hub does not send it itself.
    store: Option<Uri>,
}

/// How a transfer went that did not fail.
enum Outcome {
    Good,
    /// The content differs from what was announced or has no rest to fetch, and has been removed.
    Damaged {
        detail: String,
        /// Whether a part of it was from an earlier attempt.
        continued: bool,
    },
}

impl Session {
    /// Asks the hub for the commit and the files of the revision.
    pub fn listing(&self) -> Result<Listing, HubError> {
        let mut answer = self
            .api
            .repo(self.at(&self.revision))
            .info_request()
            .query("blobs", "true")
            .config()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(self.answer_timeout))
            .timeout_recv_body(Some(self.answer_timeout))
            .build()
            .call()
            .map_err(|error| self.request_error(INFO, &error))?;
        if answer.status() != StatusCode::OK {
            return Err(self.status_error(INFO, answer.status().as_u16(), answer.headers()));
        }
        let body = answer
            .body_mut()
            .with_config()
            .limit(MAX_INFO_BYTES)
            .lossy_utf8(true)
            .read_to_string()
            .map_err(|error| self.request_error(INFO, &error))?;
        Listing::parse(&body).map_err(|detail| self.bad_response(INFO, detail))
    }

    /// Returns the path of a file in the snapshot of `commit`, transferring it if it is not there.
    pub fn fetch(&self, commit: &str, entry: &FileEntry) -> Result<PathBuf, HubError> {
        let pointer = self.snapshot(commit).join(&entry.name);
        if pointer.is_file() {
            return Ok(pointer);
        }
        let (mut broken, mut restarted) = (0, false);
        loop {
            match self.fetch_once(commit, entry, &pointer) {
                Ok(Outcome::Good) => return Ok(pointer),
                Ok(Outcome::Damaged { detail, continued }) => {
                    if !continued || restarted {
                        return Err(HubError::Integrity {
                            place: self.place.clone(),
                            file: entry.name.clone(),
                            detail,
                        });
                    }
                    log::warn!("{}: {detail}; starting it anew", entry.name);
                    restarted = true;
                }
                Err(error @ HubError::Network { .. }) if broken < self.retries => {
                    log::warn!("{error}");
                    std::thread::sleep(RETRY_PAUSE * 2_u32.pow(broken.min(4)));
                    broken += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn fetch_once(&self, commit: &str, entry: &FileEntry, pointer: &Path) -> Result<Outcome, HubError> {
        let (repo, announced) = self.access(commit, &entry.name)?;
        // Another process may have been faster.
        if pointer.is_file() {
            return Ok(Outcome::Good);
        }
        let expected = FileEntry {
            name: entry.name.clone(),
            size: entry.size.or(announced.size),
            sha256: (entry.sha256.clone())
                .or_else(|| is_lower_hex(&announced.etag, 64).then(|| announced.etag.clone())),
        };
        let in_cache = |source| self.cache_error(&entry.name, source);
        let blob = self.cache_at(commit).blob_path(&announced.etag);
        let link = || store::link(&blob, pointer, &entry.name);
        if blob.is_file() {
            if store::difference(&blob, &expected).map_err(in_cache)?.is_none() && link().is_ok() {
                return Ok(Outcome::Good);
            }
            // What the client puts there does not depend on what was there before.
            log::debug!("{} is transferred again", entry.name);
        }
        let in_store = match &announced.store {
            Some(store) => self.size_in_store(store, &entry.name)?,
            None => None,
        };
        let part = blob.with_extension("part");
        let continued = store::keep_part(&part, expected.size.or(in_store)).map_err(in_cache)?;
        log::info!("downloading {} of {}", entry.name, self.place);
        // The client asserts what this module has just checked of the same server; a server that
        // changes its mind in between must not end the program.
        let name = entry.name.clone();
        let transfer = move |progress| guard(|| repo.download_with_progress(&name, progress));
        let ended = watch(self.answer_timeout, self.bar(), transfer);
        let Some(ended) = ended.map_err(|error| self.network_error(&entry.name, error.to_string()))? else {
            return Err(self.silence(&entry.name));
        };
        let path = match ended {
            Ok(Ok(path)) => path,
            // The blob is there, and so is a link: one to nothing, or that of another process.
            Ok(Err(ApiError::IoError(error))) if error.kind() == ErrorKind::AlreadyExists && blob.is_file() => {
                link().map_err(in_cache)?;
                pointer.to_owned()
            }
            Ok(Err(error)) if continued && has_no_rest(&error) => {
                store::remove_part(&part).map_err(in_cache)?;
                return Ok(Outcome::Damaged { detail: error.to_string(), continued });
            }
            Ok(Err(error)) => return Err(self.api_error(&entry.name, error)),
            Err(panic) => {
                return Err(self.bad_response(&entry.name, format!("the headers make no sense: {panic}")));
            }
        };
        let found = match path == pointer {
            true => store::difference(pointer, &expected).map_err(in_cache)?,
            false => Some("the server changed the commit".to_owned()),
        };
        let Some(detail) = found else {
            return Ok(Outcome::Good);
        };
        for file in [pointer, &blob] {
            store::remove(file).map_err(in_cache)?;
        }
        Ok(Outcome::Damaged { detail, continued })
    }

    /// Returns the client that may read the file, and what the hub announces about the file.
    ///
    /// The client repeats its token to the file store that the hub redirects to, whatever host that
    /// is on. So the token is used for files only where the hub gives them to nobody else.
    fn access(&self, commit: &str, file: &str) -> Result<(ApiRepo, Announced), HubError> {
        let repo = self.anonymous.repo(self.at(commit));
        let url = repo.url(file);
        match self.announced(&url, commit, file, None) {
            Err(HubError::AccessDenied { .. } | HubError::MissingFile { .. }) if self.token.is_some() => {
                let announced = self.announced(&url, commit, file, self.token.as_deref())?;
                Ok((self.api.repo(self.at(commit)), announced))
            }
            announced => Ok((repo, announced?)),
        }
    }

    /// Asks for the headers of a file, as the client will do, and checks what the client relies on.
    fn announced(&self, url: &str, commit: &str, file: &str, token: Option<&str>) -> Result<Announced, HubError> {
        let bad = |detail: &str| self.bad_response(file, detail);
        let mut target: Uri = url.parse().map_err(|_| bad("the address is malformed"))?;
        for _ in 0..=MAX_RELATIVE_REDIRECTS {
            let mut request = self.agent.get(&target).header("Range", "bytes=0-0");
            if let Some(token) = token {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            let answer = request.call().map_err(|error| self.request_error(file, &error))?;
            let (status, headers, mut store) = (answer.status(), answer.headers(), None);
            if status.is_redirection() {
                let location: Uri = header(headers, "location")
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(|| bad("a redirect without a usable Location"))?;
                if location.host().is_none() {
                    let mut parts = target.into_parts();
                    parts.path_and_query = location.into_parts().path_and_query;
                    target = Uri::from_parts(parts).map_err(|_| bad("a redirect without a usable Location"))?;
                    continue;
                }
                store = Some(location);
            } else if !status.is_success() {
                return Err(self.status_error(file, status.as_u16(), headers));
            }
            if header(headers, "x-repo-commit") != Some(commit) {
                return Err(bad("the header X-Repo-Commit is missing or names another commit"));
            }
            let etag = header(headers, "x-linked-etag")
                .or_else(|| header(headers, "etag"))
                .map(|text| text.replace('"', ""))
                .filter(|text| store::is_usable_etag(text))
                .ok_or_else(|| bad("the header ETag is missing or unusable"))?;
            let size = header(headers, "x-linked-size").and_then(|text| text.parse().ok());
            return Ok(Announced { etag, size: size.or_else(|| size_of_range(headers)), store });
        }
        Err(bad("too many redirects"))
    }

    /// Asks the file store for the first byte, and returns the length of the file if the answer tells.
    ///
    /// A store that does not answer is noticed here, before the client holds the lock of the file. What else may be wrong with its
    /// answer shows in the transfer.
    fn size_in_store(&self, store: &Uri, file: &str) -> Result<Option<u64>, HubError> {
        let request = self.agent.get(store).config().max_redirects(MAX_STORE_REDIRECTS).build();
        let answer = request.header("Range", "bytes=0-0").call().map_err(|error| self.request_error(file, &error))?;
        Ok(size_of_range(answer.headers()))
    }
}

/// The length of a file of which a range was sent.
fn size_of_range(headers: &HeaderMap) -> Option<u64> {
    header(headers, "content-range")?.rsplit('/').next()?.parse().ok()
}

/// Whether client or server says that there is nothing to fetch after the end of the partial file.
fn has_no_rest(error: &ApiError) -> bool {
    match error {
        ApiError::InvalidResume => true,
        ApiError::RequestError(error) => {
            matches!(**error, ureq::Error::StatusCode(status) if status == StatusCode::RANGE_NOT_SATISFIABLE)
        }
        _ => false,
    }
}
