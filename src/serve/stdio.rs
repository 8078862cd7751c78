//! Questions as JSON lines on standard input, replies on standard output, in the same order.

use std::io::{self, BufRead, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::error::{ApiError, Code};
use super::pool::{self, Client, Outcome};
use super::schema::{Ask, Id};
use super::{Daemon, Limits, ServeError, system};

/// How often it is looked, while a line is being answered, whether that is still worth waiting for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Answers every line of `input` until it ends, nobody reads `output` any more, or the daemon is to stop.
///
/// # Errors
/// [`ServeError::System`] if reading or writing fails.
pub fn serve(daemon: &Daemon, mut input: impl BufRead, mut output: impl Write) -> Result<(), ServeError> {
    let (unreadable, unwritable) = (system("read standard input"), system("write to standard output"));
    let mut line = Vec::new();
    while let Some(complete) = read_line(&mut input, &mut line, daemon.limits.body).map_err(&unreadable)? {
        if daemon.stopping.load(Relaxed) {
            break;
        }
        if complete && line.trim_ascii().is_empty() {
            continue;
        }
        daemon.busy_lines.fetch_add(1, Relaxed);
        let reply = if complete { answer(daemon, &line) } else { Err((None, too_long(&daemon.limits))) };
        let mut reply = reply.unwrap_or_else(|(id, error)| {
            daemon.metrics.reject(error.code);
            error.json(id.as_ref())
        });
        reply.push('\n');
        let written = output.write_all(reply.as_bytes()).and_then(|()| output.flush());
        daemon.busy_lines.fetch_sub(1, Relaxed);
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            written => written.map_err(&unwritable)?,
        }
    }
    Ok(())
}

/// The reply to a line, or why there is none and the line's `id`.
fn answer(daemon: &Daemon, line: &[u8]) -> Result<String, (Option<Id>, ApiError)> {
    let ask = Ask::parse_line(line, &daemon.limits)?;
    let id = ask.id.clone();
    outcome(daemon, ask).map_err(|error| (id, error))
}

fn outcome(daemon: &Daemon, ask: Ask) -> Outcome {
    let (send, receive) = channel();
    let done = move |_, outcome| {
        let _ = send.send(outcome);
    };
    let ticket = pool::submit(daemon, Client::Lines, ask, done)?;
    let error = loop {
        let left = ticket.deadline.saturating_duration_since(Instant::now());
        match receive.recv_timeout(left.min(LOOK_EVERY)) {
            Ok(outcome) => return outcome,
            Err(RecvTimeoutError::Timeout) if left.is_zero() => break pool::too_late(daemon),
            Err(RecvTimeoutError::Timeout) if !daemon.given_up.load(Relaxed) => {}
            // Nobody will answer: the time for stopping is over, or the line is closed.
            Err(_) => break pool::stopping(),
        }
    };
    ticket.cancel(&daemon.line);
    Err(error)
}

fn too_long(limits: &Limits) -> ApiError {
    ApiError::new(Code::BodyTooLarge, format!("the line has more than {} bytes; send less", limits.body))
}

/// Reads the next line, without its end, into `line`. `Some(false)` if it has more than `max` bytes: it is then cut, and its rest
/// thrown away. `None` at the end of the input.
///
/// # Errors
/// If reading fails.
pub fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>, max: usize) -> io::Result<Option<bool>> {
    line.clear();
    let (mut any, mut complete) = (false, true);
    loop {
        let available = match input.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if available.is_empty() {
            return Ok(any.then_some(complete));
        }
        any = true;
        let end = available.iter().position(|&b| b == b'\n');
        let part = &available[..end.unwrap_or(available.len())];
        let room = max - line.len();
        complete &= part.len() <= room;
        line.extend_from_slice(&part[..part.len().min(room)]);
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            return Ok(Some(complete));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_the_limit_and_the_next_one_is_whole() {
        for size in [1, 2, 3, 100] {
            let mut input = io::BufReader::with_capacity(size, &b"ab\n\nabcd\nabcde\nxyz"[..]);
            let mut line = Vec::new();
            let mut lines = Vec::new();
            while let Some(complete) = read_line(&mut input, &mut line, 4).unwrap() {
                lines.push((String::from_utf8(line.clone()).unwrap(), complete));
            }
            let lines: Vec<_> = lines.iter().map(|(line, complete)| (line.as_str(), *complete)).collect();
            assert_eq!(lines, [("ab", true), ("", true), ("abcd", true), ("abcd", false), ("xyz", true)]);
        }
    }
}
