//! The line before the inference pool: bounded, and fair between clients.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What waits, in one line per client. The clients take turns, each with its oldest entry.
#[derive(Debug)]
pub struct Turns<K, T> {
    lines: VecDeque<(K, VecDeque<T>)>,
    len: usize,
}

impl<K: PartialEq, T> Turns<K, T> {
    /// Nobody waits.
    pub fn new() -> Self {
        Self { lines: VecDeque::new(), len: 0 }
    }

    /// How many entries wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// All that wait.
    fn entries(&self) -> impl Iterator<Item = &T> {
        self.lines.iter().flat_map(|(_, line)| line)
    }

    /// Puts an entry at the end of its client's line.
    pub fn push(&mut self, client: K, entry: T) {
        self.len += 1;
        match self.lines.iter_mut().find(|(other, _)| *other == client) {
            Some((_, line)) => line.push_back(entry),
            None => self.lines.push_back((client, VecDeque::from([entry]))),
        }
    }

    /// Takes the newest entry from the client who has most, if that is more than one and `client` has none.
    pub fn make_room(&mut self, client: &K) -> Option<T> {
        if self.lines.iter().any(|(other, _)| other == client) {
            return None;
        }
        let (_, longest) = self.lines.iter_mut().max_by_key(|(_, line)| line.len())?;
        let entry = if longest.len() > 1 { longest.pop_back() } else { None };
        self.len -= usize::from(entry.is_some());
        entry
    }

    /// The oldest entry of the client whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        let (client, mut line) = self.lines.pop_front()?;
        let entry = line.pop_front();
        if !line.is_empty() {
            self.lines.push_back((client, line));
        }
        self.len -= usize::from(entry.is_some());
        entry
    }

    /// Takes out the entries for which `leaves`.
    pub fn remove(&mut self, mut leaves: impl FnMut(&T) -> bool) {
        for (_, line) in &mut self.lines {
            line.retain(|entry| !leaves(entry));
        }
        self.lines.retain(|(_, line)| !line.is_empty());
        self.len = self.lines.iter().map(|(_, line)| line.len()).sum();
    }
}

impl<K: PartialEq, T> Default for Turns<K, T> {
    fn default() -> Self {
        Self::new()
    }
}

/// [`Turns`] that one thread fills and another empties, and urgent entries that go first.
#[derive(Debug)]
pub struct Queue<K, T> {
    state: Mutex<State<K, T>>,
    changed: Condvar,
    capacity: usize,
}

#[derive(Debug)]
struct State<K, T> {
    turns: Turns<K, T>,
    urgent: VecDeque<T>,
    /// Nothing more is taken or given.
    closed: bool,
}

/// Why an entry was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As many wait as may.
    Full,
    /// [`Queue::close`] was called.
    Closed,
}

impl<K: PartialEq, T> Queue<K, T> {
    /// A queue in which `capacity` entries may wait, urgent ones not counted.
    pub fn new(capacity: usize) -> Self {
        let state = State { turns: Turns::new(), urgent: VecDeque::new(), closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), capacity }
    }

    fn state(&self) -> MutexGuard<'_, State<K, T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many entries wait.
    pub fn len(&self) -> usize {
        self.state().turns.len()
    }

    /// The sum of what `time` says of every entry that waits, urgent ones not counted.
    pub fn sum(&self, time: impl Fn(&T) -> Duration) -> Duration {
        let state = self.state();
        state.turns.entries().fold(Duration::ZERO, |sum, entry| sum.saturating_add(time(entry)))
    }

    /// Adds an entry of a client. If the queue is full and the client has nothing in it, [`Turns::make_room`] takes out another
    /// entry, which is returned: nobody can keep the others out.
    ///
    /// # Errors
    /// If the queue is full or closed.
    pub fn push(&self, client: K, entry: T) -> Result<Option<T>, Refused> {
        let mut state = self.state();
        if state.closed {
            return Err(Refused::Closed);
        }
        let mut dropped = None;
        if state.turns.len() >= self.capacity {
            dropped = state.turns.make_room(&client);
            if dropped.is_none() {
                return Err(Refused::Full);
            }
        }
        state.turns.push(client, entry);
        drop(state);
        self.changed.notify_one();
        Ok(dropped)
    }

    /// Adds an entry that goes before all others. A closed queue drops it.
    pub fn push_urgent(&self, entry: T) {
        let mut state = self.state();
        if !state.closed {
            state.urgent.push_back(entry);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Takes out what waits and for which `leaves`.
    pub fn remove(&self, leaves: impl FnMut(&T) -> bool) {
        self.state().turns.remove(leaves);
    }

    /// Waits for the next entry; `None` once the queue is closed.
    pub fn pop(&self) -> Option<T> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            let next = state.urgent.pop_front().or_else(|| state.turns.pop());
            if next.is_some() {
                return next;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends [`Queue::pop`]; drops what waits.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.urgent.clear();
        state.turns = Turns::new();
        drop(state);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_take_turns_and_each_keeps_its_order() {
        let mut turns = Turns::new();
        for (client, entry) in [(1, "1a"), (1, "1b"), (1, "1c"), (2, "2a"), (3, "3a"), (2, "2b")] {
            turns.push(client, entry);
        }
        assert_eq!(turns.len(), 6);
        turns.remove(|entry| *entry == "3a" || *entry == "1b");
        assert_eq!(turns.len(), 4);
        assert_eq!(turns.pop(), Some("1a"));
        turns.push(4, "4a");
        let order: Vec<_> = std::iter::from_fn(|| turns.pop()).collect();
        assert_eq!(order, ["2a", "1c", "4a", "2b"]);
        assert_eq!(turns.len(), 0);
    }

    #[test]
    fn a_queue_is_bounded_and_urgent_entries_go_first() {
        let queue = Queue::new(2);
        assert_eq!(queue.push('a', 1), Ok(None));
        assert_eq!(queue.push('a', 2), Ok(None));
        assert_eq!(queue.push('a', 3), Err(Refused::Full));
        queue.push_urgent(4);
        assert_eq!((queue.pop(), queue.pop(), queue.len()), (Some(4), Some(1), 1));
        queue.close();
        assert_eq!((queue.pop(), queue.push('a', 5)), (None, Err(Refused::Closed)));
        // Whoever waits for what becomes of it is told that nothing does.
        let (send, receive) = std::sync::mpsc::channel::<()>();
        let queue = Queue::<char, _>::new(2);
        queue.close();
        queue.push_urgent(send);
        assert!(receive.recv().is_err());
    }

    #[test]
    fn who_fills_a_queue_keeps_nobody_out() {
        let queue = Queue::new(4);
        for (client, entry) in [('a', "a1"), ('b', "b1"), ('a', "a2"), ('a', "a3")] {
            assert_eq!(queue.push(client, entry), Ok(None));
        }
        assert_eq!(queue.push('a', "a4"), Err(Refused::Full));
        assert_eq!(queue.push('b', "b2"), Err(Refused::Full), "who has something waits for a place");
        assert_eq!(queue.push('c', "c1"), Ok(Some("a3")), "the newest of the longest line");
        assert_eq!(queue.push('c', "c2"), Err(Refused::Full));
        assert_eq!(queue.push('d', "d1"), Ok(Some("a2")));
        assert_eq!(queue.push('e', "e1"), Err(Refused::Full), "nobody gives away the only one");
        let order: Vec<_> = (0..queue.len()).filter_map(|_| queue.pop()).collect();
        assert_eq!(order, ["a1", "b1", "c1", "d1"]);
        assert_eq!(queue.len(), 0);
    }
}
