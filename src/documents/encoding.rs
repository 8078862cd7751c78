//! Bytes as text. Only UTF-8 is read; whoever has another encoding is told how to convert it.

/// Why bytes are no text. The message follows the name of what holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not UTF-8: byte {byte} is 0x{value:02X}; convert it first, for example with `iconv -f {} -t UTF-8`", self.likely())]
pub struct NotUtf8 {
    /// Offset of the first byte that is not.
    pub byte: usize,
    /// That byte.
    pub value: u8,
}

impl NotUtf8 {
    /// The likely encoding. UTF-16 starts with a byte order mark, FF FE or FE FF; hardly any text of one byte per character does with
    /// either of these bytes.
    fn likely(&self) -> &'static str {
        match (self.byte, self.value) {
            (0, 0xfe | 0xff) => "UTF-16",
            _ => "WINDOWS-1252",
        }
    }
}

/// The text that `bytes` are.
///
/// # Errors
/// [`NotUtf8`].
pub fn decode(bytes: Vec<u8>) -> Result<String, NotUtf8> {
    String::from_utf8(bytes).map_err(|error| {
        let byte = error.utf8_error().valid_up_to();
        NotUtf8 { byte, value: error.as_bytes().get(byte).copied().unwrap_or_default() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_names_the_likely_encoding() {
        for (bytes, start, encoding) in [
            (&b"\xff\xfeA\0"[..], "not UTF-8: byte 0 is 0xFF; ", "-f UTF-16 "),
            (b"\xfe\xff\0A", "not UTF-8: byte 0 is 0xFE; ", "-f UTF-16 "),
            (b"caf\xe9", "not UTF-8: byte 3 is 0xE9; ", "-f WINDOWS-1252 "),
            (b"A\xff", "not UTF-8: byte 1 is 0xFF; ", "-f WINDOWS-1252 "),
        ] {
            let message = decode(bytes.to_vec()).unwrap_err().to_string();
            assert!(message.starts_with(start) && message.contains(encoding), "{message}");
        }
        assert_eq!(decode("caf\u{e9}".into()).as_deref(), Ok("caf\u{e9}"));
    }
}
