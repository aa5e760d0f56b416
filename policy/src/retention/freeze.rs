//! When a plan is refused whole.

use super::{Circumstances, Facts, Keep, Rules};
use crate::id::BackupId;
use crate::moment;
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// Past this age of the newest backup a plan is frozen: nobody can tell a clock that is ahead from backups that stopped.
const NEWEST_AT_MOST: Duration = Duration::from_secs(30 * 86_400);

/// From so many lost keys on, half the loss that is otherwise suspicious is: see [`collapse`].
const THOUSANDS: u64 = 1000;

/// Why a plan marks and deletes nothing at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    /// The newest proven backup is older than it should be: what is to be deleted may be all that restores.
    ProofLate {
        /// Until when it was recent enough.
        deadline: DateTime<Utc>,
    },
    /// The signed history is not whole: what the store holds is not what was put there.
    Findings(Vec<String>),
    /// A backup has lost much of what the one before it had, and nobody has acknowledged it.
    Shrunk {
        /// The smaller backup.
        id: BackupId,
        /// The one before it.
        before: BackupId,
        /// What it lost: `keys` or `bytes`.
        what: &'static str,
        /// How many there were.
        had: u64,
        /// How many there are.
        has: u64,
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
    /// Every name that [`as_str`](Self::as_str) gives.
    pub const NAMES: [&'static str; 7] =
        ["no_keep", "nothing_proven", "clock_ahead", "proof_late", "findings", "shrunk", "too_many"];

    /// A short fixed name, for metrics and JSON.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Freeze::NoKeep => "no_keep",
            Freeze::NothingProven => "nothing_proven",
            Freeze::ClockAhead { .. } => "clock_ahead",
            Freeze::ProofLate { .. } => "proof_late",
            Freeze::Findings(_) => "findings",
            Freeze::Shrunk { .. } => "shrunk",
            Freeze::TooMany { .. } => "too_many",
        }
    }
}

impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |at: &DateTime<Utc>| at.format("%Y-%m-%d %H:%M UTC").to_string();
        match self {
            Freeze::NoKeep => f.write_str("no `keep` in the config, so nothing is ever deleted"),
            Freeze::NothingProven => f.write_str("no backup is proven, so nothing is deleted: lifeboat prove"),
            Freeze::ClockAhead { newest, now } => write!(
                f,
                "the clock says {}, but the newest backup is of {}: either the clock is ahead or backups have stopped",
                time(now),
                time(newest),
            ),
            Freeze::ProofLate { deadline } => write!(
                f,
                "a newer proven backup was due by {}: find out why proofs stopped, or lifeboat prove latest",
                time(deadline),
            ),
            Freeze::Findings(findings) => match findings.as_slice() {
                [] => f.write_str("the history of the store is not whole"),
                [only] => write!(f, "the history of the store is not whole: {only}; lifeboat ack"),
                [first, more @ ..] => {
                    write!(f, "the history of the store is not whole: {first}, and {} more; lifeboat ack", more.len())
                }
            },
            Freeze::Shrunk { id, before, what, had, has } => write!(
                f,
                "backup {id} has {has} {what} where {before} had {had}, and nobody has accepted that: lifeboat ack",
            ),
            Freeze::TooMany { planned, max } => write!(
                f,
                "{planned} backups to mark or delete, but `prune.max_deletions` is {max}: check `keep`, or raise it for one run"
            ),
        }
    }
}

/// The rules, if there is anything that may be judged by them. `present` are the entries not dated in the future, in order.
pub(super) fn judgeable<'r>(
    present: &[&Facts],
    rules: &'r Rules,
    circumstances: &Circumstances,
    now: DateTime<Utc>,
) -> Result<&'r Keep, Freeze> {
    let keep = rules.keep.as_ref().ok_or(Freeze::NoKeep)?;
    if !present.iter().any(|entry| entry.standing.is_proven()) {
        return Err(Freeze::NothingProven);
    }
    let newest = present.iter().map(|entry| entry.captured_at).max().unwrap_or(now);
    if moment::between(newest, now) > NEWEST_AT_MOST {
        return Err(Freeze::ClockAhead { newest, now });
    }
    if let Some(deadline) = circumstances.proof_deadline
        && deadline < now
    {
        return Err(Freeze::ProofLate { deadline });
    }
    if !circumstances.findings.is_empty() {
        return Err(Freeze::Findings(circumstances.findings.clone()));
    }
    match rules.freeze_if_shrunk.and_then(|percent| shrunk(present, percent, &circumstances.acked)) {
        Some(shrunk) => Err(shrunk),
        None => Ok(keep),
    }
}

/// The newest backup of the newest lineage that shrank and that nobody acknowledged.
///
/// Every backup is held against those that its writer saw before it, as long as they are there, and not only the newest:
/// the next backup is as small as the shrunk one, and must not end the freeze. The newest one is held against its
/// predecessor in order as well. Older ones are not: what pruning made neighbours may be a year apart.
fn shrunk(present: &[&Facts], percent: u8, acked: &BTreeSet<BackupId>) -> Option<Freeze> {
    let lineage = present.chunk_by(|a, b| a.lineage == b.lineage).next()?;
    let places: BTreeMap<&BackupId, usize> = lineage.iter().enumerate().map(|(at, entry)| (&entry.id, at)).collect();
    lineage.iter().enumerate().filter(|(_, entry)| !acked.contains(&entry.id)).find_map(|(at, entry)| {
        let parents = entry.parents.iter().filter_map(|id| places.get(id).copied()).filter(|parent| *parent > at);
        let mut before: BTreeSet<usize> = parents.collect();
        before.extend((at == 0).then_some(1));
        before.into_iter().filter_map(|place| lineage.get(place)).find_map(|before| collapse(before, entry, percent))
    })
}

/// Whether `after` has less than `percent` of the keys or bytes of `before`.
///
/// Keys are also missed by the thousand: where at least 1000 are gone, half of that loss suffices (a quarter of all, with
/// 50 %). A number alone would not do: on a big cluster thousands of events expire between two backups.
fn collapse(before: &Facts, after: &Facts, percent: u8) -> Option<Freeze> {
    let below = |had: u64, has: u64, of_200: u16| u128::from(has) * 200 < u128::from(had) * u128::from(of_200);
    let share = u16::from(percent.min(100));
    let by_thousands =
        before.keys.saturating_sub(after.keys) >= THOUSANDS && below(before.keys, after.keys, 100 + share);
    let (what, had, has) = if below(before.keys, after.keys, 2 * share) || by_thousands {
        ("keys", before.keys, after.keys)
    } else if below(before.db_bytes, after.db_bytes, 2 * share) {
        ("bytes", before.db_bytes, after.db_bytes)
    } else {
        return None;
    };
    Some(Freeze::Shrunk { id: after.id.clone(), before: before.id.clone(), what, had, has })
}
