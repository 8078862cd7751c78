//! What the daemon takes from a client, and for how long.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Limits of the daemon.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Longest body of a request, or line of `--stdio`, in bytes.
    pub body: usize,
    /// Longest question, in bytes.
    pub question: usize,
    /// Longest context, in bytes.
    pub context: usize,
    /// Requests that wait while one is answered.
    pub queue: usize,
    /// Connections that are open at the same time.
    pub connections: usize,
    /// From the complete request to its answer, waiting included.
    pub request: Duration,
    /// From the first byte of a request to its last, and for taking a reply.
    pub client: Duration,
    /// How long a connection may do nothing.
    pub idle: Duration,
    /// How long requests that are being answered have after the signal to stop.
    pub stop: Duration,
}

impl Limits {
    /// Longest head of a request: its line and headers, in bytes.
    pub const HEAD: usize = 8 << 10;

    /// Raises the limit on open files and sockets, as far as the system allows, so that there can be so many connections.
    pub fn raise_descriptors(&self) {
        /// Besides connections: files of the model and the documents, sockets, and what the system's library opens.
        const OTHERS: u64 = 64;
        let connections = self.connections;
        let wanted = connections as u64 + OTHERS;
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        if current.is_none_or(|current| current >= wanted) {
            return;
        }
        let most = maximum.map_or(wanted, |maximum| maximum.min(wanted));
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum });
        if raised.is_err() || most < wanted {
            log::warn!(
                "{connections} connections (--max-connections) need up to {wanted} descriptors, of which the system allows {}; idle \
                 connections will give way before",
                if raised.is_err() { current.unwrap_or(most) } else { most }
            );
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 256 << 10,
            question: 1000,
            context: 200_000,
            queue: 16,
            connections: 32,
            request: Duration::from_secs(30),
            client: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            stop: Duration::from_secs(10),
        }
    }
}
