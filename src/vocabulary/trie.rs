//! Searching a trie, and reading all of it.

use std::fmt;

use super::{BRANCH, Fault, LEAF, MAX_PIECE, RUN, TAIL};

/// A trie over bytes that nobody has checked: a search gives whatever they say, and ends.
#[derive(Clone, Copy, Debug)]
pub struct Trie<'a>(pub &'a [u8]);

/// A place in a trie: what has been found of a piece so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Where the bytes begin that lead on.
    at: usize,
    /// How many there are.
    count: u16,
    /// What they are, as in a header.
    kind: u8,
}

/// A place from which many searches start, with a table of where each byte leads.
#[derive(Clone)]
pub struct Start {
    cursor: Cursor,
    /// Where the node begins, by byte; 0 if there is none.
    nodes: Box<[u32; 256]>,
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

impl Start {
    /// Makes the table. Only the node itself is read.
    pub fn new(trie: Trie<'_>, cursor: Cursor) -> Self {
        let mut nodes = Box::new([0; 256]);
        if cursor.kind > BRANCH {
            let labels = trie.0.get(cursor.at..cursor.at + usize::from(cursor.count)).unwrap_or_default();
            for (child, &label) in labels.iter().enumerate() {
                nodes[usize::from(label)] = trie.child(cursor, child).and_then(|at| at.try_into().ok()).unwrap_or(0);
            }
        }
        Self { cursor, nodes }
    }

    /// As [`Trie::step`].
    #[inline]
    pub fn step(&self, trie: Trie<'_>, byte: u8) -> Option<Found> {
        match self.nodes[usize::from(byte)] {
            0 if self.cursor.kind > BRANCH => None,
            0 => trie.step(self.cursor, byte),
            node => trie.node(node as usize),
        }
    }
}

/// A place, with the id of the piece that ends there, if one does.
pub type Found = (Option<u32>, Cursor);

const NOWHERE: Cursor = Cursor { at: 0, count: 0, kind: LEAF };

impl Trie<'_> {
    /// Where every piece begins; `None` if the trie is empty.
    pub fn root(self) -> Option<Cursor> {
        self.node(0).map(|(_, cursor)| cursor)
    }

    /// Where `byte` leads from `cursor`. `None` if no piece goes on like that.
    #[inline]
    pub fn step(self, cursor: Cursor, byte: u8) -> Option<Found> {
        let Cursor { at, count, kind } = cursor;
        match kind {
            RUN | TAIL => {
                if *self.0.get(at)? != byte {
                    None
                } else if count > 1 {
                    Some((None, Cursor { at: at + 1, count: count - 1, kind }))
                } else if kind == TAIL {
                    Some((Some(self.id(at + 1)?), NOWHERE))
                } else {
                    self.node(at + 1)
                }
            }
            LEAF => None,
            _ => {
                let labels = self.0.get(at..at + usize::from(count))?;
                let child = if count <= 8 {
                    labels.iter().position(|&label| label == byte)?
                } else {
                    memchr::memchr(byte, labels)?
                };
                self.node(self.child(cursor, child)?)
            }
        }
    }

    /// The id of a whole piece.
    pub fn get(self, piece: &[u8]) -> Option<u32> {
        let mut found = (None, self.root()?);
        for &byte in piece {
            found = self.step(found.1, byte)?;
        }
        found.0
    }

    /// Where child `child` of the branch at `cursor` begins.
    #[inline]
    fn child(self, cursor: Cursor, child: usize) -> Option<usize> {
        let (count, width) = (usize::from(cursor.count), usize::from(cursor.kind - BRANCH));
        let places = cursor.at + count;
        let first = places + width * (count - 1);
        if child == 0 {
            return Some(first);
        }
        let place = self.0.get(places + width * (child - 1)..)?;
        let place = match width {
            1 => usize::from(*place.first()?),
            2 => usize::from(u16::from_le_bytes(*place.first_chunk()?)),
            _ => number(*place.first_chunk()?) as usize,
        };
        Some(first + place)
    }

    /// The id of the piece that ends at the node at `at`, and the way on.
    #[inline]
    fn node(self, at: usize) -> Option<Found> {
        let header = *self.0.get(at)?;
        let (kind, mut count, mut next) = (header >> 1 & 7, u16::from(header >> 4), at + 1);
        if count == 0 && kind != LEAF {
            count = u16::from(*self.0.get(next)?) + 1;
            next += 1;
        }
        let mut id = None;
        if header & 1 == 1 {
            id = Some(self.id(next)?);
            next += 3;
        }
        let is_known = if kind == LEAF { count == 0 } else { kind <= BRANCH + 3 };
        is_known.then_some((id, Cursor { at: next, count, kind }))
    }

    #[inline]
    fn id(self, at: usize) -> Option<u32> {
        self.0.get(at..)?.first_chunk().copied().map(number)
    }

    /// Calls `each` with the bytes and the id of every piece, in ascending order, and checks the whole trie.
    ///
    /// # Errors
    /// The first fault, or what `each` returns.
    pub fn pieces(self, mut each: impl FnMut(&[u8], u32) -> Result<(), Fault>) -> Result<(), Fault> {
        // For every branch on the way: where it is, its cursor, the child that comes next, and the length of the piece
        // up to it.
        let mut branches: Vec<(usize, Cursor, usize, usize)> = Vec::new();
        let mut piece = Vec::new();
        let mut at = 0;
        loop {
            let cut = Fault::Cut { at };
            let (id, cursor) = self.node(at).ok_or(match self.0.get(at) {
                Some(header) if header >> 1 & 7 > BRANCH + 3 || header >> 1 & 7 == LEAF && header >> 4 > 0 => {
                    Fault::Kind { at }
                }
                _ => cut.clone(),
            })?;
            if let Some(id) = id {
                each(&piece, id)?;
            }
            let count = usize::from(cursor.count);
            let bytes = self.0.get(cursor.at..cursor.at + count).ok_or(cut.clone())?;
            let mut next = cursor.at + count;
            match cursor.kind {
                LEAF if id.is_none() && at > 0 => return Err(Fault::Kind { at }),
                LEAF => {}
                RUN => {
                    piece.extend(bytes);
                    at = next;
                    check_length(&piece, at)?;
                    continue;
                }
                TAIL => {
                    let len = piece.len();
                    piece.extend(bytes);
                    check_length(&piece, at)?;
                    each(&piece, self.id(next).ok_or(cut)?)?;
                    piece.truncate(len);
                    next += 3;
                }
                _ => {
                    if !bytes.is_sorted_by(|a, b| a < b) {
                        return Err(Fault::Labels { at });
                    }
                    next = self.child(cursor, 0).ok_or(cut)?;
                    branches.push((at, cursor, 0, piece.len()));
                }
            }
            // Down to the next child of the innermost branch that has one left.
            at = next;
            loop {
                let Some((branch, cursor, child, len)) = branches.last_mut() else {
                    return if at == self.0.len() { Ok(()) } else { Err(Fault::Rest { at }) };
                };
                if *child == usize::from(cursor.count) {
                    branches.pop();
                    continue;
                }
                if self.child(*cursor, *child) != Some(at) {
                    return Err(Fault::Child { at: *branch });
                }
                piece.truncate(*len);
                piece.push(self.0[cursor.at + *child]);
                *child += 1;
                break;
            }
            check_length(&piece, at)?;
        }
    }

    /// Checks a whole trie whose ids must be below `limit`, and counts its pieces.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(self, limit: usize) -> Result<usize, Fault> {
        let mut seen = vec![false; limit];
        let mut count = 0;
        self.pieces(|piece, id| {
            match seen.get_mut(id as usize) {
                None => return Err(Fault::Id { id, limit }),
                Some(true) => return Err(Fault::Twice { id }),
                Some(seen) => *seen = true,
            }
            std::str::from_utf8(piece).map_err(|_| Fault::Text { id })?;
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }
}

fn number([a, b, c]: [u8; 3]) -> u32 {
    u32::from_le_bytes([a, b, c, 0])
}

/// Stops a walk before a damaged trie makes the memory grow.
fn check_length(piece: &[u8], at: usize) -> Result<(), Fault> {
    if piece.len() > MAX_PIECE { Err(Fault::Long { at }) } else { Ok(()) }
}
