//! How answers leave: one JSON document or text on standard output, everything else on standard error.

use crate::error::Error;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

pub struct Output {
    json: bool,
    quiet: bool,
    /// Whether the one document stands on standard output already.
    answered: AtomicBool,
}

impl Output {
    pub fn new(json: bool, quiet: bool) -> Self {
        Output { json, quiet, answered: AtomicBool::new(false) }
    }

    /// The answer: `fields` as a JSON document, or `text`.
    pub fn answer(&self, now: DateTime<Utc>, cluster: Option<&str>, fields: Value, text: &str) {
        self.answered.store(true, Ordering::Relaxed);
        if !self.json {
            return print(text);
        }
        let mut document = Map::new();
        document.insert("version".to_owned(), json!(1));
        document.insert("generated_at".to_owned(), json!(time(now)));
        if let Some(cluster) = cluster {
            document.insert("cluster".to_owned(), json!(cluster));
        }
        if let Value::Object(fields) = fields {
            document.extend(fields);
        }
        print(&format!("{:#}\n", Value::Object(document)));
    }

    /// A remark on the way; not part of the answer.
    pub fn remark(&self, text: &str) {
        if !self.quiet {
            complain(text);
        }
    }

    /// An answer that is bad news (`status` with findings, a proof that failed) stays the only document: then the error
    /// goes to people alone.
    pub fn failure(&self, error: &Error) {
        if self.json && !self.answered.load(Ordering::Relaxed) {
            let now = crate::clock::Clock::now(&crate::clock::SystemClock);
            self.answer(now, None, json!({ "error": failure(error) }), "");
            return;
        }
        let mut text = format!("lifeboat: {error}\n");
        if let Some(hint) = &error.hint {
            text.push_str(&format!("  next: {hint}\n"));
        }
        complain(&text);
    }

    /// Whether questions and progress bars reach a person.
    pub fn is_terminal(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }
}

fn failure(error: &Error) -> Value {
    json!({
        "exit_code": error.reason.exit_code(),
        "reason": error.reason.name(),
        "message": error.message,
        "hint": error.hint,
        "retryable": error.reason.retryable(),
        "operation": error.operation,
        "object": error.object,
        "causes": error.causes(),
    })
}

/// A reader that went away (`| head`) is no failure of ours.
fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

fn complain(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// RFC 3339 in UTC, to the second, as all times in JSON are.
pub fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// A time as people read it.
pub fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// `1 backup`, `2 backups`.
pub fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// `312 MiB`: three figures are enough for a person.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ if value < 100.0 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// `48,219,655`: revisions are compared by eye.
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_revisions_read_like_a_person_writes_them() {
        assert_eq!(size(17), "17 B");
        assert_eq!(size(312 << 20), "312 MiB");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(grouped(48_219_655), "48,219,655");
        assert_eq!(grouped(-1), "-1");
        assert_eq!(grouped(100), "100");
    }
}
