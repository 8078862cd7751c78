//! Requests and responses of HTTP/1 as bytes. Nothing here reads or writes a socket.

use std::fmt::Write;

use super::Limits;
use super::error::{ApiError, Code};

/// Most headers of a request.
const HEADERS: usize = 64;

/// What the bytes of a connection hold.
#[derive(Debug, PartialEq)]
pub enum Parsed<'a> {
    /// The beginning of a request.
    Partial {
        /// The head is complete, and the client waits for `100 Continue` before it sends the body.
        expects_continue: bool,
    },
    /// A request, and how many bytes it has.
    Complete(Request<'a>, usize),
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<'a> {
    /// As the client spells it.
    pub method: &'a str,
    /// Without query, and without the host that a target of the form `http://host/path` names.
    pub path: &'a str,
    /// Whether another request may follow on the connection.
    pub keep_alive: bool,
    /// The host that the client believes to talk to: that of the target, else that of the header.
    pub host: Option<&'a str>,
    /// The site whose page made a browser send this.
    pub origin: Option<&'a str>,
    /// What the body is said to be.
    pub content_type: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

/// Reads the first request of `bytes`, whose body may have `max_body` bytes. Takes Content-Length only.
///
/// # Errors
/// [`Code::MalformedRequest`], [`Code::HeaderTooLarge`], [`Code::LengthRequired`], [`Code::BodyTooLarge`],
/// [`Code::ExpectationFailed`] or [`Code::HttpVersion`]. What follows in `bytes` cannot be trusted then.
pub fn parse_request(bytes: &[u8], max_body: usize) -> Result<Parsed<'_>, ApiError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let window = &bytes[..bytes.len().min(Limits::HEAD)];
    let head_len = match head.parse(window) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() < Limits::HEAD => {
            return Ok(Parsed::Partial { expects_continue: false });
        }
        Ok(httparse::Status::Partial) => return Err(too_large(format!("more than {} bytes", Limits::HEAD))),
        Err(httparse::Error::TooManyHeaders) => return Err(too_large(format!("more than {HEADERS} headers"))),
        Err(httparse::Error::Version) => {
            return Err(ApiError::new(Code::HttpVersion, "only HTTP/1.1 and HTTP/1.0 are spoken here"));
        }
        Err(error) => return Err(malformed(&error.to_string())),
    };
    let http_1_1 = head.version == Some(1);
    let fields = Fields::read(head.headers, http_1_1)?;
    let body_len = fields.length.unwrap_or(0);
    if body_len > max_body as u64 {
        let message = format!("the body has {body_len} bytes, but {max_body} is the most; send less");
        return Err(ApiError::new(Code::BodyTooLarge, message));
    }
    let end = head_len + body_len as usize;
    let Some(body) = bytes.get(head_len..end) else {
        return Ok(Parsed::Partial { expects_continue: fields.expects_continue && http_1_1 });
    };
    let (host, path) = split_target(head.path.unwrap_or_default());
    let request = Request {
        method: head.method.unwrap_or_default(),
        path,
        keep_alive: fields.keep_alive,
        host: host.or(fields.host),
        origin: fields.origin,
        content_type: fields.content_type,
        body,
    };
    Ok(Parsed::Complete(request, end))
}

/// How many of the first bytes are empty lines, which may stand before a request: some clients send one after a body.
pub fn empty_lines(bytes: &[u8]) -> usize {
    let mut len = 0;
    loop {
        match &bytes[len..] {
            [b'\r', b'\n', ..] => len += 2,
            [b'\n', ..] => len += 1,
            _ => return len,
        }
    }
}

/// The host, if it is named, and the path of a target, without query.
fn split_target(target: &str) -> (Option<&str>, &str) {
    const SCHEME: &str = "http://";
    let (host, path) = match target.split_at_checked(SCHEME.len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => {
            let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            (Some(host), if path.starts_with('/') { path } else { "/" })
        }
        _ => (None, target),
    };
    (host, path.split(['?', '#']).next().unwrap_or_default())
}

/// The headers that matter.
struct Fields<'a> {
    length: Option<u64>,
    keep_alive: bool,
    expects_continue: bool,
    host: Option<&'a str>,
    origin: Option<&'a str>,
    content_type: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn read(headers: &[httparse::Header<'a>], http_1_1: bool) -> Result<Self, ApiError> {
        let mut fields = Self {
            length: None,
            keep_alive: http_1_1,
            expects_continue: false,
            host: None,
            origin: None,
            content_type: None,
        };
        for header in headers {
            let text = || std::str::from_utf8(header.value).map(trim_blanks);
            let text = || text().map_err(|_| malformed(&format!("header {} is not UTF-8", header.name)));
            match header.name.to_ascii_lowercase().as_str() {
                "content-length" => {
                    let text = text()?;
                    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                    // Digits that are too many for a number are too many for a body.
                    let length = digits.then(|| text.parse().unwrap_or(u64::MAX));
                    if length.is_none() || fields.length.is_some_and(|earlier| Some(earlier) != length) {
                        return Err(malformed("Content-Length is not one number"));
                    }
                    fields.length = length;
                }
                "transfer-encoding" => {
                    let message = "bodies in chunks are not taken; send Content-Length";
                    return Err(ApiError::new(Code::LengthRequired, message));
                }
                "connection" => {
                    for option in text()?.split(',').map(trim_blanks) {
                        if option.eq_ignore_ascii_case("close") {
                            fields.keep_alive = false;
                        } else if option.eq_ignore_ascii_case("keep-alive") && !http_1_1 {
                            fields.keep_alive = true;
                        }
                    }
                }
                "expect" if text()?.eq_ignore_ascii_case("100-continue") => fields.expects_continue = true,
                "expect" => {
                    return Err(ApiError::new(
                        Code::ExpectationFailed,
                        "the only expectation met here is 100-continue",
                    ));
                }
                "host" if fields.host.is_some() => return Err(malformed("there is more than one Host")),
                "host" => fields.host = Some(text()?),
                "origin" if fields.origin.is_some() => return Err(malformed("there is more than one Origin")),
                "origin" => fields.origin = Some(text()?),
                "content-type" => fields.content_type = Some(text()?),
                _ => {}
            }
        }
        if http_1_1 && fields.host.is_none() {
            return Err(malformed("there is no Host"));
        }
        Ok(fields)
    }
}

/// Without the white space that HTTP allows around a value: spaces and tabs.
pub fn trim_blanks(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn malformed(problem: &str) -> ApiError {
    ApiError::new(Code::MalformedRequest, format!("this is not a request of HTTP/1.1: {problem}"))
}

fn too_large(what: String) -> ApiError {
    ApiError::new(Code::HeaderTooLarge, format!("the header has {what}; send fewer or shorter ones"))
}

/// The interim response after which a client sends its body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A response that is about to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Type of the body.
    pub content_type: &'static str,
    /// More headers, each `Name: value\r\n`.
    pub headers: String,
    /// The body.
    pub body: Vec<u8>,
}

/// The type of JSON bodies.
pub const JSON: &str = "application/json; charset=utf-8";

impl Response {
    /// A success with a JSON body.
    pub fn json(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, content_type: JSON, headers: String::new(), body: body.into() }
    }

    /// A success with a text.
    pub fn text(body: &str) -> Self {
        Self { content_type: "text/plain; charset=utf-8", ..Self::json(body) }
    }

    /// The bytes to send; without the body for a HEAD request.
    pub fn bytes(&self, keep_alive: bool, with_body: bool) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n",
            self.status,
            reason(self.status),
            self.content_type,
            self.body.len()
        );
        head.push_str("Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
        head.push_str(&self.headers);
        let _ = write!(head, "Connection: {}\r\n\r\n", if keep_alive { "keep-alive" } else { "close" });
        let mut bytes = head.into_bytes();
        if with_body {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

impl From<&ApiError> for Response {
    fn from(error: &ApiError) -> Self {
        let mut headers = error.retry_after.map_or_else(String::new, |seconds| format!("Retry-After: {seconds}\r\n"));
        if let Some(methods) = error.allow {
            let _ = write!(headers, "Allow: {methods}\r\n");
        }
        Self { status: error.code.status(), content_type: JSON, headers, body: error.json(None).into() }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Parsed<'_>, ApiError> {
        parse_request(text.as_bytes(), 10)
    }

    #[test]
    fn a_request_is_read_at_every_cut() {
        let text = "POST /v1/ask?x=1 HTTP/1.1\r\nHost: a\r\ncontent-length: 3\r\nOrigin: http://a\r\n\r\n{ }GET / ";
        let end = text.len() - "GET / ".len();
        for cut in 0..end {
            assert_eq!(parse(&text[..cut]), Ok(Parsed::Partial { expects_continue: false }), "{cut}");
        }
        for cut in end..text.len() {
            let Ok(Parsed::Complete(request, used)) = parse(&text[..cut]) else { panic!("{cut}") };
            assert_eq!((request.method, request.path, request.body, used), ("POST", "/v1/ask", &b"{ }"[..], end));
            assert_eq!((request.host, request.origin, request.keep_alive), (Some("a"), Some("http://a"), true));
        }
    }

    #[test]
    fn a_target_may_name_the_host_which_counts_then() {
        for (target, host, path) in [
            ("/healthz?x=http://b/", "a", "/healthz"),
            ("http://localhost:80/healthz?x#y", "localhost:80", "/healthz"),
            ("HTTP://b", "b", "/"),
            ("http://b?x=/y", "b", "/"),
            ("http:/b", "a", "http:/b"),
            ("*", "a", "*"),
        ] {
            let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            let Ok(Parsed::Complete(request, _)) = parse(&text) else { panic!("{text}") };
            assert_eq!((request.host, request.path), (Some(host), path), "{target}");
        }
    }

    #[test]
    fn empty_lines_are_counted_when_they_are_complete() {
        for (text, len) in
            [("", 0), ("\r", 0), ("\r\n", 2), ("\n\r\n\r", 3), ("\r\n\r\nGET /", 4), ("\rGET", 0), ("GET\r\n", 0)]
        {
            assert_eq!(empty_lines(text.as_bytes()), len, "{text:?}");
        }
    }

    #[test]
    fn connections_stay_open_as_the_version_and_the_client_say() {
        for (version, header, keep) in [
            ("1.1", "", true),
            ("1.1", "Connection: foo, \tClose \r\n", false),
            ("1.1", "Connection: foo, \u{a0}close\r\n", true),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
        ] {
            let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{header}\r\n");
            let Ok(Parsed::Complete(request, _)) = parse(&text) else { panic!("{text}") };
            assert_eq!(request.keep_alive, keep, "{text}");
        }
    }

    #[test]
    fn a_client_may_wait_before_it_sends_the_body() {
        let text = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\n";
        assert_eq!(parse(text), Ok(Parsed::Partial { expects_continue: true }));
        assert!(matches!(parse(&format!("{text}abc")), Ok(Parsed::Complete(..))));
    }

    #[test]
    fn every_fault_has_its_code() {
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(Limits::HEAD));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(HEADERS + 1));
        for (text, code) in [
            ("\u{1}\u{2}\u{3}", Code::MalformedRequest),
            ("GET /\r\n\r\n", Code::MalformedRequest),
            ("GET / HTTP/1.1\r\n\r\n", Code::MalformedRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Code::MalformedRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", Code::MalformedRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", Code::MalformedRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", Code::MalformedRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: \u{a0}1\r\n\r\nx", Code::MalformedRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\u{2003}\r\n\r\n", Code::ExpectationFailed),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", Code::BodyTooLarge),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", Code::BodyTooLarge),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Code::LengthRequired),
            ("GET / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n", Code::ExpectationFailed),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Code::HttpVersion),
            (&long, Code::HeaderTooLarge),
            (&many, Code::HeaderTooLarge),
        ] {
            assert_eq!(parse(text).map_err(|error| error.code), Err(code), "{text}");
        }
        let bytes = b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n";
        assert_eq!(parse_request(bytes, 10).map_err(|e| e.code), Err(Code::MalformedRequest));
    }

    #[test]
    fn responses_state_their_length_also_without_body() {
        let response = Response::from(&ApiError::new(Code::QueueFull, "later").retry_after(7));
        let text = String::from_utf8(response.bytes(false, true)).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n") && head.contains("\r\nRetry-After: 7\r\n"));
        assert!(
            head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())) && head.ends_with("Connection: close")
        );
        let without = String::from_utf8(response.bytes(true, false)).unwrap();
        assert!(
            without.contains(&format!("Content-Length: {}\r\n", body.len())) && without.ends_with("keep-alive\r\n\r\n")
        );
    }
}
