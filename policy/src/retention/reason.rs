//! The words that people see beside each decision.

use super::Freeze;
use crate::span;
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
    /// It stands for a quarter, like `2026-Q4`.
    Quarterly(String),
    /// It stands for a year, like `2026`.
    Yearly(String),
    /// It stands for a bucket of a rule like `within_daily`, and is recent enough.
    WithinEach {
        /// The rule without its `within_`, like `daily`.
        period: &'static str,
        /// The bucket, like `2026-11-20`.
        bucket: String,
    },
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
    /// It came into the store long after the time it claims: a person has to look first.
    Late,
    /// It was marked for deletion, and now a rule keeps it again.
    KeptAgain,
    /// The whole plan is frozen.
    Frozen(Freeze),
    /// No rule keeps it.
    NoRule,
    /// A person asked for its deletion, and nothing that holds without a rule keeps it.
    Asked,
    /// A rule would keep it, but with it the kept ones would be more than the budget.
    OverBudget,
    /// It is over budget and due, but if it went now a marked backup would take its place in a rule: that one goes first.
    AfterOthers,
    /// It was marked, the grace is over, and still no rule keeps it.
    GraceOver,
}

impl Reason {
    /// The rule's name without its instance, to count by: `daily` for `daily 2026-11-20`, else the words themselves.
    #[must_use]
    pub fn group(&self) -> String {
        match self {
            Reason::Held(_) => "held".to_owned(),
            Reason::Frozen(_) => "frozen".to_owned(),
            Reason::Hourly(_) => "hourly".to_owned(),
            Reason::Daily(_) => "daily".to_owned(),
            Reason::Weekly(_) => "weekly".to_owned(),
            Reason::Monthly(_) => "monthly".to_owned(),
            Reason::Quarterly(_) => "quarterly".to_owned(),
            Reason::Yearly(_) => "yearly".to_owned(),
            Reason::WithinEach { period, .. } => format!("within_{period}"),
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
            Reason::Quarterly(quarter) => write!(f, "quarterly {quarter}"),
            Reason::WithinEach { period, bucket } => write!(f, "within_{period} {bucket}"),
            Reason::Yearly(year) => write!(f, "yearly {year}"),
            Reason::MinProven(count) => write!(f, "minimum of {count} proven"),
            Reason::Young(span) => write!(f, "younger than {}", span::print(*span)),
            Reason::MayBeProven => f.write_str("not proven yet, may still be"),
            Reason::NothingProvenInLineage => f.write_str("nothing proven in its lineage"),
            Reason::Evidence => f.write_str("kept for evidence"),
            Reason::FromTheFuture => f.write_str("dated in the future"),
            Reason::Late => f.write_str("late: came long after its time"),
            Reason::KeptAgain => f.write_str("was marked, a rule keeps it again"),
            // The whole plan says why at length; here it would stand beside every backup.
            Reason::Frozen(freeze) => write!(f, "frozen: {}", freeze.as_str()),
            Reason::NoRule => f.write_str("no rule keeps it"),
            Reason::Asked => f.write_str("a person asked for it"),
            Reason::OverBudget => f.write_str("over budget"),
            Reason::AfterOthers => f.write_str("goes after those that would take its place"),
            Reason::GraceOver => f.write_str("grace over, plan still agrees"),
        }
    }
}
