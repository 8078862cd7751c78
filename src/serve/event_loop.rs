//! The one thread that talks to all clients. It sleeps in `poll(2)` until something happens, so that idle costs nothing and a
//! client costs its buffers only: no thread, no stack, no runtime.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use log::Level;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;

use super::Daemon;
use super::bell::{Bell, Event};
use super::connection::{Connection, Fate, Manner, Next};
use super::error::{ApiError, Code};
use super::http::Request;
use super::listen::{Listener, Stream};
use super::metrics::Metrics;
use super::pool::{self, Client};
use super::room::{Held, gives_way};
use super::routes::{Routed, route};
use super::say::say;
use crate::shown::count;

/// How long no connection is accepted after the system could not give one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Requests of a connection that are handled, and connections that are accepted, before all others have their turn.
const AT_ONCE: usize = 16;

/// How long it may take to tell who waits on standard output that there will be no answer.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Whether the bell rang, which listeners and which connections have something.
type Happened = (bool, Vec<usize>, Vec<(u64, PollFlags)>);

/// The state of the loop.
pub struct EventLoop<'a> {
    daemon: &'a Arc<Daemon>,
    bell: Bell,
    events: Receiver<Event>,
    listeners: Vec<Listener>,
    accept_after: Option<Instant>,
    /// Whether the last attempt to take a connection succeeded: that they do not is said once.
    accepts: bool,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    /// Connections that have sent more requests than were handled in their turn.
    unfinished: Vec<u64>,
    /// When the loop ends whatever is still being answered.
    stop_at: Option<Instant>,
}

impl<'a> EventLoop<'a> {
    /// A loop over these listeners.
    pub fn new(daemon: &'a Arc<Daemon>, bell: Bell, events: Receiver<Event>, listeners: Vec<Listener>) -> Self {
        let connections = BTreeMap::new();
        Self {
            daemon,
            bell,
            events,
            listeners,
            accept_after: None,
            accepts: true,
            connections,
            next: 0,
            unfinished: Vec::new(),
            stop_at: None,
        }
    }

    /// Serves until it is told to stop.
    ///
    /// # Errors
    /// If `poll` fails, which it does not for any client's sake.
    pub fn run(mut self) -> io::Result<()> {
        while !self.is_over() {
            // Later ones may have sent something that nobody has looked for.
            let known = self.next;
            let (woken, listening, ready) = self.wait()?;
            if woken {
                self.bell.silence();
                while let Ok(event) = self.events.try_recv() {
                    self.hear(event);
                }
            }
            for id in std::mem::take(&mut self.unfinished) {
                self.advance(id);
            }
            for (id, flags) in ready {
                self.attend(id, flags);
            }
            for index in listening {
                self.accept(index, known);
            }
            self.expire();
            self.daemon.connections.store(self.connections.len(), Relaxed);
        }
        self.give_up();
        Ok(())
    }

    /// Tells whoever still waits for an answer, or has not sent all of a request, that there will be none.
    fn give_up(&mut self) {
        // Answers that have just come are no refusals.
        while let Ok(event) = self.events.try_recv() {
            self.hear(event);
        }
        let daemon = self.daemon;
        let mut unanswered = daemon.busy_lines.load(Relaxed);
        for connection in self.connections.values_mut() {
            if let Some(ticket) = connection.waits_for() {
                ticket.cancel(&daemon.line);
                unanswered += 1;
            }
            let Some(error) = connection.expire(&daemon.limits, pool::stopping) else { continue };
            daemon.metrics.reject(error.code);
            // A client that has just sent something has room for that.
            let _ = connection.send(&daemon.limits);
        }
        daemon.given_up.store(true, Relaxed);
        let end = Instant::now() + LAST_WORDS;
        while daemon.busy_lines.load(Relaxed) > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        if unanswered > 0 {
            let (questions, seconds) = (count(unanswered, "question"), daemon.limits.stop.as_secs_f64());
            say(Level::Warn, format!("stopping with {questions} not answered in {seconds} s"));
        }
    }

    fn is_over(&self) -> bool {
        let Some(stop_at) = self.stop_at else { return false };
        let done = self.connections.values().all(Connection::is_idle) && self.daemon.busy_lines.load(Relaxed) == 0;
        done || Instant::now() >= stop_at
    }

    /// Sleeps until something happens.
    fn wait(&self) -> io::Result<Happened> {
        let now = Instant::now();
        let accepting = self.accept_after.is_none_or(|after| now >= after);
        let mut deadlines: Vec<Instant> = self.connections.values().map(Connection::deadline).collect();
        deadlines.extend(self.stop_at.into_iter().chain(self.accept_after.filter(|_| !accepting)));
        let mut timeout = deadlines.into_iter().min().map(|first| first.saturating_duration_since(now));
        if self.stop_at.is_some() {
            // Lines of standard input ring no bell.
            timeout = Some(timeout.unwrap_or_default().min(Duration::from_millis(50)));
        }
        if !self.unfinished.is_empty() {
            timeout = Some(Duration::ZERO);
        }
        let timeout = timeout
            .map(|timeout| Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) });
        let listeners = if accepting { &self.listeners[..] } else { &[] };
        let mut fds = vec![PollFd::new(&self.bell, PollFlags::IN)];
        fds.extend(listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)));
        fds.extend(self.connections.values().map(|c| PollFd::new(c.stream(), c.interest())));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok((true, Vec::new(), Vec::new())),
            Err(error) => return Err(error.into()),
        }
        let mut flags = fds.iter().map(PollFd::revents);
        let woken = flags.next().is_some_and(|flags| !flags.is_empty());
        let listening = (0..listeners.len()).filter(|_| flags.next().is_some_and(|flags| !flags.is_empty())).collect();
        let ready = self.connections.keys().copied().zip(flags).filter(|(_, flags)| !flags.is_empty()).collect();
        Ok((woken, listening, ready))
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Stop if self.stop_at.is_none() => {
                self.stop_at = Some(Instant::now() + self.daemon.limits.stop);
                self.listeners.clear();
                self.connections.values_mut().for_each(Connection::end);
                self.end_idle_ones();
            }
            Event::Stop => {}
            Event::Done { connection: id, number, outcome } => {
                let Some(connection) = self.connections.get_mut(&id) else { return };
                // It may be that of a question whose time was over.
                if connection.waits_for().is_some_and(|ticket| ticket.is(number)) {
                    let response = match outcome {
                        Ok(json) => super::http::Response::json(json),
                        Err(error) => {
                            self.daemon.metrics.reject(error.code);
                            (&error).into()
                        }
                    };
                    connection.answer(&response, &self.daemon.limits);
                    self.advance(id);
                }
            }
        }
    }

    /// Does what a socket is ready for.
    fn attend(&mut self, id: u64, flags: PollFlags) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let Some(ticket) = connection.waits_for() {
            if flags.intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
                ticket.cancel(&self.daemon.line);
                Metrics::count(&self.daemon.metrics.cancelled);
                self.connections.remove(&id);
            }
            return;
        }
        if connection.interest().contains(PollFlags::IN) && connection.receive() == Fate::Over {
            self.connections.remove(&id);
            return;
        }
        self.advance(id);
    }

    /// Does what can be done for a connection without waiting: sends, and takes the next requests.
    fn advance(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (daemon, bell) = (self.daemon, &self.bell);
        for _ in 0..AT_ONCE {
            if connection.send(&daemon.limits) == Fate::Over {
                self.connections.remove(&id);
                return;
            }
            if !connection.next_request(&daemon.limits, |request, stream| handle(daemon, bell, id, request, stream)) {
                return;
            }
        }
        self.unfinished.push(id);
    }

    /// Closes the idle connections, after what clients had sent before the signal to stop is handled.
    fn end_idle_ones(&mut self) {
        let unfinished = &self.unfinished;
        self.connections.retain(|id, connection| {
            !connection.is_idle() || has_input(connection.stream()) || unfinished.contains(id)
        });
        let idle = self.connections.iter().filter(|(_, connection)| connection.is_idle());
        for id in idle.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.attend(id, PollFlags::IN);
        }
    }

    /// Takes new connections; for each, an idle one of those before `known` may be closed, or one that [`gives_way`].
    fn accept(&mut self, index: usize, known: u64) {
        let daemon = self.daemon;
        for _ in 0..AT_ONCE {
            let Some(listener) = self.listeners.get(index) else { return };
            let stream = match listener.accept() {
                Ok(stream) => stream,
                Err(error) if is_out_of_descriptors(&error) && !has_input(listener) => return,
                Err(error)
                    if is_out_of_descriptors(&error)
                        && (self.close_an_idle_one(known) || self.close_a_greedy_one(None)) =>
                {
                    continue;
                }
                Err(error) => {
                    if !matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                    ) {
                        let level = if self.accepts { Level::Warn } else { Level::Debug };
                        say(level, format!("cannot accept connections: {error}"));
                        self.accepts = false;
                        self.accept_after = Some(Instant::now() + ACCEPT_PAUSE);
                    }
                    return;
                }
            };
            self.accepts = true;
            Metrics::count(&daemon.metrics.accepted);
            let connection = Connection::new(stream, &daemon.limits);
            let full = self.connections.len() >= daemon.limits.connections;
            if full && !self.close_an_idle_one(known) && !self.close_a_greedy_one(connection.machine()) {
                self.turn_away(connection);
                continue;
            }
            self.connections.insert(self.next, connection);
            self.next += 1;
        }
    }

    /// Closes a connection because there are too many, and tells the client so unless a reply is on its way to it.
    fn turn_away(&self, mut connection: Connection) {
        let limits = &self.daemon.limits;
        self.daemon.metrics.reject(Code::TooManyConnections);
        if connection.is_sending() {
            return;
        }
        let message = format!("{} connections are open already; try again", self.connections.len());
        connection.respond(&(&ApiError::new(Code::TooManyConnections, message)).into(), Manner::LAST, limits);
        // What the client has sent is thrown away, as far as it is there: closing would destroy the reply else.
        let _ = connection.send(limits);
        let _ = connection.receive();
    }

    /// Closes the connection before `known` that has been idle for the longest time, and is still.
    fn close_an_idle_one(&mut self, known: u64) -> bool {
        let idle = self.connections.range(..known).filter(|(_, connection)| connection.is_idle());
        let still = idle.filter(|(_, connection)| !has_input(connection.stream()));
        match still.min_by_key(|(_, connection)| connection.deadline()).map(|(id, _)| *id) {
            Some(id) => self.connections.remove(&id).is_some(),
            None => false,
        }
    }

    /// Closes the connection that [`gives_way`] to one from `newcomer`.
    fn close_a_greedy_one(&mut self, newcomer: Option<IpAddr>) -> bool {
        let held = self.connections.iter().map(|(id, connection)| Held {
            id: *id,
            machine: connection.machine(),
            transfer: connection.is_transferring().then(|| connection.deadline()),
        });
        let Some(id) = gives_way(&held.collect::<Vec<_>>(), newcomer) else { return false };
        if let Some(connection) = self.connections.remove(&id) {
            self.turn_away(connection);
        }
        true
    }

    fn expire(&mut self) {
        let now = Instant::now();
        let late: Vec<u64> = self.connections.iter().filter(|(_, c)| c.deadline() <= now).map(|(id, _)| *id).collect();
        for id in late {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            if let Some(ticket) = connection.waits_for() {
                ticket.cancel(&self.daemon.line);
            }
            match connection.expire(&self.daemon.limits, || pool::too_late(self.daemon)) {
                Some(error) => {
                    self.daemon.metrics.reject(error.code);
                    self.advance(id);
                }
                None => {
                    self.connections.remove(&id);
                }
            }
        }
    }
}

impl Drop for EventLoop<'_> {
    fn drop(&mut self) {
        for ticket in self.connections.values().filter_map(Connection::waits_for) {
            ticket.cancel(&self.daemon.line);
        }
    }
}

/// Whether this process, or the system, can have no more files and sockets. The system says so whether somebody waits or not.
fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn handle(
    daemon: &Daemon,
    bell: &Bell,
    connection: u64,
    request: Result<&Request<'_>, ApiError>,
    stream: &Stream,
) -> Next {
    let next = request.and_then(|request| match route(daemon, request, stream.is_network())? {
        Routed::Respond(response) => Ok(Next::Respond(response)),
        Routed::Ask(ask) => {
            let client = stream.other_machine().map_or(Client::Connection(connection), Client::Machine);
            let bell = bell.clone();
            let done = move |number, outcome| bell.ring(Event::Done { connection, number, outcome });
            Ok(Next::Wait(pool::submit(daemon, client, ask, done)?))
        }
    });
    next.unwrap_or_else(|error| {
        daemon.metrics.reject(error.code);
        Next::Respond((&error).into())
    })
}

/// Whether something has come that was not read yet.
fn has_input(stream: &impl AsFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}
