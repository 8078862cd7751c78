//! Making a trie.

use std::collections::BTreeMap;

use super::{BRANCH, LEAF, MAX_PIECE, MAX_SIZE, RUN, TAIL};

/// The trie of these pieces and their ids; `None` if there are none, one is empty or longer than [`MAX_PIECE`], an id
/// is not below [`MAX_SIZE`], or the trie needs more than [`MAX_SIZE`] bytes.
pub fn build(pieces: &BTreeMap<&[u8], u32>) -> Option<Vec<u8>> {
    let fits = |(piece, id): (&&[u8], &u32)| (1..=MAX_PIECE).contains(&piece.len()) && (*id as usize) < MAX_SIZE;
    if pieces.is_empty() || !pieces.iter().all(fits) {
        return None;
    }
    let sorted: Vec<(&[u8], u32)> = pieces.iter().map(|(piece, id)| (*piece, *id)).collect();
    Some(node(&sorted, 0)).filter(|trie| trie.len() <= MAX_SIZE)
}

/// The node for `pieces`, which agree in their first `depth` bytes, and all below it.
fn node(pieces: &[(&[u8], u32)], depth: usize) -> Vec<u8> {
    let (end, rest) = match pieces {
        [(piece, id), rest @ ..] if piece.len() == depth => (Some(*id), rest),
        _ => (None, pieces),
    };
    let ([(first, id), ..], [.., (last, _)]) = (rest, rest) else { return header(end, LEAF, 0) };
    let common = first[depth..].iter().zip(&last[depth..]).take_while(|(a, b)| a == b).count();
    // A run longer than a count can say goes on in the next node.
    let run = &first[depth..depth + common.min(256)];
    if rest.len() == 1 && run.len() == first.len() - depth {
        return [&header(end, TAIL, run.len()), run, &id.to_le_bytes()[..3]].concat();
    }
    if !run.is_empty() {
        return [&header(end, RUN, run.len()), run, &node(rest, depth + run.len())].concat();
    }
    let groups: Vec<_> = rest.chunk_by(|(a, _), (b, _)| a[depth] == b[depth]).collect();
    let labels: Vec<u8> = groups.iter().map(|group| group[0].0[depth]).collect();
    let children: Vec<Vec<u8>> = groups.iter().map(|group| node(group, depth + 1)).collect();
    let places: Vec<usize> = children
        .iter()
        .scan(0, |end, child| {
            *end += child.len();
            Some(*end)
        })
        .take(children.len() - 1)
        .collect();
    let width = match places.last() {
        Some(0x1_0000..) => 3,
        Some(0x100..) => 2,
        _ => 1,
    };
    let places = places.iter().flat_map(|place| place.to_le_bytes().into_iter().take(width)).collect();
    [header(end, BRANCH + width as u8, labels.len()), labels, places, children.concat()].concat()
}

fn header(end: Option<u32>, kind: u8, count: usize) -> Vec<u8> {
    let small = if count < 16 { count as u8 } else { 0 };
    let mut bytes = vec![small << 4 | kind << 1 | u8::from(end.is_some())];
    if count >= 16 {
        bytes.push((count - 1) as u8);
    }
    bytes.extend(end.iter().flat_map(|id| id.to_le_bytes().into_iter().take(3)));
    bytes
}
