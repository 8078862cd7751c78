//! One repo at one revision: the client, the cache, and what went wrong with them.

use super::error::is_trouble;
use super::listing::{is_commit, printable};
use super::{HubError, HubOptions, store};
use hf_hub::api::sync::{Api, ApiBuilder};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs;
use std::io::{self, IsTerminal};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::Proxy;
use ureq::http::{HeaderMap, Uri};

/// What error messages call the info request.
pub(super) const INFO: &str = "the list of files";
/// For a connection to be made.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Everything that requests for one repo at one revision have in common.
pub(super) struct Session {
    /// Sends the token, if there is one.
    pub api: Api,
    /// Sends none.
    pub anonymous: Api,
    cache: Cache,
    /// Follows no redirects and reports HTTP errors as answers.
    pub agent: ureq::Agent,
    /// That of the environment, which knows the hosts that need none.
    proxy: Option<Proxy>,
    /// The access token, and where it is from.
    pub token: Option<(String, String)>,
    /// For the headers of an answer, for the body of a short one, and for each part of a long one.
    pub answer_timeout: Duration,
    /// Whether transfers show how far they are.
    progress: bool,
    pub repo: String,
    pub revision: String,
    /// Repo, revision and endpoint for error messages.
    pub place: String,
    pub retries: u32,
}

/// Whether `HF_HUB_OFFLINE` switches the network off.
pub(super) fn offline_by_env(options: &HubOptions) -> bool {
    env_text(options, "HF_HUB_OFFLINE")
        .is_some_and(|text| matches!(text.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on"))
}

/// The value of a variable that is set, not blank, and counts.
pub(super) fn env_text(options: &HubOptions, name: &str) -> Option<String> {
    let value = if options.environment { std::env::var(name).ok() } else { None };
    value.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

impl Session {
    pub fn new(repo: &str, revision: &str, options: &HubOptions) -> Result<Self, HubError> {
        let cache = store::open_cache(options)?;
        let token = find_token(options, &store::token_path(options, &cache))?;
        let endpoint = match options.endpoint.clone().or_else(|| env_text(options, "HF_ENDPOINT")) {
            Some(endpoint) => Some(check_endpoint(&endpoint)?),
            None => None,
        };
        let mut place = format!("{repo} (revision {revision})");
        let client = |token: Option<String>| {
            let mut builder = ApiBuilder::from_cache(cache.clone()).with_token(token);
            if let Some(endpoint) = &endpoint {
                builder = builder.with_endpoint(endpoint.clone());
            }
            builder.build().map_err(|error| HubError::BadResponse {
                place: place.clone(),
                file: "the HTTP client".to_owned(),
                detail: error.to_string(),
            })
        };
        let (api, anonymous) = (client(token.as_ref().map(|(token, _)| token.clone()))?, client(None)?);
        let url = api.model(repo.to_owned()).url("");
        let endpoint = url.split(&format!("/{repo}/resolve/")).next();
        place.push_str(&format!(" at {}", endpoint.unwrap_or(&url)));
        let agent = ureq::Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(options.answer_timeout))
            .timeout_recv_body(Some(options.answer_timeout))
            .build()
            .into();
        Ok(Self {
            api,
            anonymous,
            cache,
            agent,
            proxy: if options.environment { Proxy::try_from_env() } else { None },
            token,
            answer_timeout: options.answer_timeout,
            progress: options.progress && io::stderr().is_terminal(),
            repo: repo.to_owned(),
            revision: revision.to_owned(),
            place,
            retries: options.retries,
        })
    }

    /// The proxy for a request to `address`, and to wherever that is redirected.
    pub fn proxy(&self, address: &Uri) -> Option<Proxy> {
        self.proxy.clone().filter(|_| !is_this_machine(address))
    }

    pub fn at(&self, revision: &str) -> Repo {
        Repo::with_revision(self.repo.clone(), RepoType::Model, revision.to_owned())
    }

    pub fn cache_at(&self, revision: &str) -> CacheRepo {
        self.cache.repo(self.at(revision))
    }

    /// The folder of a commit's files.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.cache_at(commit).pointer_path(commit)
    }

    /// The commit that the branch or tag stood for when it was last downloaded.
    pub fn cached_commit(&self) -> Option<String> {
        let config = self.cache_at(&self.revision).get(super::CONFIG)?;
        let commit = config.parent()?.file_name()?.to_str()?;
        is_commit(commit).then(|| commit.to_owned())
    }

    /// Notes in the cache which commit the revision stands for.
    pub fn remember(&self, commit: &str) {
        if let Err(error) = self.cache_at(&self.revision).create_ref(commit) {
            log::warn!("{}: cannot note the commit in the cache: {error}", self.place);
        }
    }

    pub fn not_cached(&self) -> HubError {
        HubError::NotCached { place: self.place.clone(), cache: self.cache.path().clone() }
    }

    pub fn bad_response(&self, file: &str, detail: impl Into<String>) -> HubError {
        HubError::BadResponse {
            place: self.place.clone(),
            file: file.to_owned(),
            detail: printable(&detail.into(), 300),
        }
    }

    pub fn status_error(&self, file: &str, status: u16, headers: &HeaderMap) -> HubError {
        let place = self.place.clone();
        let code = header(headers, "x-error-code").unwrap_or_default();
        match (status, code) {
            (401 | 403, _) => {
                let mut details = match code {
                    "" => String::new(),
                    code => format!(", {}", printable(code, 80)),
                };
                if let Some((_, origin)) = &self.token {
                    details.push_str(&format!(", with the token of {origin}"));
                }
                HubError::AccessDenied { place, status, details }
            }
            (404, "RevisionNotFound") => HubError::RevisionNotFound { place },
            (404, _) if code == "EntryNotFound" || file != INFO => {
                HubError::MissingFile { place, file: file.to_owned() }
            }
            (404, _) => HubError::RepoNotFound { place },
            _ => {
                let seconds = header(headers, "retry-after").and_then(|text| text.trim().parse().ok());
                let retry_after = seconds.map(Duration::from_secs);
                HubError::HttpStatus { place, file: file.to_owned(), status, retry_after }
            }
        }
    }

    /// Who has the content of `file`, at `address`, does not give it, though the hub lists it.
    pub fn content_error(&self, file: &str, address: &Uri, status: u16, headers: &HeaderMap) -> HubError {
        if is_trouble(status) {
            return self.status_error(file, status, headers);
        }
        let host = address.authority().map_or("", |authority| authority.as_str());
        HubError::StoreRefused {
            place: self.place.clone(),
            file: file.to_owned(),
            host: printable(host.rsplit('@').next().unwrap_or(host), 200),
            status,
        }
    }

    pub fn request_error(&self, file: &str, error: &ureq::Error) -> HubError {
        use ureq::Error;
        match error {
            Error::StatusCode(status) => self.status_error(file, *status, &HeaderMap::new()),
            Error::Io(_)
            | Error::Timeout(_)
            | Error::HostNotFound
            | Error::ConnectionFailed
            | Error::ConnectProxyFailed(_)
            | Error::InvalidProxyUrl
            | Error::Tls(_)
            | Error::Rustls(_)
            | Error::TlsRequired
            | Error::Protocol(_)
            | Error::BodyStalled => self.network_error(file, error.to_string()),
            _ => self.bad_response(file, error.to_string()),
        }
    }

    pub fn network_error(&self, file: &str, detail: String) -> HubError {
        HubError::Network { place: self.place.clone(), file: file.to_owned(), detail }
    }

    /// The transfer of a file stands still.
    pub fn silence(&self, file: &str) -> HubError {
        let (place, file) = (self.place.clone(), file.to_owned());
        HubError::Silence { place, file, seconds: self.answer_timeout.as_secs_f64() }
    }

    pub fn locked(&self, file: &str, blob: &Path) -> HubError {
        HubError::Locked { place: self.place.clone(), file: file.to_owned(), lock: store::lock_path(blob) }
    }

    /// For one transfer, of which some bytes are there; hidden if nobody wants to see it.
    pub fn bar(&self, file: &str, begun: u64, size: Option<u64>) -> ProgressBar {
        if !self.progress {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(0).with_message(file.to_owned()).with_position(begun);
        let template = match size {
            Some(size) => {
                bar.set_length(size);
                "{msg} [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec} {eta}"
            }
            None => "{msg} {bytes}, {bytes_per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar
    }

    pub fn cache_error(&self, file: &str, source: io::Error) -> HubError {
        HubError::Cache { place: self.place.clone(), file: file.to_owned(), cache: self.cache.path().clone(), source }
    }
}

/// The access token, if there is one, as it can be sent, and where it is from.
fn find_token(options: &HubOptions, file: &Path) -> Result<Option<(String, String)>, HubError> {
    let given = options.token.clone().map(|token| (token, "HubOptions::token".to_owned()));
    let found = given.or_else(|| Some((env_text(options, "HF_TOKEN")?, "HF_TOKEN".to_owned()))).or_else(|| {
        let text = fs::read_to_string(file).ok()?;
        Some((text.trim().to_owned(), file.display().to_string())).filter(|(token, _)| !token.is_empty())
    });
    match found {
        Some((token, origin)) if !token.bytes().all(|b| b.is_ascii_graphic()) => Err(HubError::InvalidToken { origin }),
        found => Ok(found),
    }
}

/// Returns the endpoint in the form that the client puts before its paths.
fn check_endpoint(endpoint: &str) -> Result<String, HubError> {
    let reason = match endpoint.parse::<Uri>() {
        Err(_) => "it is not an address",
        Ok(uri) if !matches!(uri.scheme_str(), Some("http" | "https")) => "it does not begin with https:// or http://",
        Ok(uri) if uri.host().is_none_or(str::is_empty) => "it has no host",
        Ok(uri) if uri.authority().is_some_and(|part| part.as_str().contains('@')) => "it holds a user name",
        Ok(uri) if uri.query().is_some() => "it has a query",
        Ok(_) => return Ok(endpoint.trim_end_matches('/').to_owned()),
    };
    Err(HubError::InvalidEndpoint { reason })
}

/// Whether `address` is on the loopback interface.
fn is_this_machine(address: &Uri) -> bool {
    let host = address.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
    let is_name = host == "localhost" || host.ends_with(".localhost");
    is_name || host.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
}

/// The value of a header that is there and is text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_told_by_name_and_by_address() {
        for (host, own) in [
            ("127.0.0.1", true),
            ("127.9.8.7:80", true),
            ("[::1]:8080", true),
            ("[::ffff:127.0.0.1]", true),
            ("LocalHost:3128", true),
            ("hub.localhost", true),
            ("127.0.0.1.example.com", false),
            ("127.example.com", false),
            ("notlocalhost", false),
            ("localhost.example.com", false),
            ("0.0.0.0", false),
            ("192.168.0.1", false),
            ("[fe80::1]", false),
        ] {
            let address: Uri = format!("http://{host}/path").parse().expect("an address");
            assert_eq!(is_this_machine(&address), own, "{host}");
        }
    }
}
