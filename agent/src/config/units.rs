//! Sizes as people write them.

const SIZES: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Bytes from `12GiB`, `512MiB`, `64KiB`, `1TiB`. Decimal units are refused: a limit that is 7 % off is no limit.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let (unit, factor) = SIZES.iter().find(|(unit, _)| text.ends_with(unit))?;
    let digits = text.strip_suffix(unit)?.trim_end();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

/// `50%`, from none to all.
pub(crate) fn parse_percent(text: &str) -> Option<u8> {
    text.strip_suffix('%').and_then(|number| number.parse().ok()).filter(|percent| *percent <= 100)
}

/// The shortest exact way to write a size; sizes that are no whole KiB cannot be written in a config.
pub(crate) fn size_text(bytes: u64) -> String {
    let (unit, factor) = SIZES.iter().find(|(_, factor)| bytes.is_multiple_of(*factor)).unwrap_or(&SIZES[3]);
    format!("{}{unit}", bytes / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_back() {
        for (text, bytes) in [("12GiB", 12 << 30), ("1TiB", 1 << 40), ("512 MiB", 512 << 20), ("1KiB", 1024)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
            assert_eq!(parse_size(&size_text(bytes)), Some(bytes), "{text}");
        }
        for text in ["", "GiB", "12", "12GB", "-1GiB", "1.5GiB", "99999999999999999999GiB", "99999999TiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
