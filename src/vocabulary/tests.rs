//! Tries against a sorted map, and every kind of damage.

use std::collections::BTreeMap;

use super::*;
use crate::eval::Random;

type Pieces = BTreeMap<Vec<u8>, u32>;

fn trie(pieces: &Pieces) -> Vec<u8> {
    build(&pieces.iter().map(|(piece, id)| (piece.as_slice(), *id)).collect()).expect("sound pieces")
}

fn pieces(texts: impl IntoIterator<Item = Vec<u8>>) -> Pieces {
    texts.into_iter().filter(|text| !text.is_empty()).zip(0..).collect()
}

/// Every piece that `text` begins with.
fn beginnings(trie: Trie<'_>, text: &[u8]) -> Vec<(usize, u32)> {
    let root = trie.root().expect("not empty");
    let start = Start::new(trie, root);
    let (mut cursor, mut all) = (root, Vec::new());
    for (len, &byte) in (1..).zip(text) {
        let found = trie.step(cursor, byte);
        if len == 1 {
            assert_eq!(start.step(trie, byte), found);
        }
        let Some((id, next)) = found else { break };
        all.extend(id.map(|id| (len, id)));
        cursor = next;
    }
    all
}

/// Sets of pieces of all shapes: few and many, alike and not, short and as long as can be.
fn sets() -> Vec<Pieces> {
    let mut random = Random(9);
    let mut sets = vec![
        pieces([vec![0]]),
        pieces([vec![b'a'; MAX_PIECE]]),
        pieces((1..=MAX_PIECE).map(|len| vec![b'a'; len])),
        pieces((0..=255).map(|byte| vec![byte])),
        pieces((0..=255).map(|byte| vec![7, byte, 9])),
        pieces([15, 16, 17, 255, 256, 257, 258, 511, 512, 513].map(|len| vec![len as u8; len])),
        // More than two-byte places can tell apart.
        pieces((0..40_000_u32).map(|n| n.to_string().repeat(2).into_bytes())),
    ];
    for (letters, longest, count) in [(2, 8, 300), (3, 20, 2000), (256, 3, 3000), (60, 9, 5000)] {
        sets.push(pieces((0..count).map(|_| {
            let len = 1 + random.index(longest);
            (0..len).map(|_| random.index(letters) as u8).collect()
        })));
    }
    sets
}

#[test]
fn a_trie_finds_what_a_map_has() {
    let mut random = Random(77);
    for (n, set) in sets().iter().enumerate() {
        let bytes = trie(set);
        let trie = Trie(&bytes);
        let mut found = Vec::new();
        trie.pieces(|piece, id| {
            found.push((piece.to_vec(), id));
            Ok(())
        })
        .expect("sound");
        assert!(found.iter().map(|(piece, id)| (piece, id)).eq(set), "set {n}");
        let letters = 1 + set.keys().flatten().copied().max().unwrap_or(0) as usize;
        let others = (0..2000).map(|_| (0..random.index(12)).map(|_| random.index(letters) as u8).collect());
        let keys: Vec<Vec<u8>> = set.keys().cloned().chain(others).collect();
        for key in &keys {
            assert_eq!(trie.get(key), set.get(key).copied(), "set {n}, {key:?}");
        }
        for key in keys.iter().rev().take(4000) {
            let text = [key, &keys[random.index(keys.len())][..]].concat();
            let want: Vec<_> = (1..=text.len()).filter_map(|len| Some((len, *set.get(&text[..len])?))).collect();
            assert_eq!(beginnings(trie, &text), want, "set {n}, {text:?}");
        }
    }
}

#[test]
fn what_does_not_fit_is_not_built() {
    let build = |piece: &[u8], id: u32| build(&BTreeMap::from([(piece, id)]));
    assert!(super::build(&BTreeMap::new()).is_none());
    assert!(build(b"", 1).is_none());
    assert!(build(&[1; MAX_PIECE + 1], 1).is_none());
    assert!(build(b"a", MAX_SIZE as u32).is_none());
    assert!(build(b"a", MAX_SIZE as u32 - 1).is_some());
}

#[test]
fn every_kind_of_damage_is_named() {
    let header = |kind: u8, count: u8, end: bool| count << 4 | kind << 1 | u8::from(end);
    let check = |bytes: &[u8]| Trie(bytes).check(100).expect_err("damaged");
    let sound = trie(&pieces(["ab", "abc", "b", "bd"].map(|text| text.as_bytes().to_vec())));
    assert_eq!(Trie(&sound).check(100), Ok(4));
    for len in 0..sound.len() {
        assert!(matches!(check(&sound[..len]), Fault::Cut { .. } | Fault::Child { .. }), "{len}");
    }
    assert!(matches!(check(&[]), Fault::Cut { at: 0 }));
    assert!(matches!(check(&[header(BRANCH + 4, 1, false), 1]), Fault::Kind { at: 0 }));
    assert!(matches!(check(&[header(LEAF, 3, false)]), Fault::Kind { at: 0 }));
    // A leaf where nothing ends.
    assert!(matches!(check(&[header(RUN, 1, false), b'a', header(LEAF, 0, false)]), Fault::Kind { at: 2 }));
    let leaf = |id: u8| [header(LEAF, 0, true), id, 0, 0];
    let branch = |labels: [u8; 2], place: u8, ids: [u8; 2]| {
        [&[header(BRANCH + 1, 2, false)][..], &labels, &[place], &leaf(ids[0]), &leaf(ids[1])].concat()
    };
    assert_eq!(Trie(&branch(*b"ab", 4, [1, 2])).check(100), Ok(2));
    assert!(matches!(check(&branch(*b"ba", 4, [1, 2])), Fault::Labels { at: 0 }));
    assert!(matches!(check(&branch(*b"aa", 4, [1, 2])), Fault::Labels { at: 0 }));
    assert!(matches!(check(&branch(*b"ab", 0, [1, 2])), Fault::Child { at: 0 }));
    assert!(matches!(check(&branch(*b"ab", 4, [1, 1])), Fault::Twice { id: 1 }));
    assert!(matches!(check(&branch(*b"ab", 4, [1, 100])), Fault::Id { id: 100, limit: 100 }));
    assert!(matches!(check(&branch([b'a', 0xff], 4, [1, 2])), Fault::Text { id: 2 }));
    assert!(matches!(check(&[&sound[..], &[0]].concat()), Fault::Rest { at } if at == sound.len()));
    let run = [&[header(RUN, 0, false), 255][..], &[b'a'; 256]].concat();
    let long = [run.repeat(5), leaf(1).to_vec()].concat();
    assert!(matches!(check(&long), Fault::Long { .. }));
}

#[test]
fn no_damage_leads_outside_or_round_in_circles() {
    let mut random = Random(5);
    let words = ["the", "then", "than", "a", "an", "and", "##and", "▁the", "▁then", "keeper", "keepers", "灯", "灯台"];
    let set = pieces(words.map(|word| word.as_bytes().to_vec()));
    let sound = trie(&set);
    let texts = ["the keepers and then ▁the", "灯台灯", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "\0\u{1}"];
    let (mut sound_still, mut faults) = (0, std::collections::BTreeSet::new());
    for _ in 0..200_000 {
        let mut bytes = sound.clone();
        for _ in 0..=random.index(3) {
            let at = random.index(bytes.len());
            bytes[at] = random.index(256) as u8;
        }
        bytes.truncate(sound.len() - random.index(8).saturating_sub(5));
        let trie = Trie(&bytes);
        if let Some(root) = trie.root() {
            let _ = Start::new(trie, root);
            for text in texts {
                let mut cursor = root;
                for &byte in text.as_bytes() {
                    let Some((_, next)) = trie.step(cursor, byte) else { break };
                    cursor = next;
                }
            }
        }
        match trie.check(words.len()) {
            Ok(_) => sound_still += 1,
            Err(fault) => {
                // Without its numbers.
                faults.insert(fault.to_string().replace(|c: char| c.is_ascii_digit(), ""));
            }
        }
    }
    assert!(sound_still < 100_000 && faults.len() > 6, "{sound_still} {faults:?}");
}

/// Where the last child begins at 256 or 65,536, or nearly so.
#[test]
fn places_are_as_wide_as_the_last_one_needs() {
    let check = |set: &Pieces| {
        let bytes = trie(set);
        let mut count = 0;
        let found = Trie(&bytes).pieces(|_, _| {
            count += 1;
            Ok(())
        });
        assert_eq!((found, count), (Ok(()), set.len()));
        assert!(set.iter().all(|(piece, id)| Trie(&bytes).get(piece) == Some(*id)));
    };
    for len in 240..270 {
        check(&pieces([vec![b'a'; len], vec![b'b']]));
        // Children of 256 bytes each between them.
        let rest = (1..255).map(|letter| vec![letter; 252]);
        check(&pieces(std::iter::once(vec![0; 250 + len]).chain(rest).chain([vec![255]])));
    }
}
