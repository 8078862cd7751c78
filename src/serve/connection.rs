//! One client: what it has sent, what it is to be sent, and until when it has time.

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::Limits;
use super::error::{ApiError, Code};
use super::http::{self, Parsed, Response};
use super::listen::Stream;
use super::pool::{self, Ticket};

/// How long, and for how many bytes, a client that was refused may go on sending what is thrown away. Closing at once could
/// destroy the reply on its way.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 4 << 20;
/// How long a client has for the rest of its request when there will be no other.
const LAST_REQUEST: Duration = Duration::from_secs(1);
/// Bytes read at a time, and what is kept of a buffer that holds the beginning of the next request.
const CHUNK: usize = 16 << 10;

/// A connection and where it is in its work.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    /// See [`Stream::other_machine`].
    machine: Option<IpAddr>,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    state: State,
    /// When its present state ends, whatever happens.
    deadline: Instant,
    /// The client was told to send its body.
    continued: bool,
    /// The next reply is the last.
    ending: bool,
}

#[derive(Debug)]
enum State {
    /// Between requests.
    Idle,
    /// In the middle of a request.
    Reading,
    /// For the model.
    Waiting(Ticket, Manner),
    /// The reply; the connection stays open if so.
    Sending(bool),
    /// For the client to take the last reply and go; so many bytes are thrown away.
    Lingering(usize),
}

/// How the reply is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Whether another request may follow.
    pub keep_alive: bool,
    /// Whether the client wants to see the body.
    pub with_body: bool,
}

impl Manner {
    /// As to one whose further requests cannot be understood.
    pub const LAST: Self = Self { keep_alive: false, with_body: true };
}

/// What has become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Open,
    /// It is over.
    Over,
}

impl Connection {
    /// A new one.
    pub fn new(stream: Stream, limits: &Limits) -> Self {
        let deadline = Instant::now() + limits.idle;
        Self {
            machine: stream.other_machine(),
            stream,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            state: State::Idle,
            deadline,
            continued: false,
            ending: false,
        }
    }

    /// Ends it after the next reply, and soon if its request stays incomplete.
    pub fn end(&mut self) {
        self.ending = true;
        if matches!(self.state, State::Reading) {
            self.deadline = self.deadline.min(Instant::now() + LAST_REQUEST);
        }
    }

    /// The socket.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// When something has to be done if nothing happens.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What to look for on the socket.
    pub fn interest(&self) -> PollFlags {
        match self.state {
            State::Idle | State::Reading | State::Lingering(_) => PollFlags::IN,
            // That the client goes. What it sends meanwhile stays where it is.
            State::Waiting(..) => PollFlags::RDHUP,
            State::Sending(_) => PollFlags::OUT,
        }
    }

    /// Whether it can be closed without harm.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle | State::Lingering(_))
    }

    /// The other machine that it comes from.
    pub fn machine(&self) -> Option<IpAddr> {
        self.machine
    }

    /// Whether a request comes in or a reply goes out.
    pub fn is_transferring(&self) -> bool {
        matches!(self.state, State::Reading | State::Sending(_))
    }

    /// Whether a part of a reply may have gone out, after which nothing else can be said.
    pub fn is_sending(&self) -> bool {
        matches!(self.state, State::Sending(_))
    }

    /// The question that it waits for.
    pub fn waits_for(&self) -> Option<&Ticket> {
        match &self.state {
            State::Waiting(ticket, _) => Some(ticket),
            _ => None,
        }
    }

    /// Reads what has come.
    pub fn receive(&mut self) -> Fate {
        let mut chunk = [0; CHUNK];
        let len = match self.stream.read(&mut chunk) {
            Ok(0) => return Fate::Over,
            Ok(len) => len,
            Err(error) => return fate(&error),
        };
        if let State::Lingering(left) = &mut self.state {
            *left = left.saturating_sub(len);
            return if *left == 0 { Fate::Over } else { Fate::Open };
        }
        self.input.extend_from_slice(&chunk[..len]);
        Fate::Open
    }

    /// Hands the next complete request, or what is wrong with it, to `handle` and does what that says; does nothing if there is
    /// none yet or another one has to be finished first. Returns whether there was one. Empty lines between requests are nothing.
    pub fn next_request(
        &mut self,
        limits: &Limits,
        handle: impl FnOnce(Result<&http::Request<'_>, ApiError>, &Stream) -> Next,
    ) -> bool {
        if matches!(self.state, State::Idle) {
            let empty = http::empty_lines(&self.input);
            self.take_input(empty);
        }
        if !matches!(self.state, State::Idle | State::Reading) || matches!(self.input.as_slice(), [] | [b'\r']) {
            return false;
        }
        match http::parse_request(&self.input, limits.body) {
            Ok(Parsed::Partial { expects_continue }) => {
                if matches!(self.state, State::Idle) {
                    self.state = State::Reading;
                    self.deadline = Instant::now() + if self.ending { LAST_REQUEST } else { limits.client };
                }
                if expects_continue && !self.continued {
                    self.continued = true;
                    // A few bytes on a socket with nothing else on its way. If they are lost, the client sends anyway.
                    let _ = self.stream.write(http::CONTINUE);
                }
                false
            }
            Ok(Parsed::Complete(request, used)) => {
                let manner = Manner { keep_alive: request.keep_alive, with_body: request.method != "HEAD" };
                let next = handle(Ok(&request), &self.stream);
                self.take_input(used);
                self.continued = false;
                self.proceed(next, manner, limits);
                true
            }
            Err(error) => {
                let next = handle(Err(error), &self.stream);
                let manner = self.last();
                self.input = Vec::new();
                self.proceed(next, manner, limits);
                true
            }
        }
    }

    /// The manner of a refusal of what has come so far.
    fn last(&self) -> Manner {
        Manner { with_body: !self.input.starts_with(b"HEAD "), ..Manner::LAST }
    }

    /// Forgets the first `used` bytes of what has come, and keeps no memory for what is not there.
    fn take_input(&mut self, used: usize) {
        self.input.drain(..used);
        if self.input.is_empty() {
            self.input = Vec::new();
        } else {
            self.input.shrink_to(CHUNK);
        }
    }

    fn proceed(&mut self, next: Next, manner: Manner, limits: &Limits) {
        match next {
            Next::Respond(response) => self.respond(&response, manner, limits),
            Next::Wait(ticket) => {
                self.deadline = ticket.deadline;
                self.state = State::Waiting(ticket, manner);
            }
        }
    }

    /// Sends a response, as far as the client takes it at once.
    pub fn respond(&mut self, response: &Response, manner: Manner, limits: &Limits) {
        let keep_alive = manner.keep_alive && !self.ending;
        self.output = response.bytes(keep_alive, manner.with_body);
        self.sent = 0;
        self.state = State::Sending(keep_alive);
        self.deadline = Instant::now() + limits.client;
    }

    /// Sends the reply to the question that it waits for.
    pub fn answer(&mut self, response: &Response, limits: &Limits) {
        if let State::Waiting(_, manner) = self.state {
            self.respond(response, manner, limits);
        }
    }

    /// Sends what is left of the reply.
    pub fn send(&mut self, limits: &Limits) -> Fate {
        let State::Sending(keep_alive) = self.state else { return Fate::Open };
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(0) => return Fate::Over,
                Ok(len) => self.sent += len,
                Err(error) => return fate(&error),
            }
        }
        self.output = Vec::new();
        if keep_alive {
            self.state = State::Idle;
            self.deadline = Instant::now() + limits.idle;
        } else {
            self.stream.finish();
            self.input = Vec::new();
            self.state = State::Lingering(LINGER_BYTES);
            self.deadline = Instant::now() + LINGER;
        }
        Fate::Open
    }

    /// Its time is over. Returns why the client gets no answer, if it is to be told.
    pub fn expire(&mut self, limits: &Limits, too_late: impl FnOnce() -> ApiError) -> Option<ApiError> {
        let (error, manner) = match self.state {
            State::Reading if self.ending => (pool::stopping(), self.last()),
            State::Reading => {
                let seconds = limits.client.as_secs_f64();
                let message = format!("the request was not complete within {seconds} s; send it faster");
                (ApiError::new(Code::SlowClient, message), self.last())
            }
            State::Waiting(_, manner) => (too_late(), manner),
            _ => return None,
        };
        self.respond(&(&error).into(), manner, limits);
        Some(error)
    }
}

/// What is to be done about a request.
#[derive(Debug)]
pub enum Next {
    /// Send this.
    Respond(Response),
    /// Wait for the answer to this.
    Wait(Ticket),
}

fn fate(error: &io::Error) -> Fate {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Fate::Open,
        _ => Fate::Over,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn an_idle_connection_keeps_no_buffers() {
        let (mut client, stream) = UnixStream::pair().unwrap();
        let limits = Limits::default();
        let mut connection = Connection::new(Stream::Unix(stream), &limits);
        // An empty line may follow a request.
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n").unwrap();
        assert_eq!(connection.receive(), Fate::Open);
        assert!(connection.next_request(&limits, |_, _| Next::Respond(Response::text("ok"))));
        assert_eq!(connection.send(&limits), Fate::Open);
        assert!(!connection.next_request(&limits, |_, _| unreachable!()) && connection.is_idle());
        assert_eq!((connection.input.capacity(), connection.output.capacity()), (0, 0));
    }
}
