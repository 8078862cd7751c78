//! Parsers of what strangers send: damaged and random bytes give a result, whatever it is, and it depends on nothing but them.

use edgeqa::serve::Limits;
use edgeqa::serve::config::Config;
use edgeqa::serve::http::{Parsed, parse_request};
use edgeqa::serve::schema::Ask;

use super::daemon::{post, short};
use super::properties;
use edgeqa::eval::Random;

/// `seed` with some bytes replaced, removed, repeated or inserted.
fn damaged(random: &mut Random, seed: &[u8]) -> Vec<u8> {
    const INTERESTING: &[u8] = b"\r\n\0 :{}[]\",\\\xff\xe2#=-0123456789aE";
    let mut bytes = seed.to_vec();
    for _ in 0..1 + random.index(6) {
        let at = random.index(bytes.len() + 1);
        let byte = INTERESTING[random.index(INTERESTING.len())];
        match random.index(5) {
            0 => bytes.insert(at, byte),
            1 => bytes.truncate(at),
            2 if at < bytes.len() => bytes[at] = byte,
            3 if at < bytes.len() => drop(bytes.remove(at)),
            _ => {
                let part = bytes[at..(at + random.index(20)).min(bytes.len())].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

#[test]
fn damaged_input_is_read_without_a_panic() {
    let limits = Limits::default();
    let config = b"[page]\ntitle = \"x\"\nexamples = ['a', 'b']\nidle_seconds = 5\naccent = '#abc'\n";
    let request = post(&short().to_string()).replace("Host:", "Connection: close\r\nExpect: 100-continue\r\nHost:");
    let mut random = Random(1);
    let (mut complete, mut asks, mut lines, mut configs) = (0, 0, 0, 0);
    for _ in 0..20_000 {
        let bytes = damaged(&mut random, request.as_bytes());
        properties::http(&bytes);
        complete += usize::from(matches!(parse_request(&bytes, limits.body), Ok(Parsed::Complete(..))));
        asks += usize::from(Ask::parse(&damaged(&mut random, short().to_string().as_bytes()), &limits).is_ok());
        let line = damaged(&mut random, br#"{"question":"Who kept the light?","id":["a",{"b":[-1e2,null]}]}"#);
        lines += usize::from(Ask::parse_line(&line, &limits).is_ok());
        let bytes = damaged(&mut random, config);
        properties::config(&bytes);
        configs += usize::from(Config::parse(&bytes).is_ok());
        // The first byte says how long a line may be.
        properties::lines(&damaged(&mut random, b"\x01one\ntwo\r\n\nthree and more"));
    }
    // Some of the damage does no harm, or nothing would have been tested.
    let harmless = [complete, asks, lines, configs];
    assert!(harmless.iter().all(|count| (100..19_900).contains(count)), "{harmless:?}");
}
