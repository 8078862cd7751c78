//! Which request gets which response.

use serde::Serialize;

use super::error::{ApiError, Code};
use super::hosts::Hosts;
use super::http::{Request, Response, trim_blanks};
use super::metrics::Refusal;
use super::schema::Ask;
use super::{Daemon, Limits};
use crate::documents::{Shelf, Skipped};
use crate::kernels::gemm::chosen;

/// What to do about a request.
#[derive(Debug)]
pub enum Routed {
    /// Send this.
    Respond(Response),
    /// Ask the model.
    Ask(Ask),
}

/// The path of questions.
const ASK: &str = "/v1/ask";
const PATHS: [&str; 6] = ["/", "/healthz", "/readyz", "/metrics", "/v1/info", ASK];

/// Decides about a request; `network` if it came over one, that of this machine with itself included.
///
/// # Errors
/// What the client did wrong.
pub fn route(daemon: &Daemon, request: &Request<'_>, network: bool) -> Result<Routed, ApiError> {
    check_site(request, network.then_some(&daemon.hosts))?;
    let reads = matches!(request.method, "GET" | "HEAD");
    let respond = |response| Ok(Routed::Respond(response));
    match request.path {
        ASK if request.method == "POST" => {
            check_type(request)?;
            Ok(Routed::Ask(Ask::parse(request.body, &daemon.limits)?))
        }
        "/" if reads => respond(daemon.page.response()),
        "/healthz" if reads => respond(Response::text("ok\n")),
        "/readyz" if reads => {
            daemon.readiness()?;
            respond(Response::text("ready\n"))
        }
        "/metrics" if reads => {
            let text = daemon.metrics.page(&daemon.gauges());
            respond(Response { content_type: "text/plain; version=0.0.4; charset=utf-8", ..Response::text(&text) })
        }
        "/v1/info" if reads => {
            let json = serde_json::to_string(&Info::of(daemon));
            respond(Response::json(json.map_err(|error| ApiError::new(Code::Internal, error.to_string()))?))
        }
        path if PATHS.contains(&path) => {
            Err(ApiError::not_allowed(path, if path == ASK { "POST" } else { "GET, HEAD" }))
        }
        _ => Err(ApiError::new(Code::NotFound, format!("there is no such path; there are {}", PATHS.join(", ")))),
    }
}

/// Refuses what a page of another site made a browser send: by the site that the browser names, or, where a name was made to
/// point to this machine, by that name.
fn check_site(request: &Request<'_>, hosts: Option<&Hosts>) -> Result<(), ApiError> {
    let refuse = |message: &str| Err(ApiError::new(Code::ForeignOrigin, message));
    if let Some(origin) = request.origin {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        if authority.is_none() || request.host.is_none_or(|host| authority != Some(host)) {
            return refuse("pages of other sites may not ask here");
        }
    }
    if let (Some(hosts), Some(host)) = (hosts, request.host)
        && !hosts.allow(host)
    {
        return refuse("the Host is no name of this machine; use an address, or name it with --host of edgeqa serve");
    }
    Ok(())
}

fn check_type(request: &Request<'_>) -> Result<(), ApiError> {
    let kind = request.content_type.map(|kind| trim_blanks(kind.split(';').next().unwrap_or_default()));
    match kind {
        Some(kind) if kind.eq_ignore_ascii_case("application/json") => Ok(()),
        _ => Err(ApiError::new(Code::UnsupportedMediaType, "send JSON, with Content-Type: application/json")),
    }
}

/// What `/v1/info` says.
#[derive(Serialize)]
struct Info {
    version: &'static str,
    target: String,
    kernel: &'static str,
    threads: usize,
    uptime_seconds: f64,
    ready: bool,
    model: ModelInfo,
    /// The model that was refused last, if none was taken since.
    refused_model: Option<Refusal>,
    documents: Option<DocumentsInfo>,
    limits: LimitsInfo,
}

/// How many skipped files are named: the reply is made by the thread that serves all connections.
const NAMED: usize = 100;

#[derive(Serialize)]
struct DocumentsInfo {
    folder: String,
    files: usize,
    passages: usize,
    /// What of the folder is not answered from, and why: the first [`NAMED`].
    skipped: Vec<Skipped>,
    /// How much that is in all.
    skipped_count: usize,
    /// Why nothing, or nothing new, can be answered from the folder.
    problem: Option<String>,
}

impl DocumentsInfo {
    fn of(shelf: &Shelf) -> Self {
        let library = shelf.library();
        let (skipped, skipped_count) = shelf.skipped(NAMED);
        Self {
            folder: shelf.folder().to_string_lossy().into_owned(),
            files: library.file_count(),
            passages: library.passage_count(),
            skipped,
            skipped_count,
            problem: shelf.problem(),
        }
    }
}

#[derive(Serialize)]
struct ModelInfo {
    path: String,
    data_sha256: String,
    license: String,
    tool: String,
    null_threshold: f32,
    max_positions: usize,
    bytes: usize,
}

#[derive(Serialize)]
struct LimitsInfo {
    body_bytes: usize,
    question_bytes: usize,
    context_bytes: usize,
    queue: usize,
    connections: usize,
    request_seconds: f64,
}

impl LimitsInfo {
    fn of(limits: &Limits) -> Self {
        Self {
            body_bytes: limits.body,
            question_bytes: limits.question,
            context_bytes: limits.context,
            queue: limits.queue,
            connections: limits.connections,
            request_seconds: limits.request.as_secs_f64(),
        }
    }
}

impl Info {
    fn of(daemon: &Daemon) -> Self {
        let model = daemon.model.get();
        let artifact = model.artifact();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            target: crate::target(),
            kernel: chosen().name,
            threads: model.reader().model().threads().count(),
            uptime_seconds: daemon.metrics.uptime().as_secs_f64(),
            ready: daemon.readiness().is_ok(),
            model: ModelInfo {
                path: model.path().to_string_lossy().into_owned(),
                data_sha256: artifact.data_sha256().to_owned(),
                license: artifact.metadata().license.clone(),
                tool: artifact.metadata().tool.clone(),
                null_threshold: model.reader().null_threshold(),
                max_positions: model.reader().config().max_positions,
                bytes: artifact.file_len(),
            },
            refused_model: daemon.metrics.last_refusal(),
            documents: daemon.documents.as_ref().map(DocumentsInfo::of),
            limits: LimitsInfo::of(&daemon.limits),
        }
    }
}
