//! What persons ask of single backups and findings: hold, release, delete, ack.

use super::StoreArgs;
use chrono::{DateTime, Utc};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Which key signs what a person asks for.
#[derive(Args, Clone, Debug, Default)]
pub struct SignArgs {
    /// The key that signs this [default: keys.signing_keys.operator]
    #[arg(long, value_name = "FILE")]
    pub signing_key: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct HoldArgs {
    /// A full id, a unique start of it or of its random part, `latest` or `latest-proven`
    pub backup: String,
    /// Why; everybody reads it beside the backup
    #[arg(long, value_name = "TEXT", value_parser = words)]
    pub reason: String,
    /// When the hold ends by itself: a time, a date, or a span from now such as 14d [default: when it is released]
    #[arg(long, value_name = "TIME|SPAN", value_parser = parse_until)]
    pub until: Option<Until>,
    #[command(flatten)]
    pub sign: SignArgs,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Args, Debug)]
pub struct ReleaseArgs {
    /// A full id, a unique start of it or of its random part, `latest` or `latest-proven`
    pub backup: String,
    #[command(flatten)]
    pub sign: SignArgs,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Args, Debug)]
pub struct DeleteArgs {
    /// A full id, a unique start of it or of its random part
    pub backup: String,
    /// Why; it stays readable when the backup is gone
    #[arg(long, value_name = "TEXT", value_parser = words)]
    pub reason: String,
    /// Mark it; prune deletes it after the grace
    #[arg(long)]
    pub apply: bool,
    /// Only say what would be marked: the default
    #[arg(long, conflicts_with = "apply")]
    pub dry_run: bool,
    #[command(flatten)]
    pub sign: SignArgs,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Args, Debug)]
pub struct AckArgs {
    /// The finding to accept, by the id that `lifeboat ack` shows, or a unique start of it [default: list them]
    #[arg(requires = "reason")]
    pub finding: Option<String>,
    /// Why it is accepted
    #[arg(long, value_name = "TEXT", requires = "finding", value_parser = words)]
    pub reason: Option<String>,
    #[command(flatten)]
    pub sign: SignArgs,
    #[command(flatten)]
    pub store: StoreArgs,
}

/// When a hold ends: at a time, or so long after it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    At(DateTime<Utc>),
    In(Duration),
}

impl Until {
    /// The end of a hold made at `now`; `None` past the end of all calendars.
    pub fn from(self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Until::At(at) => Some(at),
            Until::In(span) => now.checked_add_signed(chrono::TimeDelta::from_std(span).ok()?),
        }
    }
}

pub fn parse_until(text: &str) -> Result<Until, String> {
    match (lifeboat_policy::moment::parse(text), lifeboat_policy::span::parse(text)) {
        (Ok(at), _) => Ok(Until::At(at)),
        (_, Ok(span)) => Ok(Until::In(span)),
        (Err(_), Err(_)) => Err(format!(
            "{text:?} is no time: give one like 2026-12-01T02:30:00Z, a date like 2026-12-01, or a span from now like 14d"
        )),
    }
}

/// A reason that says something, on one line: it is shown in tables.
pub fn words(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.is_empty() || text.chars().any(char::is_control) {
        true => Err("give a reason in words, on one line".to_owned()),
        false => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_time_a_date_or_a_span() {
        let now = DateTime::from_timestamp(1_795_400_000, 0).unwrap();
        let end = |text: &str| parse_until(text).map(|until| until.from(now).unwrap().to_rfc3339());
        assert_eq!(end("2026-12-01T02:30:00+01:00").unwrap(), "2026-12-01T01:30:00+00:00");
        assert_eq!(end("2026-12-01").unwrap(), "2026-12-01T00:00:00+00:00");
        assert_eq!(end("14d").unwrap(), "2026-12-07T02:13:20+00:00");
        for wrong in ["", "soon", "14", "-1d", "2026-13-01"] {
            assert!(parse_until(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Until::In(Duration::MAX).from(now), None);
    }

    #[test]
    fn a_reason_is_words_on_one_line() {
        assert_eq!(words(" before 1.37 ").unwrap(), "before 1.37");
        assert!(words("  ").is_err() && words("a\nb").is_err());
    }
}
