//! An attachment of a message: an image or a text. Its type is detected from its bytes, never from its name.

use serde::{Deserialize, Serialize};

use super::{Invalid, validated_string, words};

/// Maximum size of an image in bytes; base64 makes it a third larger in requests.
pub const IMAGE_BYTES_MAX: usize = 3_700_000;
/// Maximum length of an image's side, in pixels.
pub const IMAGE_SIDE_MAX: u32 = 8_000;
/// Maximum size of a text file in bytes.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Maximum length of a stored name, in characters.
const NAME_MAX: usize = 100;

validated_string! {
    /// The id of an attachment: the SHA-256 of its bytes in hexadecimal.
    AttachmentId, check_id
}

fn check_id(text: &str) -> Result<(), Invalid> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if text.len() == 64 && is_hex { Ok(()) } else { Err(Invalid::new("An attachment's id has 64 hexadecimal digits.")) }
}

/// The type of an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AttachmentKind {
    /// An image.
    Png,
    /// An image.
    Jpeg,
    /// An image.
    Webp,
    /// An image.
    Gif,
    /// Text in UTF-8.
    Text,
}

words!(AttachmentKind { Png = "png", Jpeg = "jpeg", Webp = "webp", Gif = "gif", Text = "text" });

impl AttachmentKind {
    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
            Self::Gif => "image/gif",
            Self::Text => "text/plain; charset=utf-8",
        }
    }

    /// Whether it is an image.
    pub fn is_image(self) -> bool {
        self != Self::Text
    }
}

/// An attachment of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The hash of its bytes.
    pub id: AttachmentId,
    /// Its file name; only for display.
    pub name: String,
    /// Its type.
    pub kind: AttachmentKind,
    /// Its size in bytes.
    pub bytes: u64,
    /// An image's width and height in pixels.
    pub size: Option<(u32, u32)>,
}

/// The last part of a path, without control and special characters.
pub fn file_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String =
        last.chars().filter(|c| !c.is_control() && !matches!(c, '<' | '>' | '"')).take(NAME_MAX).collect();
    match clean.trim() {
        "" => "file".to_owned(),
        name => name.to_owned(),
    }
}

/// Detects the type of these bytes, and an image's width and height; rejects types that cannot be attached.
pub fn recognise(bytes: &[u8]) -> Result<(AttachmentKind, Option<(u32, u32)>), Invalid> {
    let Some((kind, size)) = image(bytes) else {
        if bytes.is_empty() {
            return Err(Invalid::new("It is empty."));
        }
        if std::str::from_utf8(bytes).is_err() || bytes.contains(&0) {
            return Err(Invalid::new(
                "It is neither an image (PNG, JPEG, WebP, GIF) nor text in UTF-8. Other files cannot be attached.",
            ));
        }
        if bytes.len() > TEXT_BYTES_MAX {
            return Err(Invalid::new(format!("A text file can have at most {} KiB.", TEXT_BYTES_MAX / 1024)));
        }
        return Ok((AttachmentKind::Text, None));
    };
    if bytes.len() > IMAGE_BYTES_MAX {
        return Err(Invalid::new("An image can have at most 3.7 MB: make it smaller, or send a part of it."));
    }
    let Some((width, height)) = size.filter(|(width, height)| *width > 0 && *height > 0) else {
        return Err(Invalid::new("The image is damaged: its size cannot be read."));
    };
    if width.max(height) > IMAGE_SIDE_MAX {
        return Err(Invalid::new(format!("An image can have at most {IMAGE_SIDE_MAX} pixels on each side.")));
    }
    Ok((kind, Some((width, height))))
}

/// The type of an image and its size; `None` if the bytes do not start like an image.
fn image(bytes: &[u8]) -> Option<(AttachmentKind, Option<(u32, u32)>)> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        let size = (bytes.get(12..16) == Some(b"IHDR")).then(|| Some((big(bytes, 16, 4)?, big(bytes, 20, 4)?)));
        return Some((AttachmentKind::Png, size.flatten()));
    }
    if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
        let size = little(bytes, 6, 2).zip(little(bytes, 8, 2));
        return Some((AttachmentKind::Gif, size));
    }
    if bytes.starts_with(b"\xff\xd8\xff") {
        return Some((AttachmentKind::Jpeg, jpeg_size(bytes)));
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Some((AttachmentKind::Webp, webp_size(bytes)));
    }
    None
}

/// A big-endian number of up to four bytes.
fn big(bytes: &[u8], at: usize, count: usize) -> Option<u32> {
    Some(bytes.get(at..at + count)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

/// A little-endian number of up to four bytes.
fn little(bytes: &[u8], at: usize, count: usize) -> Option<u32> {
    Some(bytes.get(at..at + count)?.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

/// Scans the segments for the size.
fn jpeg_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        // Any number of fill bytes may precede a marker.
        while bytes.get(at)? == &0xff && bytes.get(at + 1)? == &0xff {
            at += 1;
        }
        if bytes.get(at)? != &0xff {
            return None;
        }
        match bytes.get(at + 1)? {
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                return big(bytes, at + 7, 2).zip(big(bytes, at + 5, 2));
            }
            0x01 | 0xd0..=0xd8 => at += 2,
            // Image data, or the end, before any size.
            0xd9 | 0xda => return None,
            _ => at += 2 + usize::try_from(big(bytes, at + 2, 2)?).ok()?.max(2),
        }
    }
}

fn webp_size(bytes: &[u8]) -> Option<(u32, u32)> {
    match bytes.get(12..16)? {
        b"VP8X" => Some((little(bytes, 24, 3)? + 1, little(bytes, 27, 3)? + 1)),
        b"VP8L" if bytes.get(20)? == &0x2f => {
            let packed = little(bytes, 21, 4)?;
            Some(((packed & 0x3fff) + 1, (packed >> 14 & 0x3fff) + 1))
        }
        b"VP8 " if bytes.get(23..26)? == b"\x9d\x01\x2a" => {
            Some((little(bytes, 26, 2)? & 0x3fff, little(bytes, 28, 2)? & 0x3fff))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice(), &width.to_be_bytes(), &height.to_be_bytes(), &[8, 6, 0, 0, 0]]
            .concat()
    }

    #[test]
    fn images_are_detected_from_their_bytes() {
        use AttachmentKind::{Gif, Jpeg, Png, Webp};
        let jpeg = b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xdb\0\x03x\xff\xc2\0\x11\x08\x01\x02\x03\x04\x03";
        let lossy = b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0abc\x9d\x01\x2a\x40\x01\xf0\x40";
        let lossless =
            [b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f".as_slice(), &(0x63_u32 | 0x31 << 14).to_le_bytes()].concat();
        let extended = b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0\x63\0\0\x31\0\0";
        for (bytes, expected) in [
            (png(640, 480).as_slice(), (Png, (640, 480))),
            (b"GIF89a\x10\x00\x20\x01", (Gif, (16, 288))),
            (jpeg, (Jpeg, (0x0304, 0x0102))),
            (lossy, (Webp, (320, 240))),
            (&lossless, (Webp, (100, 50))),
            (extended, (Webp, (100, 50))),
        ] {
            assert_eq!(recognise(bytes), Ok((expected.0, Some(expected.1))));
            // A truncated image is rejected, and nothing panics.
            for end in 0..bytes.len() {
                let cut = recognise(&bytes[..end]);
                assert!(!matches!(cut, Ok((_, Some(size))) if size != expected.1), "{end}");
            }
        }
    }

    #[test]
    fn rejected_files_get_a_reason() {
        assert_eq!(recognise("Grüße\n".as_bytes()), Ok((AttachmentKind::Text, None)));
        for (bytes, word) in [
            (Vec::new(), "empty"),
            (b"%PDF-1.7\xff\xfe".to_vec(), "neither an image"),
            (b"MZ\0\0".to_vec(), "neither an image"),
            (b"\x89PNG\r\n\x1a\nrest".to_vec(), "damaged"),
            (png(0, 7), "damaged"),
            (png(8001, 7), "8000 pixels"),
            (vec![b'x'; TEXT_BYTES_MAX + 1], "256 KiB"),
            ([png(9, 9), vec![0; IMAGE_BYTES_MAX]].concat(), "3.7 MB"),
        ] {
            assert!(recognise(&bytes).expect_err(word).0.contains(word), "{word}");
        }
    }

    #[test]
    fn names_contain_no_path() {
        for (given, kept) in [
            ("a.png", "a.png"),
            ("C:\\x\\Screen shot.png", "Screen shot.png"),
            ("../../etc/passwd", "passwd"),
            ("a\"><b\n.txt", "ab.txt"),
            (" \t", "file"),
            ("", "file"),
        ] {
            assert_eq!(file_name(given), kept);
        }
        assert_eq!(file_name(&"ä".repeat(300)).chars().count(), 100);
        assert!("0".repeat(64).parse::<AttachmentId>().is_ok());
        for wrong in ["", "../x", &"0".repeat(63), &"A".repeat(64)] {
            assert!(wrong.parse::<AttachmentId>().is_err());
        }
    }
}
