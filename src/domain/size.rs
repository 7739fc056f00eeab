//! Formats sizes.

use std::fmt;

/// A number of bytes: `812 B`, `3.4 KiB`, `180 MiB`, `1.2 GiB`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, word) = match self.0 {
            0..0x400 => return write!(f, "{} B", self.0),
            0x400..0x10_0000 => (0x400, "KiB"),
            0x10_0000..0x4000_0000 => (0x10_0000, "MiB"),
            0x4000_0000.. => (0x4000_0000, "GiB"),
        };
        let (whole, rest) = (self.0 / unit, self.0 % unit);
        if whole < 10 { write!(f, "{whole}.{} {word}", rest * 10 / unit) } else { write!(f, "{whole} {word}") }
    }
}

#[cfg(test)]
mod tests {
    use super::Bytes;

    #[test]
    fn sizes_are_formatted() {
        for (bytes, words) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (3_500, "3.4 KiB"),
            (23 << 20, "23 MiB"),
            ((180 << 20) + 5, "180 MiB"),
            (1_300_000_000, "1.2 GiB"),
            (u64::MAX, "17179869183 GiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), words);
        }
    }
}
