//! How durations are written: `90s`, `15m`, `48h`, `2d`, `8w` in the config and in every text for people.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 7 * 86_400)];
const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 86_400;

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// Nothing there.
    #[error("a duration is missing: write a number and a unit, like 90s, 15m, 48h, 2d or 8w")]
    Empty,
    /// It does not begin with a whole number.
    #[error("`{0}` is not a duration: it must begin with a whole number, like 90s, 15m, 48h, 2d or 8w")]
    Number(String),
    /// A number and nothing after it.
    #[error("`{0}` has no unit: write {0}s, {0}m, {0}h, {0}d or {0}w")]
    NoUnit(String),
    /// A unit that we do not know.
    #[error("`{text}` has the unit `{unit}`: the units are s, m, h, d and w, one to a duration (90m, not 1h30m)")]
    Unit {
        /// The whole text.
        text: String,
        /// What stands after the number.
        unit: String,
    },
    /// More seconds than 64 bits hold.
    #[error("`{0}` is too long for a duration")]
    TooLong(String),
}

/// Reads a duration: a whole number and one of the units `s m h d w`, with or without blanks around it.
///
/// # Errors
/// [`SpanError`] says what is wrong and how to write it.
pub fn parse(text: &str) -> Result<Duration, SpanError> {
    let text = text.trim();
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
    match (number, unit) {
        ("", "") => return Err(SpanError::Empty),
        ("", _) => return Err(SpanError::Number(text.to_owned())),
        (_, "") => return Err(SpanError::NoUnit(text.to_owned())),
        _ => {}
    }
    let Some((_, seconds)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(SpanError::Unit { text: text.to_owned(), unit: unit.to_owned() });
    };
    let too_long = || SpanError::TooLong(text.to_owned());
    let count: u64 = number.parse().map_err(|_| too_long())?;
    count.checked_mul(*seconds).map(Duration::from_secs).ok_or_else(too_long)
}

/// Writes a duration the way people write it in a config: `90s`, `15m`, `48h`; from a week on whole days, `14d`. What
/// [`parse`] reads is printed so that it reads back the same; parts of a second are shown as `250ms`.
#[must_use]
pub fn print(span: Duration) -> String {
    let seconds = span.as_secs();
    if span.subsec_nanos() != 0 {
        return if seconds == 0 { format!("{}ms", span.as_millis()) } else { format!("{:.1}s", span.as_secs_f64()) };
    }
    match seconds {
        0 => "0s".to_owned(),
        s if s >= 7 * DAY && s.is_multiple_of(DAY) => format!("{}d", s / DAY),
        s if s.is_multiple_of(HOUR) => format!("{}h", s / HOUR),
        s if s.is_multiple_of(MINUTE) => format!("{}m", s / MINUTE),
        s => format!("{s}s"),
    }
}

/// How long ago, for people: `12s`, `37m`, `2h 5m`, `1d 4h`, `3d`. Rounded down, two units at most.
#[must_use]
pub fn ago(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / DAY, seconds % DAY / HOUR, seconds % HOUR / MINUTE);
    let two = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big}{big_unit}"),
        _ => format!("{big}{big_unit} {small}{small_unit}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m"),
        (0, _, _) => two(hours, "h", minutes, "m"),
        (1 | 2, _, _) => two(days, "d", hours, "h"),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_is_read() {
        for (text, seconds) in
            [("90s", 90), ("15m", 900), ("48h", 172_800), ("2d", 172_800), ("8w", 4_838_400), (" 0s ", 0)]
        {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn an_error_names_what_is_wrong() {
        let said = |text: &str| parse(text).unwrap_err().to_string();
        assert!(said("").contains("missing"));
        assert!(said("h").contains("must begin with a whole number"));
        assert!(said("-5m").contains("must begin with a whole number"));
        assert!(said("15").contains("15s, 15m"));
        assert!(said("1h30m").contains("90m, not 1h30m"));
        assert!(said("1.5h").contains("unit `.5h`"));
        assert!(said("15 m").contains("unit ` m`"));
        assert!(said("99999999999999999999s").contains("too long"));
        assert!(said("99999999999999999w").contains("too long"));
        assert!(said("5\u{b5}s").contains("unit"));
    }

    #[test]
    fn printing_keeps_the_unit_that_people_use() {
        for text in ["0s", "45s", "90m", "15m", "24h", "48h", "72h", "14d", "30d"] {
            assert_eq!(print(parse(text).unwrap()), text);
        }
        assert_eq!(print(parse("90s").unwrap()), "90s");
        assert_eq!(print(Duration::from_millis(250)), "250ms");
        assert_eq!(print(Duration::from_millis(1500)), "1.5s");
    }

    #[test]
    fn ago_is_short() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (2220, "37m"),
            (7500, "2h 5m"),
            (3600, "1h"),
            (100_800, "1d 4h"),
            (86_400, "1d"),
            (300_000, "3d"),
        ] {
            assert_eq!(ago(Duration::from_secs(seconds)), text);
        }
    }
}
