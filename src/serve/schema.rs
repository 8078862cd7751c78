//! The request for an answer, as HTTP bodies and lines of `--stdio` carry it.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::Limits;
use super::error::{ApiError, Code};
use crate::documents::encoding::without_mark;
use crate::errors::without_types;
use crate::object::Object;
use crate::qa::AskOptions;

/// Longest `id` of a line, in bytes: it waits with the question.
const MAX_ID: usize = 256;

/// What a client asks.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The question.
    pub question: String,
    /// The text to answer from, instead of the documents.
    pub context: Option<String>,
    /// How to answer.
    pub options: AskOptions,
    /// What the reply repeats; lines of `--stdio` may have one.
    pub id: Option<Id>,
}

/// A JSON value as its client has written it.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Id(Box<RawValue>);

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    question: String,
    context: Option<String>,
    top_k: Option<usize>,
    null_threshold: Option<f32>,
    always_answer: Option<bool>,
    max_answer_len: Option<usize>,
    max_seq_len: Option<usize>,
    doc_stride: Option<usize>,
    /// As it stands there, `null` too: a value could take many times its length, and has no room for all numbers.
    #[serde(default, deserialize_with = "present")]
    id: Option<Box<RawValue>>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let message = error.to_string();
        // JSON has numbers of any size, whatever serde_json calls them.
        if error.classify() == Category::Data || message.starts_with("number out of range") {
            let message = format!("the request does not fit the schema: {}", without_types(&message));
            ApiError::new(Code::InvalidRequest, message)
        } else {
            ApiError::new(Code::InvalidJson, format!("the request is not JSON: {message}"))
        }
    })
}

impl Body {
    fn read(bytes: &[u8]) -> Result<Self, ApiError> {
        read(without_mark(bytes)).map(|Object(body)| body)
    }
}

/// The `id` of an object that is no request, so that its client knows which was refused; none that is too long.
fn id_alone(bytes: &[u8]) -> Option<Id> {
    #[derive(Deserialize)]
    struct Alone {
        id: Option<Box<RawValue>>,
    }
    let Object(Alone { id }) = serde_json::from_slice(without_mark(bytes)).ok()?;
    id.filter(|id| id.get().len() <= MAX_ID).map(Id)
}

impl Ask {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// [`Code::InvalidJson`], [`Code::InvalidRequest`], [`Code::InvalidOption`], [`Code::EmptyQuestion`],
    /// [`Code::QuestionTooLong`], [`Code::ContextTooLong`] or [`Code::NoContext`] for an empty context.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, ApiError> {
        let body = Body::read(bytes).map_err(|error| match error.message.rsplit_once(", `id`") {
            // That on an unknown key ends with the list of keys, of which lines alone may have the last.
            Some((before, place)) if error.message.contains("expected one of") => {
                ApiError::new(error.code, format!("{before}{place}"))
            }
            _ => error,
        })?;
        if body.id.is_some() {
            let message = "the request has an id, which only lines of --stdio may have; leave it out";
            return Err(ApiError::new(Code::InvalidRequest, message));
        }
        Self::of(body, None, limits)
    }

    /// Reads a line of `--stdio`, which may have an `id`.
    ///
    /// # Errors
    /// As [`Ask::parse`], with the `id` if that could be read.
    pub fn parse_line(bytes: &[u8], limits: &Limits) -> Result<Self, (Option<Id>, ApiError)> {
        let mut body = Body::read(bytes).map_err(|error| (id_alone(bytes), error))?;
        let id = body.id.take().filter(|id| id.get() != "null").map(Id);
        if let Some(Id(id)) = &id
            && id.get().len() > MAX_ID
        {
            let message = format!("the id has {} bytes, but {MAX_ID} is the most; shorten it", id.get().len());
            return Err((None, ApiError::new(Code::InvalidRequest, message)));
        }
        Self::of(body, id.clone(), limits).map_err(|error| (id, error))
    }

    fn of(body: Body, id: Option<Id>, limits: &Limits) -> Result<Self, ApiError> {
        let defaults = AskOptions::default();
        let refuse = |code, message: String| Err(ApiError::new(code, message));
        if body.question.trim().is_empty() {
            return refuse(Code::EmptyQuestion, "the question is empty; ask something".into());
        }
        let (len, max) = (body.question.len(), limits.question);
        if len > max {
            return refuse(
                Code::QuestionTooLong,
                format!("the question has {len} bytes, but {max} is the most; shorten it"),
            );
        }
        let (len, max) = (body.context.as_ref().map_or(0, String::len), limits.context);
        if len > max {
            return refuse(
                Code::ContextTooLong,
                format!("the context has {len} bytes, but {max} is the most; shorten it"),
            );
        }
        if body.context.as_ref().is_some_and(|context| context.trim().is_empty()) {
            return refuse(
                Code::NoContext,
                "the context is empty; give a text, or leave it out to ask the documents".into(),
            );
        }
        if body.null_threshold.is_some() && body.always_answer == Some(true) {
            return refuse(Code::InvalidOption, "give null_threshold or always_answer, not both".into());
        }
        let options = AskOptions {
            max_seq_len: body.max_seq_len,
            doc_stride: body.doc_stride,
            max_answer_len: body.max_answer_len.unwrap_or(defaults.max_answer_len),
            top_k: body.top_k.unwrap_or(defaults.top_k),
            null_threshold: body.null_threshold,
            always_answer: body.always_answer.unwrap_or(defaults.always_answer),
            // While others wait.
            overlap_by_half: true,
        };
        Ok(Self { question: body.question, context: body.context, options, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { question: 20, context: 30, ..Limits::default() }
    }

    fn parse(text: &str) -> Result<Ask, ApiError> {
        Ask::parse(text.as_bytes(), &limits())
    }

    #[test]
    fn everything_can_be_chosen_and_defaults_are_those_of_ask() {
        let defaults = AskOptions { overlap_by_half: true, ..AskOptions::default() };
        let ask = parse(r#"{"question": "Who?"}"#).unwrap();
        assert_eq!((ask.question.as_str(), &ask.context, &ask.options), ("Who?", &None, &defaults));
        assert_eq!(parse("\u{feff}{\"question\": \"Who?\"}").unwrap().question, "Who?");
        let ask = parse(
            r#"{"question":"Who?","context":"Ada.","top_k":3,"null_threshold":-1.5,"max_answer_len":4,"max_seq_len":90,
                "doc_stride":8,"always_answer":false}"#,
        );
        let options = AskOptions {
            max_seq_len: Some(90),
            doc_stride: Some(8),
            overlap_by_half: true,
            max_answer_len: 4,
            top_k: 3,
            null_threshold: Some(-1.5),
            always_answer: false,
        };
        assert_eq!(ask, Ok(Ask { question: "Who?".into(), context: Some("Ada.".into()), options, id: None }));
    }

    #[test]
    fn lines_may_have_a_short_id() {
        let with = |id: &str| format!(r#"{{"id":{id},"question":"Who?"}}"#);
        let read = |line: &str| Ask::parse_line(line.as_bytes(), &limits());
        let line = |id: &str| read(&with(id)).map_err(|(_, error)| error);
        let id_of = |id: &str| Some(Id(RawValue::from_string(id.into()).unwrap()));
        let large = "123456789012345678901234567890";
        for id in [r#""a \u00e9""#, "7", large, "1.50", "-1e400", "true", r#"[7, {"n":[], "n":"\ud800"}]"#] {
            assert_eq!(line(id).map(|ask| ask.id), Ok(id_of(id)), "{id}");
            let error = parse(&with(id)).unwrap_err();
            assert!(error.code == Code::InvalidRequest && error.message.contains("leave it out"), "{id}: {error}");
        }
        assert_eq!(line("null").map(|ask| ask.id), Ok(None));
        assert_eq!(parse(&with("null")).map_err(|error| error.code), Err(Code::InvalidRequest));
        assert_eq!(read(r#"{"question":"Who?"}"#).ok(), parse(r#"{"question":"Who?"}"#).ok());
        let (id, error) = read(r#"{"question":" ","id":7}"#).unwrap_err();
        assert_eq!((id, error.code), (id_of("7"), Code::EmptyQuestion));
        // Nor is it lost where the rest is no request.
        for line in [r#"{"id":7,"foo":1,"question":"a"}"#, r#"{"question":5,"id":7}"#, r#" {"id":7}"#] {
            assert_eq!(read(line).unwrap_err().0, id_of("7"), "{line}");
        }
        for line in [r#"{"id":null}"#, "{}", "[7]", "7", r#"{"id":7"#, r#"{"id":7,"id":8}"#] {
            assert_eq!(read(line).unwrap_err().0, None, "{line}");
        }
        let zeros = |count| format!("[{}0]", "0,".repeat(count));
        assert_eq!(read(&format!(r#"{{"id":{}}}"#, zeros(127))).unwrap_err().0, None);
        assert!(line(&zeros(126)).is_ok());
        let error = line(&zeros(127)).unwrap_err();
        assert!(error.code == Code::InvalidRequest && error.message.contains("257 bytes"), "{error}");
    }

    #[test]
    fn only_lines_are_told_of_the_id() {
        let text = r#"{"question":"a","qestion":"b"}"#;
        let of_line = Ask::parse_line(text.as_bytes(), &limits()).unwrap_err().1.message;
        assert!(of_line.ends_with("`doc_stride`, `id` at line 1 column 25"), "{of_line}");
        let of_request = parse(text).unwrap_err().message;
        assert!(of_request.ends_with("`doc_stride` at line 1 column 25"), "{of_request}");
    }

    #[test]
    fn every_fault_has_its_code() {
        let long = format!(r#"{{"question":"Who?","context":"{}"}}"#, "x".repeat(31));
        for (text, code, part) in [
            ("", Code::InvalidJson, "line 1"),
            ("{\"question\":\"Who?\"", Code::InvalidJson, "EOF"),
            ("{\"question\":\"Who?\"} x", Code::InvalidJson, "trailing"),
            ("{\"question\":\"\u{1}\"}", Code::InvalidJson, "control character"),
            ("[\"Who?\"]", Code::InvalidRequest, "object"),
            ("{}", Code::InvalidRequest, "missing field `question`"),
            (r#"{"question":1}"#, Code::InvalidRequest, "line 1 column"),
            (r#"{"question":"a","qestion":"b"}"#, Code::InvalidRequest, "unknown field `qestion`"),
            (r#"{"question":"a","question":"b"}"#, Code::InvalidRequest, "duplicate field"),
            (r#"{"question":"a","top_k":-1}"#, Code::InvalidRequest, "-1"),
            (r#"{"question":"a","top_k":-1}"#, Code::InvalidRequest, "expected a whole number"),
            (r#"{"question":"a","null_threshold":"x"}"#, Code::InvalidRequest, "expected a number"),
            (r#"{"question":" \n"}"#, Code::EmptyQuestion, "empty"),
            (r#"{"question":"aaaaaaaaaaaaaaaaaaaaa"}"#, Code::QuestionTooLong, "21 bytes"),
            (&long, Code::ContextTooLong, "31 bytes"),
            (r#"{"question":"a","context":" "}"#, Code::NoContext, "empty"),
            (r#"{"question":"a","null_threshold":1e39}"#, Code::InvalidRequest, "number out of range"),
            (r#"{"question":"a","null_threshold":1,"always_answer":true}"#, Code::InvalidOption, "not both"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.code, code, "{text}");
            assert!(error.message.contains(part), "{text}: {}", error.message);
        }
    }
}
