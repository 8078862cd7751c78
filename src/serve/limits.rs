//! What the daemon takes from a client, and for how long.

use std::time::Duration;

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
