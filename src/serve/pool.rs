//! The one thread that asks the model. The model itself shares each inference between all threads it was given, so that one
//! question at a time is the fastest for everyone and needs the least memory.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Daemon;
use super::error::{ApiError, Code};
use super::metrics::Metrics;
use super::model::{ModelProblem, Proven};
use super::queue::{Queue, Refused};
use super::schema::{Ask, Id};
use crate::documents::{Library, RetrievalOptions};
use crate::guard::guard;
use crate::model::Stop;
use crate::qa::Answer;

/// Clients take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Another machine, whatever its number of connections.
    Machine(std::net::IpAddr),
    /// A connection from this machine.
    Connection(u64),
    /// Standard input.
    Lines,
}

/// What becomes of a question: the reply's JSON, or why there is none.
pub type Outcome = Result<String, ApiError>;

/// A question on its way.
pub struct Job {
    number: u64,
    ask: Ask,
    stop: Stop,
    received: Instant,
    deadline: Instant,
    reply: Box<dyn FnOnce(Outcome) + Send>,
}

impl Job {
    /// How many bytes are read; `None` if passages of the documents are.
    fn text(&self) -> Option<usize> {
        self.ask.context.as_ref().map(|context| context.len() + self.ask.question.len())
    }
}

/// What the thread is asked to do.
pub enum Work {
    /// To answer a question.
    Ask(Job),
    /// To test the model in use.
    SelfTest(Sender<Result<(), ModelProblem>>),
}

/// The line of what is to be done.
pub type Line = Queue<Client, Work>;

/// A question that was handed over.
#[derive(Debug)]
pub struct Ticket {
    number: u64,
    stop: Stop,
    /// When there has to be an answer.
    pub deadline: Instant,
}

impl Ticket {
    /// Whether this is the question of that number.
    pub fn is(&self, number: u64) -> bool {
        self.number == number
    }

    /// Takes the question back: it is not begun any more, or soon ended.
    pub fn cancel(&self, line: &Line) {
        self.stop.stop();
        line.remove(|work| matches!(work, Work::Ask(job) if job.number == self.number));
    }
}

/// Hands a question over. `reply` is called with the question's number and what became of it, unless it is taken back. Another
/// client's question that has to give way has [`Code::QueueFull`] as its outcome.
///
/// # Errors
/// [`Code::QueueFull`] or [`Code::Stopping`].
pub fn submit(
    daemon: &Daemon,
    client: Client,
    ask: Ask,
    reply: impl FnOnce(u64, Outcome) + Send + 'static,
) -> Result<Ticket, ApiError> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Relaxed);
    let received = Instant::now();
    let ticket = Ticket { number, stop: Stop::default(), deadline: received + daemon.limits.request };
    let job = Job {
        number,
        ask,
        stop: ticket.stop.clone(),
        received,
        deadline: ticket.deadline,
        reply: Box::new(move |outcome| reply(number, outcome)),
    };
    match daemon.line.push(client, Work::Ask(job)) {
        Ok(dropped) => {
            if let Some(Work::Ask(job)) = dropped {
                (job.reply)(Err(queue_full(daemon)));
            }
            Ok(ticket)
        }
        Err(Refused::Closed) => Err(stopping()),
        Err(Refused::Full) => Err(queue_full(daemon)),
    }
}

/// Why a question finds no place in the line, or loses it to somebody who has none.
fn queue_full(daemon: &Daemon) -> ApiError {
    let waiting = daemon.limits.queue;
    let expected = |work: &Work| match work {
        Work::Ask(job) => daemon.metrics.pace.expect(job.text()),
        Work::SelfTest(_) => Duration::ZERO,
    };
    let seconds = daemon.line.sum(expected).as_secs_f64().ceil().clamp(1.0, 60.0);
    let message = format!("{waiting} questions wait already; ask again in {seconds} s");
    ApiError::new(Code::QueueFull, message).retry_after(seconds as u64)
}

/// Why nothing is taken any more.
pub fn stopping() -> ApiError {
    ApiError::new(Code::Stopping, "edgeqa is being stopped; ask again when it is back").retry_after(5)
}

/// Why a question took too long.
pub fn too_late(daemon: &Daemon) -> ApiError {
    let limit = daemon.limits.request.as_secs_f64();
    ApiError::new(Code::TimeLimit, format!("there was no answer within {limit} s; shorten the text or ask again"))
}

/// Does what is in the line until it is closed.
pub fn work(daemon: &Daemon) {
    while let Some(work) = daemon.line.pop() {
        match work {
            Work::SelfTest(report) => {
                // Nobody listens any more if it took too long.
                let _ = report.send(daemon.model.get().self_test());
            }
            Work::Ask(job) => {
                daemon.metrics.busy.store(1, Relaxed);
                let outcome = guard(|| answer(daemon, &job)).unwrap_or_else(|problem| {
                    log::error!("a question failed inside: {problem}");
                    Err(ApiError::new(Code::Internal, "the question could not be answered, by a fault of edgeqa or for want of memory; its log says more"))
                });
                daemon.metrics.busy.store(0, Relaxed);
                if outcome.is_ok() {
                    daemon.metrics.request.observe(job.received.elapsed());
                }
                (job.reply)(outcome);
            }
        }
    }
}

/// A reply: what `edgeqa ask --json` prints, and the time it took.
#[derive(Serialize)]
struct Reply<'a, A> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Id>,
    #[serde(flatten)]
    answer: &'a A,
    model: &'a str,
    ms: f64,
}

fn answer(daemon: &Daemon, job: &Job) -> Outcome {
    if Instant::now() >= job.deadline {
        return Err(too_late(daemon));
    }
    let model = daemon.model.get();
    let damaged = |problem: ModelProblem| ApiError::new(Code::ModelDamaged, problem.to_string()).retry_after(5);
    model.check_file().map_err(damaged)?;
    let started = Instant::now();
    let outcome = match (&job.ask.context, &daemon.documents) {
        (Some(context), _) => from_text(&model, job, context),
        (None, Some(shelf)) => from_documents(&model, job, &shelf.library(), daemon.passages),
        (None, None) => Err(ApiError::new(
            Code::NoContext,
            "there is no context and edgeqa serves no documents; send a context, or start it with --docs",
        )),
    };
    // Part of the answer may be of what was written meanwhile.
    model.check_file().map_err(damaged)?;
    // What was stopped has taken its time, too.
    if outcome.is_ok() || matches!(&outcome, Err(error) if error.code == Code::TimeLimit) {
        daemon.metrics.inference.observe(started.elapsed());
        let (text, time, pace) = (job.text(), started.elapsed(), &daemon.metrics.pace);
        // What was stopped would have taken longer.
        if outcome.is_ok() || time > pace.expect(text) {
            pace.learn(text, time);
        }
    }
    let (answered, reply) = outcome.map_err(|error| match error.code {
        Code::TimeLimit => too_late(daemon),
        _ => error,
    })?;
    Metrics::count(if answered { &daemon.metrics.answers } else { &daemon.metrics.no_answers });
    Ok(reply)
}

/// Whether there is an answer, and the reply.
fn from_text(model: &Proven, job: &Job, text: &str) -> Result<(bool, String), ApiError> {
    let reader = model.reader().until(job.stop.clone());
    let answer: Answer = reader.ask(&job.ask.question, text, &job.ask.options)?;
    Ok((answer.answered, reply(model, job, &answer)?))
}

fn from_documents(model: &Proven, job: &Job, library: &Library, passages: usize) -> Result<(bool, String), ApiError> {
    let reader = model.reader().until(job.stop.clone());
    let answer = library.ask(&reader, &job.ask.question, &job.ask.options, &RetrievalOptions { passages })?;
    Ok((answer.answer.answered, reply(model, job, &answer)?))
}

fn reply(model: &Proven, job: &Job, answer: &impl Serialize) -> Result<String, ApiError> {
    let ms = (job.received.elapsed().as_secs_f64() * 1e5).round() / 1e2;
    let reply = Reply { id: job.ask.id.as_ref(), answer, model: &model.path().to_string_lossy(), ms };
    serde_json::to_string(&reply).map_err(|error| ApiError::new(Code::Internal, error.to_string()))
}
