//! The content of a file as it comes in, with a limit on how long nothing may come.

use std::io::{self, Read};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

/// Bytes that are read at a time at most.
const CHUNK: usize = 1 << 16;
/// Chunks that wait to be taken at most.
const WAITING: usize = 16;
/// Into how many parts the limit is cut: while the process is stopped, no more than one of them goes by.
const PARTS: u32 = 20;

/// Why there is no next chunk.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nothing came for as long as was allowed.
    Silence,
    /// Reading failed.
    Broken(io::Error),
}

/// What a reader gives, chunk by chunk.
///
/// A thread of its own reads, because a connection that stands still does not return. Once this is dropped, it ends with the next part
/// that comes, or with the connection; it holds nothing but that.
pub(super) struct Chunks {
    received: Receiver<io::Result<Vec<u8>>>,
    limit: Duration,
}

impl Chunks {
    /// Reads all of `reader`; nothing may come for `limit` at most.
    ///
    /// # Errors
    /// If no thread can be made.
    pub fn new(reader: impl Read + Send + 'static, limit: Duration) -> io::Result<Self> {
        let (send, received) = mpsc::sync_channel(WAITING);
        thread::Builder::new().name("transfer".to_owned()).spawn(move || read(reader, &send))?;
        Ok(Self { received, limit })
    }

    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// [`Stop`]; there is nothing after it.
    pub fn next(&self) -> Result<Vec<u8>, Stop> {
        for _ in 0..PARTS {
            match self.received.recv_timeout(self.limit / PARTS) {
                Ok(chunk) => return chunk.map_err(Stop::Broken),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Stop::Broken(io::Error::other("the transfer ended without a result")));
                }
            }
        }
        Err(Stop::Silence)
    }
}

/// Sends what is read, up to an empty chunk at the end or an error, for as long as somebody takes it.
fn read(mut reader: impl Read, send: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut chunk = vec![0; CHUNK];
        let read = loop {
            match reader.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let last = !matches!(read, Ok(1..));
        let chunk = read.map(|length| {
            chunk.truncate(length);
            chunk
        });
        if send.send(chunk).is_err() || last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte per word that it is sent.
    struct Slow(Receiver<()>);

    impl Read for Slow {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            match self.0.recv() {
                Ok(()) => {
                    to[0] = 7;
                    Ok(1)
                }
                Err(_) => Err(io::ErrorKind::ConnectionReset.into()),
            }
        }
    }

    #[test]
    fn all_bytes_come_in_their_order_and_then_none() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        let chunks = Chunks::new(io::Cursor::new(bytes.clone()), Duration::from_secs(9)).expect("a thread");
        let mut found = Vec::new();
        loop {
            let chunk = chunks.next().expect("no end yet");
            if chunk.is_empty() {
                break;
            }
            found.extend(chunk);
        }
        assert!(found == bytes);
    }

    #[test]
    fn what_stands_still_is_given_up_and_what_breaks_says_why() {
        let (go, slow) = mpsc::channel();
        let mut chunks = Chunks::new(Slow(slow), Duration::from_secs(4)).expect("a thread");
        // Longer than the limit in all, and each time far from it.
        for _ in 0..5 {
            thread::sleep(Duration::from_secs(1));
            go.send(()).expect("it reads");
            assert_eq!(chunks.next().expect("a byte"), [7]);
        }
        chunks.limit = Duration::from_millis(100);
        assert!(matches!(chunks.next(), Err(Stop::Silence)));
        chunks.limit = Duration::from_secs(60);
        drop(go);
        assert!(matches!(chunks.next(), Err(Stop::Broken(error)) if error.kind() == io::ErrorKind::ConnectionReset));
    }
}
