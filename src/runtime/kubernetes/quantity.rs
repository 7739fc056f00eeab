//! Kubernetes quantities such as `12Mi` or `250m`. Pure.

/// Reads a quantity in thousandths. Returns 0 for text that is not a quantity. Accepts fractions (`1.5Gi`).
pub(super) fn thousandths(text: &str) -> u64 {
    scaled(text, 1_000)
}

/// Reads a quantity in billionths, the unit of measured CPU time.
pub(super) fn billionths(text: &str) -> u64 {
    scaled(text, 1_000_000_000)
}

/// Reads a quantity in whole units, such as bytes.
pub(super) fn units(text: &str) -> u64 {
    scaled(text, 1)
}

fn scaled(text: &str, scale: u64) -> u64 {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u128 = whole.parse().unwrap_or(0);
    let digits = u32::try_from(fraction.len()).unwrap_or(u32::MAX);
    let (fraction, of): (u128, u128) = match (fraction.parse(), 10_u128.checked_pow(digits)) {
        (Ok(fraction), Some(of)) => (fraction, of),
        _ => (0, 1),
    };
    let (times, by): (u128, u128) = match suffix {
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        _ => (1, 1),
    };
    let factor = times.saturating_mul(u128::from(scale));
    let value = whole.saturating_mul(factor) + fraction.saturating_mul(factor) / of;
    u64::try_from(value / by).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read() {
        assert_eq!(units("12Mi"), 12 * 1024 * 1024);
        assert_eq!(units("1.5Gi"), 1536 * 1024 * 1024);
        assert_eq!(units("134217728"), 134_217_728);
        assert_eq!(thousandths("250m"), 250);
        assert_eq!(thousandths("1"), 1000);
        assert_eq!(thousandths("0.5"), 500);
        assert_eq!(billionths("1500000n"), 1_500_000);
        assert_eq!(billionths("3m"), 3_000_000);
        assert_eq!(units("99999999999999999999Ti"), u64::MAX);
        for nothing in ["", "Mi", "-", "1x2"] {
            assert!(units(nothing) <= 1, "{nothing}");
        }
    }
}
