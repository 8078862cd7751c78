//! Requests for the file list and for files.

use super::chunks::{Chunks, Stop};
use super::listing::{FileEntry, Listing, is_lower_hex};
use super::session::{CONNECT_TIMEOUT, INFO, Session, header};
use super::{HubError, store};
use hf_hub::api::sync::Api;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::Body;
use ureq::http::{HeaderMap, Response, StatusCode, Uri};

/// The hub's list of a large repo is some hundred kilobytes long.
const MAX_INFO_BYTES: u64 = 16 << 20;
/// The most that is taken of a file whose size nobody announces.
const MAX_FILE_BYTES: u64 = 16 << 30;
const MAX_RELATIVE_REDIRECTS: usize = 5;
const MAX_STORE_REDIRECTS: u32 = 10;
/// An attempt that brings so many bytes more of a file than any before it makes up for the broken ones.
const PROGRESS: u64 = 64 << 10;
/// Before the first new attempt; twice as long before each after it.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause that a server may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// What the hub announces about a file in the headers of its answer.
struct Announced {
    etag: String,
    size: Option<u64>,
    /// Where the content is: at the hub, or in a file store that it redirects to.
    content: Uri,
    /// What the content's server wants to see; a store gets no token.
    token: Option<String>,
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
    /// Asks the hub for the commit and the files of the revision: with the token, and without it if the hub refuses that, as it does to
    /// expired ones.
    pub fn listing(&self) -> Result<Listing, HubError> {
        let mut answer = self.ask_listing(&self.api)?;
        if let Some((_, origin)) = &self.token
            && answer.status() == StatusCode::UNAUTHORIZED
        {
            let without = self.ask_listing(&self.anonymous)?;
            if without.status() == StatusCode::OK {
                log::warn!("{}: the hub refuses the access token of {origin}; going on without it", self.place);
                answer = without;
            }
        }
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

    fn ask_listing(&self, api: &Api) -> Result<Response<Body>, HubError> {
        let request = api.repo(self.at(&self.revision)).info_request().query("blobs", "true");
        let proxy = request.uri_ref().and_then(|address| self.proxy(address));
        let request = request
            .config()
            .proxy(proxy)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(self.answer_timeout))
            .timeout_recv_body(Some(self.answer_timeout))
            .build();
        request.call().map_err(|error| self.request_error(INFO, &error))
    }

    /// Returns the path of a file in the snapshot of `commit`, transferring it if it is not there or is not the one
    /// that is listed.
    pub fn fetch(&self, commit: &str, entry: &FileEntry) -> Result<PathBuf, HubError> {
        let pointer = self.snapshot(commit).join(&entry.name);
        if store::is_sound(&pointer, entry) {
            return Ok(pointer);
        }
        let (mut broken, mut restarted, mut furthest) = (0, false, None);
        loop {
            let mut reached = 0;
            let fetched = self.fetch_once(commit, entry, &pointer, &mut reached);
            // What earlier calls have left is no progress.
            if furthest.is_some_and(|furthest| reached >= furthest + PROGRESS) {
                broken = 0;
            }
            if reached > 0 {
                furthest = furthest.max(Some(reached));
            }
            match fetched {
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
                    (restarted, furthest) = (true, None);
                }
                Err(error) if error.is_passing() && broken < self.retries => {
                    let pause = pause(broken, error.retry_after());
                    log::warn!("{error}");
                    log::warn!("{}: trying again in {:.1} s", entry.name, pause.as_secs_f64());
                    std::thread::sleep(pause);
                    broken += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// `reached` becomes the length of what has come of the file, this time and before.
    fn fetch_once(
        &self,
        commit: &str,
        entry: &FileEntry,
        pointer: &Path,
        reached: &mut u64,
    ) -> Result<Outcome, HubError> {
        let announced = self.access(commit, &entry.name)?;
        let expected = FileEntry {
            name: entry.name.clone(),
            size: entry.size.or(announced.size),
            sha256: (entry.sha256.clone())
                .or_else(|| is_lower_hex(&announced.etag, 64).then(|| announced.etag.clone())),
        };
        let in_cache = |source| self.cache_error(&entry.name, source);
        let blob = self.cache_at(commit).blob_path(&announced.etag);
        let _lock = store::lock(&blob).map_err(in_cache)?.ok_or_else(|| self.locked(&entry.name, &blob))?;
        // Another process may have been faster.
        if store::is_sound(pointer, &expected) {
            return Ok(Outcome::Good);
        }
        if blob.is_file() {
            if store::difference(&blob, &expected).map_err(in_cache)?.is_none()
                && store::link(&blob, pointer, &entry.name).is_ok()
            {
                return Ok(Outcome::Good);
            }
            // What is transferred does not depend on what was there before.
            log::debug!("{} is transferred again", entry.name);
        }
        let part = blob.with_extension("part");
        let begun = store::keep_part(&part, expected.size).map_err(in_cache)?;
        log::info!("downloading {} of {}", entry.name, self.place);
        let continued = begun > 0;
        *reached = begun;
        let problem = match self.transfer(&announced, &expected, &part, reached)? {
            Some(problem) => Some(problem),
            None => store::difference(&part, &expected).map_err(in_cache)?,
        };
        if let Some(detail) = problem {
            store::remove(&part).map_err(in_cache)?;
            return Ok(Outcome::Damaged { detail, continued });
        }
        store::publish(&part, &blob, pointer, &entry.name).map_err(in_cache)?;
        Ok(Outcome::Good)
    }

    /// Writes the content of a file to `part`, of which `reached` bytes are there, and returns why that is of no use, if it is. A transfer
    /// that breaks leaves what has come, up to `reached` then.
    fn transfer(
        &self,
        announced: &Announced,
        expected: &FileEntry,
        part: &Path,
        reached: &mut u64,
    ) -> Result<Option<String>, HubError> {
        let (file, begun) = (&expected.name, *reached);
        let mut request = self.agent.get(&announced.content).header("Range", format!("bytes={begun}-"));
        if let Some(token) = &announced.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        // Parts of an encoded file are no parts of the file.
        let request = request.header("Accept-Encoding", "identity");
        let request = request
            .config()
            .proxy(self.proxy(&announced.content))
            .max_redirects(MAX_STORE_REDIRECTS)
            .timeout_recv_body(None)
            .build();
        let answer = request.call().map_err(|error| self.request_error(file, &error))?;
        let begun = match answer.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT if start_of_range(answer.headers()) == Some(begun) => begun,
            StatusCode::PARTIAL_CONTENT => return Err(self.bad_response(file, "it is not the part that was asked for")),
            StatusCode::RANGE_NOT_SATISFIABLE if begun > 0 => {
                return Ok(Some(format!("the server has nothing after its first {begun} bytes")));
            }
            status => {
                return Err(self.content_error(file, &announced.content, status.as_u16(), answer.headers()));
            }
        };
        let size = expected.size.or(size_of_range(answer.headers()));
        let in_cache = |source| self.cache_error(file, source);
        let mut to = OpenOptions::new().create(true).append(true).open(part).map_err(in_cache)?;
        to.set_len(begun).map_err(in_cache)?;
        let chunks = Chunks::new(answer.into_body().into_reader(), self.answer_timeout)
            .map_err(|error| self.network_error(file, error.to_string()))?;
        let bar = self.bar(file, begun, size);
        *reached = begun;
        let most = size.unwrap_or(MAX_FILE_BYTES);
        loop {
            let chunk = chunks.next().map_err(|stop| match stop {
                Stop::Silence => self.silence(file),
                Stop::Broken(error) => self.network_error(file, error.to_string()),
            })?;
            if chunk.is_empty() {
                bar.finish_and_clear();
                return Ok(None);
            }
            *reached += chunk.len() as u64;
            if *reached > most {
                return Ok(Some(format!("more than {most} bytes")));
            }
            to.write_all(&chunk).map_err(in_cache)?;
            bar.set_position(*reached);
        }
    }

    /// Returns what the hub announces about the file: asked without the token, and with it only where the hub refuses that.
    fn access(&self, commit: &str, file: &str) -> Result<Announced, HubError> {
        let url = self.anonymous.repo(self.at(commit)).url(file);
        match self.announced(&url, commit, file, None) {
            Err(HubError::AccessDenied { .. } | HubError::MissingFile { .. }) if self.token.is_some() => {
                self.announced(&url, commit, file, self.token.as_ref().map(|(token, _)| token.as_str()))
            }
            announced => announced,
        }
    }

    /// Asks for the first byte of a file, and checks what is announced with it.
    fn announced(&self, url: &str, commit: &str, file: &str, token: Option<&str>) -> Result<Announced, HubError> {
        let bad = |detail: &str| self.bad_response(file, detail);
        let mut target: Uri = url.parse().map_err(|_| bad("the address is malformed"))?;
        for _ in 0..=MAX_RELATIVE_REDIRECTS {
            let mut request =
                self.agent.get(&target).header("Range", "bytes=0-0").header("Accept-Encoding", "identity");
            if let Some(token) = token {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            let request = request.config().proxy(self.proxy(&target)).build();
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
            let size = size.or_else(|| size_of_range(headers));
            return Ok(match store {
                Some(content) => Announced { etag, size, content, token: None },
                None => Announced { etag, size, content: target, token: token.map(str::to_owned) },
            });
        }
        Err(bad("too many redirects"))
    }
}

/// How long to wait after `broken` attempts and one more, the last of which was answered with a wish.
fn pause(broken: u32, wish: Option<Duration>) -> Duration {
    let own = RETRY_PAUSE * 2_u32.pow(broken.min(4));
    wish.map_or(own, |wish| wish.clamp(own, MAX_PAUSE))
}

/// The length of a file of which a range was sent.
fn size_of_range(headers: &HeaderMap) -> Option<u64> {
    header(headers, "content-range")?.rsplit('/').next()?.parse().ok()
}

/// Where the range that was sent begins.
fn start_of_range(headers: &HeaderMap) -> Option<u64> {
    header(headers, "content-range")?.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_left_alone_for_as_long_as_they_want_within_bounds() {
        let seconds = Duration::from_secs;
        assert_eq!((pause(0, None), pause(1, None), pause(9, None)), (RETRY_PAUSE, seconds(1), seconds(8)));
        assert_eq!((pause(0, Some(seconds(7))), pause(1, Some(seconds(0)))), (seconds(7), seconds(1)));
        assert_eq!(pause(0, Some(seconds(u64::MAX))), MAX_PAUSE);
    }
}
