//! Bytes as text. Only UTF-8 is read; whoever has another encoding is told how to convert it.

use std::fmt;

use serde::Serialize;

use crate::shown::{clean, shell_word};

/// What editors of some systems begin UTF-8 with, and what is no part of the text.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

/// JSON, say, without a byte order mark in front.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// Why bytes are no text that can be read. The message follows the name of what holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, thiserror::Error)]
#[error("{}", self.of_file("FILE"))]
pub struct NotText {
    /// Offset of the first byte that shows it: one that is not UTF-8, the first NUL of UTF-16, or where the file begins.
    pub byte: usize,
    /// That byte.
    pub value: u8,
    /// What they are likely to be.
    pub likely: Likely,
}

/// What bytes that are no text are likely to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Likely {
    /// Text of one byte per character, in a western language.
    Windows1252,
    /// Text in some other encoding.
    Other,
    /// Text of four bytes per character, with a byte order mark.
    Utf32,
    /// Text of two bytes per character, with a byte order mark.
    Utf16,
    /// The same without a mark, low bytes first.
    Utf16Le,
    /// The same without a mark, high bytes first.
    Utf16Be,
    /// A PDF.
    Pdf,
    /// An office document, or an archive: a ZIP file.
    Zip,
    /// Rich Text.
    Rtf,
    /// No text at all: there are NUL bytes.
    Binary,
}

/// How files begin that hold text, but are none, also where all their bytes are UTF-8.
const MAGIC: [(&[u8], Likely); 3] = [(b"%PDF-", Likely::Pdf), (b"PK\x03\x04", Likely::Zip), (b"{\\rtf", Likely::Rtf)];

impl NotText {
    /// The message where the bytes are those of the file `name`, on one line.
    pub fn of_file(self, name: &str) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            let Self { byte, value, likely } = self;
            let encoding = match likely {
                Likely::Windows1252 => "WINDOWS-1252",
                Likely::Other => "ENCODING",
                Likely::Utf32 => "UTF-32",
                Likely::Utf16 => "UTF-16",
                Likely::Utf16Le => "UTF-16LE",
                Likely::Utf16Be => "UTF-16BE",
                Likely::Pdf => return f.write_str("a PDF; make text of it first, for example with `pdftotext`"),
                Likely::Zip => {
                    return f.write_str(
                        "an office document or an archive; make text of it first, for example with `pandoc -t plain`",
                    );
                }
                Likely::Rtf => {
                    return f.write_str("Rich Text; make text of it first, for example with `pandoc -t plain`");
                }
                Likely::Binary => {
                    return write!(
                        f,
                        "no text: byte {byte} is 0x{value:02X}, and there are NUL bytes; save it as UTF-8 text with the program that made it"
                    );
                }
            };
            // A name that cannot be shown cannot be copied either.
            let file = if clean(name) == name { shell_word(name) } else { "FILE".into() };
            write!(
                f,
                "not UTF-8: byte {byte} is 0x{value:02X}; convert it first, for example with `iconv -f {encoding} -t UTF-8 {file} > NEW`"
            )?;
            match likely {
                Likely::Other => f.write_str(
                    ", where ENCODING is that of the program that made it, such as WINDOWS-1251, SHIFT_JIS or GB18030",
                ),
                _ => Ok(()),
            }
        })
    }
}

/// The text that `bytes` are.
///
/// # Errors
/// [`NotText`]. Letters of UTF-16 without a byte order mark are UTF-8 with a NUL beside each, but not taken for it.
pub fn decode(bytes: Vec<u8>) -> Result<String, NotText> {
    if let Some((magic, likely)) = MAGIC.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Err(NotText { byte: 0, value: magic[0], likely: *likely });
    }
    let wide = wide(&bytes);
    let error = match String::from_utf8(bytes) {
        Ok(text) => {
            let Some(likely) = wide else { return Ok(text) };
            let byte = text.bytes().position(|byte| byte == 0).unwrap_or_default();
            return Err(NotText { byte, value: 0, likely });
        }
        Err(error) => error,
    };
    let (byte, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
    let starts = |marks: [&[u8]; 2]| marks.iter().any(|mark| bytes.starts_with(mark));
    let likely = match wide {
        _ if starts([b"\xff\xfe\0\0", b"\0\0\xfe\xff"]) => Likely::Utf32,
        // Hardly any text of one byte per character starts with these.
        _ if starts([b"\xff\xfe", b"\xfe\xff"]) => Likely::Utf16,
        Some(likely) => likely,
        None if bytes.contains(&0) => Likely::Binary,
        None if is_western(bytes) => Likely::Windows1252,
        None => Likely::Other,
    };
    Err(NotText { byte, value: bytes.get(byte).copied().unwrap_or_default(), likely })
}

/// Whether `bytes` may be Windows-1252: all of them have a meaning there, and at least half of the letters are those of ASCII.
fn is_western(bytes: &[u8]) -> bool {
    let ascii = bytes.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    let high = bytes.iter().filter(|byte| !byte.is_ascii()).count();
    high <= ascii.max(1) && !bytes.iter().any(|byte| matches!(byte, 0x81 | 0x8d | 0x8f | 0x90 | 0x9d))
}

/// Whether `bytes` are UTF-16 by their NULs, which most characters of western languages have in one of their two bytes.
fn wide(bytes: &[u8]) -> Option<Likely> {
    let (pairs, _) = bytes.as_chunks::<2>();
    let first = pairs.iter().filter(|[byte, _]| *byte == 0).count();
    let second = pairs.iter().filter(|[_, byte]| *byte == 0).count();
    let (most, few) = (|count| 4 * count >= 3 * pairs.len(), |count| 4 * count < pairs.len());
    match pairs.len() {
        0 | 1 => None,
        _ if few(first) && most(second) => Some(Likely::Utf16Le),
        _ if most(first) && few(second) => Some(Likely::Utf16Be),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn the_advice_names_the_likely_encoding_and_the_file() {
        let text = "Caf\u{e9} \u{201c}Zoe\u{201d}, open from nine to five";
        let marked = |bytes| utf16(&format!("\u{feff}{text}"), bytes);
        for (bytes, start, encoding) in [
            (marked(u16::to_le_bytes), "not UTF-8: byte 0 is 0xFF; ", "UTF-16"),
            (marked(u16::to_be_bytes), "not UTF-8: byte 0 is 0xFE; ", "UTF-16"),
            (b"\xff\xfe\0\0A\0\0\0".to_vec(), "not UTF-8: byte 0 is 0xFF; ", "UTF-32"),
            (b"\0\0\xfe\xff\0\0\0A".to_vec(), "not UTF-8: byte 2 is 0xFE; ", "UTF-32"),
            (utf16("Open", u16::to_le_bytes), "not UTF-8: byte 1 is 0x00; ", "UTF-16LE"),
            (utf16("Open", u16::to_be_bytes), "not UTF-8: byte 0 is 0x00; ", "UTF-16BE"),
            (utf16(text, u16::to_le_bytes), "not UTF-8: byte 6 is 0xE9; ", "UTF-16LE"),
            (utf16(text, u16::to_be_bytes), "not UTF-8: byte 7 is 0xE9; ", "UTF-16BE"),
            (b"caf\xe9".to_vec(), "not UTF-8: byte 3 is 0xE9; ", "WINDOWS-1252"),
            (b"A\xff".to_vec(), "not UTF-8: byte 1 is 0xFF; ", "WINDOWS-1252"),
            (b"\xffA".to_vec(), "not UTF-8: byte 0 is 0xFF; ", "WINDOWS-1252"),
        ] {
            let problem = decode(bytes).unwrap_err();
            let advice = |file: &str| {
                format!("{start}convert it first, for example with `iconv -f {encoding} -t UTF-8 {file} > NEW`")
            };
            assert_eq!(problem.to_string(), advice("FILE"));
            assert_eq!(problem.of_file("a/b.txt").to_string(), advice("a/b.txt"));
            assert_eq!(problem.of_file("it's.txt").to_string(), advice("'it'\\''s.txt'"));
            assert_eq!(problem.of_file("it's\n.txt").to_string(), advice("FILE"));
        }
        assert_eq!(decode("caf\u{e9}".into()).as_deref(), Ok("caf\u{e9}"));
    }

    /// Windows-1252 would make letters of them, but others than they are.
    #[test]
    fn other_encodings_are_not_guessed() {
        // Windows-1251, Shift-JIS, and a surrogate in three bytes.
        for bytes in
            [&b"\xcc\xe0\xff\xea 1871"[..], b"\x93\x94\x91\xe4\x82\xcd 1871", b"Tower \xed\xa0\xbd\xed\xb0\x8d"]
        {
            assert_eq!(decode(bytes.to_vec()).unwrap_err().likely, Likely::Other);
        }
        let message = decode(b"\xcc\xe0\xff\xea".to_vec()).unwrap_err().of_file("a.txt").to_string();
        assert!(message.contains("`iconv -f ENCODING -t UTF-8 a.txt > NEW`, where ENCODING is"), "{message}");
    }

    #[test]
    fn what_is_no_text_is_not_to_be_converted() {
        for (bytes, what) in [
            (&b"%PDF-1.4 all in ASCII"[..], "a PDF; make text of it first, for example with `pdftotext`"),
            (b"PK\x03\x04\x14", "an office document or an archive; make text of it"),
            (b"{\\rtf1\\ansi A tower.}", "Rich Text; make text of it"),
        ] {
            let message = decode(bytes.to_vec()).unwrap_err().of_file("a.txt").to_string();
            assert!(message.starts_with(what), "{message}");
        }
        for bytes in [&b"\x7fELF\x02\x01\x01\0\0\0\0\xb7"[..], b"\xff\xd8\xff\xe0\0\x10JFIF"] {
            let message = decode(bytes.to_vec()).unwrap_err().to_string();
            assert!(message.starts_with("no text: byte ") && !message.contains("iconv"), "{message}");
        }
        for text in ["", "A", "A\0", "\0\0\0\0", "A\0B and more", "\0A"] {
            assert_eq!(decode(text.into()).as_deref(), Ok(text));
        }
    }
}
