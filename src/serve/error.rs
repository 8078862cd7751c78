//! What a client is told when it gets no answer: a stable code, a status, and a sentence.

use serde::Serialize;

use super::schema::Id;
use crate::errors::one_line;
use crate::model::ModelError;
use crate::qa::QaError;
use crate::tokenizer::TokenizerError;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal;)*) => {
        /// The kinds of refusal. Programs may rely on their names and statuses.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As it stands in the reply.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The status of the HTTP response.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

codes! {
    /// The request is not HTTP/1.
    MalformedRequest = "malformed_request", 400;
    /// The body is not JSON.
    InvalidJson = "invalid_json", 400;
    /// The body is JSON, but not of the stated schema.
    InvalidRequest = "invalid_request", 400;
    /// An option has a value that cannot be.
    InvalidOption = "invalid_option", 400;
    /// The question holds no word, or one that the model cannot take.
    EmptyQuestion = "empty_question", 400;
    /// There is nothing to answer from.
    NoContext = "no_context", 400;
    /// The question is longer than the limit, or does not fit into a window.
    QuestionTooLong = "question_too_long", 400;
    /// A web page of another site, or a name that is not this machine's.
    ForeignOrigin = "foreign_origin", 403;
    /// No such path.
    NotFound = "not_found", 404;
    /// The path takes other methods.
    MethodNotAllowed = "method_not_allowed", 405;
    /// The client did not send its request in time.
    SlowClient = "slow_client", 408;
    /// A body without Content-Length.
    LengthRequired = "length_required", 411;
    /// The body is longer than the limit.
    BodyTooLarge = "body_too_large", 413;
    /// The context is longer than the limit.
    ContextTooLong = "context_too_long", 413;
    /// The body is declared as something else than JSON.
    UnsupportedMediaType = "unsupported_media_type", 415;
    /// An expectation other than 100-continue.
    ExpectationFailed = "expectation_failed", 417;
    /// The header is longer than the limit.
    HeaderTooLarge = "header_too_large", 431;
    /// A fault of edgeqa.
    Internal = "internal_error", 500;
    /// Too many requests wait.
    QueueFull = "queue_full", 503;
    /// Too many connections are open.
    TooManyConnections = "too_many_connections", 503;
    /// The daemon is being stopped.
    Stopping = "stopping", 503;
    /// The model file was damaged while it was in use.
    ModelDamaged = "model_damaged", 503;
    /// The daemon cannot answer now.
    NotReady = "not_ready", 503;
    /// The answer took longer than the limit.
    TimeLimit = "time_limit", 504;
    /// Another version of HTTP.
    HttpVersion = "http_version", 505;
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Its kind.
    pub code: Code,
    /// What, where, and what to do.
    pub message: String,
    /// Seconds after which another attempt makes sense.
    pub retry_after: Option<u64>,
    /// The methods that the path takes, where another one was used.
    pub allow: Option<&'static str>,
}

/// The body of a refusal.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Id>,
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    code: &'static str,
    message: &'a str,
}

impl ApiError {
    /// A refusal of this kind.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let retry_after = (code.status() == 503).then_some(1);
        Self { code, message: message.into(), retry_after, allow: None }
    }

    /// A path that takes other methods: these, as the header `Allow` names them.
    pub fn not_allowed(path: &str, allow: &'static str) -> Self {
        let message = format!("{path} takes {}", allow.replace(", ", " and "));
        Self { allow: Some(allow), ..Self::new(Code::MethodNotAllowed, message) }
    }

    /// The same, with another time to wait.
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// As JSON, with the `id` of what is refused, if it has one.
    pub fn json(&self, id: Option<&Id>) -> String {
        let body = Body { id, error: Inner { code: self.code.as_str(), message: &self.message } };
        serde_json::to_string(&body).unwrap_or_default()
    }
}

/// `message`, which names fields of requests, without the options of the command line in brackets after them.
fn fields_only(message: &str) -> String {
    let (first, rest) = message.split_once(" (--").unwrap_or((message, ""));
    let rest = rest.split(" (--").filter_map(|part| part.split_once(')'));
    rest.fold(first.to_owned(), |message, (_, after)| message + after)
}

impl From<QaError> for ApiError {
    fn from(error: QaError) -> Self {
        let code = match &error {
            // A vocabulary without a token for what it does not know cannot take every text.
            QaError::Tokenizer(TokenizerError::Empty { what } | TokenizerError::Text { what, .. }) => match *what {
                "question" => Code::EmptyQuestion,
                _ => Code::NoContext,
            },
            QaError::Tokenizer(TokenizerError::QuestionTooLong { .. }) => Code::QuestionTooLong,
            QaError::Option { .. } | QaError::Tokenizer(TokenizerError::Stride { .. }) => Code::InvalidOption,
            QaError::Model(ModelError::Stopped) => Code::TimeLimit,
            _ => Code::Internal,
        };
        let message = one_line(&error);
        match code {
            Code::QuestionTooLong | Code::InvalidOption => Self::new(code, fields_only(&message)),
            _ => Self::new(code, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::super::schema::Ask;
    use super::*;

    #[test]
    fn options_are_called_as_the_fields_of_requests() {
        let long = TokenizerError::QuestionTooLong { question: 90, special: 3, max_seq_len: 64 };
        let stride = TokenizerError::Stride { question: 9, room: 52, stride: 60, max_seq_len: 64 };
        for (error, code, advice) in [
            (long, Code::QuestionTooLong, "shorten the question, or raise max_seq_len as far as the model allows"),
            (stride, Code::InvalidOption, "lower doc_stride, raise max_seq_len or shorten the question"),
        ] {
            let error = ApiError::from(QaError::from(error));
            assert!(error.code == code && error.message.ends_with(&format!("; {advice}")), "{error}");
        }
        let problem = "there are 1 to 20 candidates".to_owned();
        let error = ApiError::from(QaError::Option { option: "top_k", value: "0".into(), problem });
        assert_eq!(
            (error.code, &*error.message),
            (Code::InvalidOption, "top_k is 0, but there are 1 to 20 candidates")
        );
    }

    #[test]
    fn texts_that_a_vocabulary_cannot_take_are_no_faults_of_the_daemon() {
        for (what, code) in [("question", Code::EmptyQuestion), ("context", Code::NoContext)] {
            let error = TokenizerError::Text { what, problem: "there is no token".into() };
            assert_eq!(ApiError::from(QaError::from(error)).code, code);
            let error = TokenizerError::Tokenize { what, problem: "the vocabulary is damaged".into() };
            assert_eq!(ApiError::from(QaError::from(error)).code, Code::Internal);
        }
    }

    /// Clients are written by README.
    #[test]
    fn readme_has_every_code_beside_its_status() {
        let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
        let rows: Vec<(&str, &str)> = readme
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
            .filter(|(statuses, _)| statuses.starts_with(['4', '5']))
            .collect();
        for &code in Code::ALL {
            let name = format!("`{}`", code.as_str());
            let mut row = rows.iter().filter(|(_, codes)| codes.contains(&name));
            let statuses = row.next().map_or("", |(statuses, _)| statuses);
            assert!(statuses.contains(&code.status().to_string()), "{name} is not beside {}", code.status());
            assert_eq!(row.next(), None, "{name} twice");
        }
    }

    #[test]
    fn codes_are_distinct_and_refusals_are_json() {
        let mut names: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| (400..600).contains(&code.status())));
        let error = ApiError::new(Code::QueueFull, "say \"later\"");
        assert_eq!(error.json(None), r#"{"error":{"code":"queue_full","message":"say \"later\""}}"#);
        let id = Ask::parse_line(br#"{"question":"Who?","id":7.0}"#, &Limits::default()).unwrap().id;
        assert!(error.json(id.as_ref()).starts_with(r#"{"id":7.0,"error":{"#));
        assert_eq!(error.retry_after, Some(1));
        assert_eq!(ApiError::new(Code::NotFound, "").retry_after, None);
    }
}
