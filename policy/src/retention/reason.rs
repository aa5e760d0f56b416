//! The words that people see beside each decision.

use crate::span;
use chrono::{DateTime, Utc};
use std::fmt;
use std::time::Duration;

/// Why a backup stays or goes. `Display` gives the words that people see.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The newest proven backup of its lineage.
    NewestProven,
    /// The newest backup of its lineage.
    Newest,
    /// A person holds it, and why.
    Held(String),
    /// Less than this older than the newest.
    Within(Duration),
    /// One of the newest so many.
    Last(u32),
    /// It stands for an hour, like `2026-11-20T14`.
    Hourly(String),
    /// It stands for a day, like `2026-11-20`.
    Daily(String),
    /// It stands for an ISO week, like `2026-W46`.
    Weekly(String),
    /// It stands for a month, like `2026-11`.
    Monthly(String),
    /// It stands for a year, like `2026`.
    Yearly(String),
    /// Fewer proven ones would stay than the configured floor.
    MinProven(u32),
    /// Younger than the configured least age.
    Young(Duration),
    /// Newer than the newest proof, and a proof to come may make it the newest proven.
    MayBeProven,
    /// Its lineage has no proven backup, so nothing of it goes.
    NothingProvenInLineage,
    /// It failed its proof, and a rule keeps it: it stays for whoever asks why.
    Evidence,
    /// Its date lies ahead of our clock, so no rule can judge it.
    FromTheFuture,
    /// It was marked for deletion, and now a rule keeps it again.
    KeptAgain,
    /// The whole plan is frozen.
    Frozen(Freeze),
    /// No rule keeps it.
    NoRule,
    /// A person asked for its deletion, and nothing that holds without a rule keeps it.
    Asked,
    /// It was marked, the grace is over, and still no rule keeps it.
    GraceOver,
}

impl Reason {
    /// The rule's name without its instance, to count by: `daily` for `daily 2026-11-20`, else the words themselves.
    #[must_use]
    pub fn group(&self) -> String {
        match self {
            Reason::Held(_) => "held".to_owned(),
            Reason::Hourly(_) => "hourly".to_owned(),
            Reason::Daily(_) => "daily".to_owned(),
            Reason::Weekly(_) => "weekly".to_owned(),
            Reason::Monthly(_) => "monthly".to_owned(),
            Reason::Yearly(_) => "yearly".to_owned(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NewestProven => f.write_str("newest proven"),
            Reason::Newest => f.write_str("newest"),
            Reason::Held(why) => write!(f, "held: {why}"),
            Reason::Within(span) => write!(f, "within {}", span::print(*span)),
            Reason::Last(count) => write!(f, "last {count}"),
            Reason::Hourly(hour) => write!(f, "hourly {hour}"),
            Reason::Daily(day) => write!(f, "daily {day}"),
            Reason::Weekly(week) => write!(f, "weekly {week}"),
            Reason::Monthly(month) => write!(f, "monthly {month}"),
            Reason::Yearly(year) => write!(f, "yearly {year}"),
            Reason::MinProven(count) => write!(f, "minimum of {count} proven"),
            Reason::Young(span) => write!(f, "younger than {}", span::print(*span)),
            Reason::MayBeProven => f.write_str("not proven yet, may still be"),
            Reason::NothingProvenInLineage => f.write_str("nothing proven in its lineage"),
            Reason::Evidence => f.write_str("kept for evidence"),
            Reason::FromTheFuture => f.write_str("dated in the future"),
            Reason::KeptAgain => f.write_str("was marked, a rule keeps it again"),
            Reason::Frozen(freeze) => write!(f, "frozen: {freeze}"),
            Reason::NoRule => f.write_str("no rule keeps it"),
            Reason::Asked => f.write_str("a person asked for it"),
            Reason::GraceOver => f.write_str("grace over, plan still agrees"),
        }
    }
}

/// Why a plan marks and deletes nothing at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Freeze {
    /// No `keep` in the config.
    NoKeep,
    /// No backup is proven (or only ones dated in the future).
    NothingProven,
    /// The newest backup is so old that rather our clock is wrong, or backups have stopped: no time to delete.
    ClockAhead {
        /// When the newest backup was captured.
        newest: DateTime<Utc>,
        /// Our clock.
        now: DateTime<Utc>,
    },
    /// More to mark and delete than one plan may.
    TooMany {
        /// How many the plan would mark and delete.
        planned: usize,
        /// How many it may.
        max: usize,
    },
}

impl Freeze {
    /// A short fixed name, for metrics and JSON.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Freeze::NoKeep => "no_keep",
            Freeze::NothingProven => "nothing_proven",
            Freeze::ClockAhead { .. } => "clock_ahead",
            Freeze::TooMany { .. } => "too_many",
        }
    }
}

impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Freeze::NoKeep => f.write_str("no `keep` in the config, so nothing is ever deleted"),
            Freeze::NothingProven => f.write_str("no backup is proven, so nothing is deleted: lifeboat prove"),
            Freeze::ClockAhead { newest, now } => write!(
                f,
                "the clock says {}, but the newest backup is of {}: either the clock is ahead or backups have stopped",
                now.format("%Y-%m-%d %H:%M UTC"),
                newest.format("%Y-%m-%d %H:%M UTC"),
            ),
            Freeze::TooMany { planned, max } => write!(
                f,
                "{planned} backups to mark or delete, but `prune.max_deletions` is {max}: check `keep`, or raise it for one run"
            ),
        }
    }
}
