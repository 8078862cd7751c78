//! Checksums of files.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use edgeqa::artifact::hex;
use sha2::{Digest, Sha256};

/// The sha256 of a file, in lower-case hexadecimal digits.
pub(crate) fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&digest.finalize())),
            read => digest.update(&buffer[..read]),
        }
    }
}
