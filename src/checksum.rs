//! Checksums, as they are written and of files.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Lower-case hexadecimal digits of `bytes`, as checksums are written.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The length of a file in bytes, and its sha256 in hexadecimal digits.
///
/// # Errors
/// If it cannot be read.
pub fn of_file(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut digest, mut buffer, mut length) = (Sha256::new(), vec![0; 1 << 18], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((length, hex(&digest.finalize()))),
            read => {
                digest.update(&buffer[..read]);
                length += read as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_a_file_is_that_of_its_bytes() {
        // From FIPS 180-4's examples, as `sha256sum` prints them.
        const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        const MILLION_A: &str = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        for (content, sum) in [(b"abc".to_vec(), ABC), (vec![b'a'; 1_000_000], MILLION_A)] {
            std::fs::write(&path, &content).expect("written");
            assert_eq!(of_file(&path).expect("read"), (content.len() as u64, sum.to_owned()));
        }
        assert!(of_file(folder.path()).is_err(), "a folder has no bytes");
    }
}
