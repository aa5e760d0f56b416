//! Which backups stay, which go, and why: facts of trusted entries + rules + now -> a plan with a reason for every entry.
//!
//! The order of backups is (lineage, revision, capture time): the clock alone never decides which is newer. Lineages (a
//! cluster that was restored or re-created begins a new one) are pruned apart.
//!
//! What holds whatever the rules say:
//! - while nothing is proven, or no `keep` is configured, nothing goes; in a lineage without a proof, nothing of it goes;
//! - the newest and the newest proven backup of each lineage stay, and so do its `min_proven` newest proven ones;
//! - what is younger than `min_age`, held, or newer than the newest proof and may still be proven, stays;
//! - failed and unproven backups never take the place of a proven one (see the rules below);
//! - a backup that a person asked to have deleted counts for no rule, and goes unless one of the lines above keeps it
//!   (`min_age` does not);
//! - backups dated in the future stay and change nothing for others; nor do late ones, which stay until a person asks for
//!   their deletion and count for no budget;
//! - a plan that marks and deletes more than `max_deletions` is refused whole.
//!
//! **How a rule counts.** `daily: 14` keeps one backup of each of the newest 14 days that have one: the newest proven of
//! the day, else the newest that may still be proven, else the newest. Days are counted three times, over the proven
//! backups, over those that did not fail, and over all, and what any count keeps stays: two weeks of failing proofs
//! therefore push out no proven day, and where all is proven the three counts are one. `last` counts the same way.
//! `within` counts back from the newest backup of the lineage, not from now: a clock that jumps ahead ages nothing.
//! `within_daily: 90d` keeps one backup, as `daily` chooses it, of every day that the 90 days before the newest touch. There is
//! no number to use up, so the three counts come to the same.
//!
//! **The budget** bounds the bytes of what is kept. What only a rule keeps goes first: failed backups, then unproven ones,
//! then proven ones, the oldest of each first, of the oldest lineage first. What is kept whatever the rules say is never
//! given up for it: where that alone is more, the plan says so and nobody loses a backup.
//!
//! **Freezes.** A plan may be refused whole; [`Freeze`] says why. A shrunk backup freezes until a person acknowledged it,
//! however many more are taken meanwhile.

mod bucket;
mod budget;
mod decide;
mod freeze;
mod lineage;
mod reason;
mod steady;

pub use decide::{newest_proven, plan};
pub use freeze::Freeze;
pub use reason::Reason;
pub use steady::{Steady, steady};

use crate::id::BackupId;
use crate::proof::Standing;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use std::collections::BTreeSet;
use std::time::Duration;

/// The `keep` rules of the config. What several rules keep is kept once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The newest so many backups.
    pub last: u32,
    /// One for each of the newest so many hours that have a backup.
    pub hourly: u32,
    /// One for each of the newest so many days.
    pub daily: u32,
    /// One for each of the newest so many ISO weeks.
    pub weekly: u32,
    /// One for each of the newest so many months.
    pub monthly: u32,
    /// One for each of the newest so many quarters.
    pub quarterly: u32,
    /// One for each of the newest so many years.
    pub yearly: u32,
    /// Everything less than this older than the newest backup.
    pub within: Option<Duration>,
    /// One for each hour that reaches into so long before the newest backup.
    pub within_hourly: Option<Duration>,
    /// The same for each day.
    pub within_daily: Option<Duration>,
    /// The same for each ISO week.
    pub within_weekly: Option<Duration>,
    /// The same for each month.
    pub within_monthly: Option<Duration>,
    /// The same for each quarter.
    pub within_quarterly: Option<Duration>,
    /// The same for each year.
    pub within_yearly: Option<Duration>,
    /// At least so many proven backups, the newest ones.
    pub min_proven: u32,
    /// At most so many bytes, as far as what no rule may give up leaves a choice.
    pub budget: Option<u64>,
}

impl Default for Keep {
    /// No rule, and a floor of two proven backups.
    fn default() -> Self {
        Keep {
            last: 0,
            hourly: 0,
            daily: 0,
            weekly: 0,
            monthly: 0,
            quarterly: 0,
            yearly: 0,
            within: None,
            within_hourly: None,
            within_daily: None,
            within_weekly: None,
            within_monthly: None,
            within_quarterly: None,
            within_yearly: None,
            min_proven: 2,
            budget: None,
        }
    }
}

/// Everything that a plan follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What to keep. `None`: nothing is ever deleted.
    pub keep: Option<Keep>,
    /// The zone whose days, weeks, months, quarters and years count.
    pub time_zone: Tz,
    /// How long a marked backup waits before it is deleted.
    pub grace: Duration,
    /// What is younger than this stays.
    pub min_age: Duration,
    /// The most that one plan may mark and delete; a bigger plan is refused whole.
    pub max_deletions: usize,
    /// In percent: a backup with fewer keys or bytes than this share of the one before it freezes the plan. `None`: never.
    pub freeze_if_shrunk: Option<u8>,
}

/// What a plan depends on besides the backups, the rules and the time. By default nothing is known that speaks against it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// Until when the newest proof is recent enough. `None` where nobody can say: then it is.
    pub proof_deadline: Option<DateTime<Utc>>,
    /// The shrunk backups that a person has looked at.
    pub acked: BTreeSet<BackupId>,
    /// What `verify` found in the history of the store, in words, and nobody has acknowledged.
    pub findings: Vec<String>,
}

/// What is known of one trusted backup.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Its name.
    pub id: BackupId,
    /// Which history of the cluster it belongs to.
    pub lineage: String,
    /// etcd's revision, from the captured bytes.
    pub revision: i64,
    /// When it was captured, by the clock of the node that took it.
    pub captured_at: DateTime<Utc>,
    /// What its verdicts come to.
    pub standing: Standing,
    /// Why a person holds it, if one does.
    pub hold: Option<String>,
    /// Its tombstone, if it is marked for deletion. Of several, the one that deletes last.
    pub tombstone: Option<TombstoneFact>,
    /// Bytes that it takes in the store.
    pub sealed_bytes: u64,
    /// Keys alive at its revision.
    pub keys: u64,
    /// Bytes of the database.
    pub db_bytes: u64,
    /// The backups that its writer saw as the newest.
    pub parents: Vec<BackupId>,
    /// Whether it came into the store long after the time it claims, and nobody accepted that: see [`crate::late`].
    pub late: bool,
}

impl Facts {
    /// Whether a person asked for its deletion: then it counts for no rule.
    pub(crate) fn is_asked(&self) -> bool {
        self.tombstone.is_some_and(|tombstone| tombstone.asked)
    }
}

/// A planned deletion, from the signed tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TombstoneFact {
    /// When it was written: the later of its own claim and the store's time.
    pub at: DateTime<Utc>,
    /// From when on the backup may be deleted, by its own claim. It waits for the grace configured now as well.
    pub deletable_from: DateTime<Utc>,
    /// A person asked for it: no keep rule saves the backup, but whatever holds without any rule does.
    pub asked: bool,
}

/// What becomes of each backup.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Why nothing may be marked or deleted at all, if so. Every action is then `Keep`.
    pub frozen: Option<Freeze>,
    /// A warning: what no rule may give up is more than the budget. Nothing more is deleted for it.
    pub over_budget: Option<OverBudget>,
    /// One verdict for each backup, newest first, the newest lineage first.
    pub verdicts: Vec<Verdict>,
}

/// By how much the backups that stay whatever the rules say exceed the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverBudget {
    /// Bytes of these backups.
    pub guarded_bytes: u64,
    /// Bytes that the budget allows.
    pub budget: u64,
}

/// What becomes of one backup.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Which backup.
    pub id: BackupId,
    /// What to do.
    pub action: Action,
    /// Why, the weightiest first; never empty.
    pub reasons: Vec<Reason>,
}

/// What to do with one backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Leave it.
    Keep,
    /// Write a tombstone.
    Mark {
        /// From when on it may be deleted.
        deletable_from: DateTime<Utc>,
    },
    /// It is marked, and the grace is not over or others must go first.
    Wait {
        /// From when on it may be deleted.
        deletable_from: DateTime<Utc>,
    },
    /// It is marked, the grace is over, and no rule keeps it: delete it.
    Delete,
}

impl Plan {
    /// The verdict on one backup.
    #[must_use]
    pub fn verdict(&self, id: &BackupId) -> Option<&Verdict> {
        self.verdicts.iter().find(|verdict| verdict.id == *id)
    }

    /// The backups that stay, newest first.
    pub fn kept(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| verdict.action == Action::Keep)
    }

    /// The backups to write a tombstone for, newest first.
    pub fn marked(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| matches!(verdict.action, Action::Mark { .. }))
    }

    /// The backups that wait for the end of their grace, newest first.
    pub fn waiting(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| matches!(verdict.action, Action::Wait { .. }))
    }

    /// The backups to delete now, newest first.
    pub fn deleted(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| verdict.action == Action::Delete)
    }
}
