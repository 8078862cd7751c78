//! The checksum of the header, which the header itself holds: without it, a configuration with one bit changed would still be one.

use sha2::{Digest, Sha256};

use crate::checksum::hex;

/// The metadata entry.
pub const ENTRY: &str = "header_sha256";
/// What stands for the checksum while it is computed: as many zeros as it has digits.
pub const BLANK: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Puts the checksum into a header that holds [`BLANK`] in its place; one that does not is left alone.
pub fn close(header: &mut [u8]) {
    if let Some(at) = find(header, BLANK) {
        let sha256 = hex(&Sha256::digest(&*header));
        header[at..][..BLANK.len()].copy_from_slice(sha256.as_bytes());
    }
}

/// The checksum that `header` should hold if it holds `stated`, or nothing if that does not stand where the checksum does.
pub fn expected(header: &[u8], stated: &str) -> Option<String> {
    let at = find(header, stated).filter(|_| stated.len() == BLANK.len())?;
    let mut digest = Sha256::new();
    digest.update(&header[..at]);
    digest.update(BLANK);
    digest.update(&header[at + BLANK.len()..]);
    Some(hex(&digest.finalize()))
}

/// Where the digits of the entry begin.
fn find(header: &[u8], digits: &str) -> Option<usize> {
    let entry = format!("\"{ENTRY}\":\"{digits}\"");
    let at = memchr::memmem::find(header, entry.as_bytes())?;
    Some(at + entry.len() - 1 - digits.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_byte_changes_what_is_expected() {
        let mut header = format!(r#"{{"__metadata__":{{"a":"1","{ENTRY}":"{BLANK}","z":"2"}}}}  "#).into_bytes();
        let blank = header.clone();
        close(&mut header);
        let at = find(&blank, BLANK).expect("an entry");
        let stated = std::str::from_utf8(&header[at..][..64]).expect("digits").to_owned();
        assert_eq!(stated, hex(&Sha256::digest(&blank)));
        assert_eq!(expected(&header, &stated), Some(stated.clone()));
        for n in 0..header.len() {
            let mut changed = header.clone();
            changed[n] ^= 1;
            assert_ne!(expected(&changed, &stated), Some(stated.clone()), "byte {n}");
        }
        assert_eq!(expected(&header, "abc"), None);
        assert_eq!(expected(b"", &stated), None);
    }

    #[test]
    fn a_header_without_a_place_for_it_is_left_alone() {
        let mut header = b"{}".to_vec();
        close(&mut header);
        assert_eq!(header, b"{}");
    }
}
