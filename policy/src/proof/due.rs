//! Which backups a prover takes up next, how deep, and why.

use super::{Level, Outcome, Standing, VerdictFact, standing};
use crate::id::BackupId;
use crate::moment;
use crate::schedule::mix;
use chrono::{DateTime, Utc};
use std::fmt;
use std::time::Duration;

/// What decides about one backup in one store.
#[derive(Clone, Debug, PartialEq)]
pub struct ProofFacts {
    /// Its name.
    pub id: BackupId,
    /// The history it belongs to.
    pub lineage: String,
    /// When it was taken, by its own account.
    pub captured_at: DateTime<Utc>,
    /// Every trusted verdict on it, in any order.
    pub verdicts: Vec<VerdictFact>,
    /// Whether its cluster contradicts it, so that no proof can make it proven.
    pub diverged: bool,
    /// Whether it is marked to be deleted: then nobody spends work on it.
    pub marked: bool,
}

/// How a prover goes about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// The level that makes a backup proven.
    pub required: Level,
    /// Whether every backup is to be proven, or only the newest whenever the prover has its turn.
    pub every: bool,
    /// Every backup that is kept is read back at least this often.
    pub reread: Duration,
    /// Of every hundred readings so many go as deep as `required`, the others only to `stored`.
    pub sample_percent: u8,
    /// Draws the sample: secret and new at each start of a prover, so that nobody can tell which backups will be looked into.
    pub seed: u64,
}

/// Why a backup is taken up, from the most urgent to the least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is the newest that is not known to be bad, and not proven yet.
    Newest,
    /// A newer one failed: the newest that was proven before has to show that it is still good.
    AfterFailure {
        /// The one that failed.
        of: BackupId,
    },
    /// It is not proven yet, and not the newest.
    NotProven,
    /// It was not read for long.
    Reread,
    /// The same, and drawn to be proven anew in full.
    Sample,
}

impl Why {
    /// The lower, the sooner.
    #[must_use]
    pub fn urgency(&self) -> u8 {
        match self {
            Why::Newest => 0,
            Why::AfterFailure { .. } => 1,
            Why::NotProven => 2,
            Why::Reread | Why::Sample => 3,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Newest => f.write_str("the newest"),
            Why::AfterFailure { of } => write!(f, "the newest good one before {of}, which failed"),
            Why::NotProven => f.write_str("not proven yet"),
            Why::Reread => f.write_str("not read for long"),
            Why::Sample => f.write_str("not read for long, and drawn for a whole proof"),
        }
    }
}

/// One proof to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Of which backup.
    pub id: BackupId,
    /// How deep.
    pub level: Level,
    /// Why.
    pub why: Why,
}

/// Every proof that is due at `now`, the most urgent first; `entries` newest first, as a catalog orders them.
///
/// - The newest backup is due at once, at the required level; where it failed, the one before it, until one passes. With
///   [`Rules::every`] the others that were never proven follow, and else when it is time to read them.
/// - Where a backup failed, the newest proven one before it in its history is proven once more: whatever struck the one may
///   have struck both, and a restore would take the other.
/// - What is proven, or can never be, is read back before `reread` has passed since it was last read: from 4/5 of that time
///   on, spread by its name, so that a month of backups does not fall due in one night. The one read longest ago goes first.
/// - What failed stays as it is, as evidence.
///
/// A backup dated in the future is proven like others, but never goes before the newest.
#[must_use]
pub fn due(entries: &[ProofFacts], rules: &Rules, now: DateTime<Utc>) -> Vec<Task> {
    let standings: Vec<Standing> =
        entries.iter().map(|entry| standing(&entry.verdicts, rules.required, entry.diverged)).collect();
    let may_be_newest = |(entry, stands): (&ProofFacts, &Standing)| {
        !entry.marked && !stands.is_failed() && !entry.diverged && !moment::is_future(entry.captured_at, now)
    };
    let newest = entries.iter().zip(&standings).position(may_be_newest);
    let mut ranked: Vec<(Why, DateTime<Utc>, usize, Level)> = Vec::new();
    for (at, (entry, stands)) in entries.iter().zip(&standings).enumerate().filter(|(_, (entry, _))| !entry.marked) {
        let unproven = stands.may_be_proven();
        if unproven && (rules.every || Some(at) == newest) {
            let why = if Some(at) == newest { Why::Newest } else { Why::NotProven };
            ranked.push((why, DateTime::<Utc>::MIN_UTC, at, rules.required));
        } else if let Some(of) = shaken_by(entries, &standings, at) {
            ranked.push((Why::AfterFailure { of }, DateTime::<Utc>::MIN_UTC, at, rules.required));
        } else if let Some((why, since, level)) = reread(entry, stands, rules, now) {
            ranked.push((why, since, at, level));
        }
    }
    ranked.sort_by_key(|(why, since, at, _)| (why.urgency(), *since, *at));
    let task = |(why, _, at, level): (Why, DateTime<Utc>, usize, Level)| {
        entries.get(at).map(|entry| Task { id: entry.id.clone(), level, why })
    };
    ranked.into_iter().filter_map(task).collect()
}

/// How many kept backups nobody has read for longer than `reread`: a prover that keeps up leaves none. What failed is not
/// read again, and so does not count.
#[must_use]
pub fn overdue(entries: &[ProofFacts], required: Level, reread: Duration, now: DateTime<Utc>) -> usize {
    let late = |entry: &&ProofFacts| {
        !entry.marked
            && !standing(&entry.verdicts, required, entry.diverged).is_failed()
            && moment::after(last_read(entry), reread) < now
    };
    entries.iter().filter(late).count()
}

/// The failed backup after which the one at `at` has to be proven anew: the first proven one below it in the same history,
/// unless it passed in full since.
fn shaken_by(entries: &[ProofFacts], standings: &[Standing], at: usize) -> Option<BackupId> {
    let (entry, Standing::Proven { at: proven_at, .. }) = (entries.get(at)?, standings.get(at)?) else { return None };
    let newer = entries.iter().zip(standings).take(at).rev();
    let of_its_history = newer.filter(|(other, _)| other.lineage == entry.lineage && !other.marked);
    // Up to the next proven one: a failure above that is that one's to answer.
    let failed = of_its_history.take_while(|(_, stands)| !stands.is_proven());
    let since = failed.filter_map(|(other, stands)| match stands {
        Standing::Failed { at, .. } if at >= proven_at => Some((*at, other.id.clone())),
        _ => None,
    });
    since.max().map(|(_, of)| of)
}

fn reread(
    entry: &ProofFacts,
    stands: &Standing,
    rules: &Rules,
    now: DateTime<Utc>,
) -> Option<(Why, DateTime<Utc>, Level)> {
    if stands.is_failed() {
        return None;
    }
    let last = last_read(entry);
    let draw = mix(rules.seed ^ mix(name_hash(&entry.id) ^ mix(last.timestamp().cast_unsigned())));
    // From 80 to 95 % of the time; what is left is for a prover that is busy or away.
    let part = u32::try_from(80 + name_hash(&entry.id) % 16).unwrap_or(80);
    if moment::after(last, rules.reread / 100 * part) > now {
        return None;
    }
    let drawn = draw % 100 < u64::from(rules.sample_percent);
    Some(match stands {
        _ if stands.may_be_proven() => (Why::NotProven, last, rules.required),
        Standing::Proven { .. } if drawn => (Why::Sample, last, rules.required),
        _ => (Why::Reread, last, Level::Stored),
    })
}

/// When it was last read back whole, at any level; before the first reading, when it was taken.
fn last_read(entry: &ProofFacts) -> DateTime<Utc> {
    let passed = entry.verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Passed);
    passed.map(|verdict| verdict.at).max().unwrap_or(entry.captured_at)
}

fn name_hash(id: &BackupId) -> u64 {
    id.as_str().bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
    }

    /// One taken on this day, with verdicts `(level, outcome, second after 1 790 000 000)`.
    fn entry(day: i64, verdicts: &[(Level, Outcome, i64)]) -> ProofFacts {
        let verdict = |&(level, outcome, second): &(Level, Outcome, i64)| VerdictFact {
            level,
            outcome,
            at: at(second),
            took_seconds: 1.0,
        };
        ProofFacts {
            id: BackupId::new(at(day * DAY), day.unsigned_abs()),
            lineage: "a".to_owned(),
            captured_at: at(day * DAY),
            verdicts: verdicts.iter().map(verdict).collect(),
            diverged: false,
            marked: false,
        }
    }

    fn proven(day: i64) -> ProofFacts {
        entry(day, &[(Level::Sound, Outcome::Passed, day * DAY + 60)])
    }

    fn failed(day: i64) -> ProofFacts {
        entry(day, &[(Level::Opened, Outcome::Failed, day * DAY + 60)])
    }

    fn rules() -> Rules {
        Rules {
            required: Level::Sound,
            every: true,
            reread: Duration::from_secs(30 * 86_400),
            sample_percent: 10,
            seed: 7,
        }
    }

    fn tasks(entries: &[ProofFacts], day: i64) -> Vec<(i64, Level, Why)> {
        let day_of =
            |id: &BackupId| entries.iter().find(|entry| entry.id == *id).map(|e| (e.captured_at - at(0)).num_days());
        due(entries, &rules(), at(day * DAY + 120))
            .into_iter()
            .map(|task| (day_of(&task.id).unwrap(), task.level, task.why))
            .collect()
    }

    #[test]
    fn the_newest_comes_first_then_the_other_unproven_ones_from_the_newest_back() {
        let entries = [entry(4, &[]), proven(3), entry(2, &[(Level::Stored, Outcome::Passed, 3 * DAY)]), entry(1, &[])];
        let (deep, why) = (Level::Sound, Why::NotProven);
        assert_eq!(tasks(&entries, 4), [(4, deep, Why::Newest), (2, deep, why.clone()), (1, deep, why)]);
        assert_eq!(tasks(&[proven(4), proven(3)], 4), []);
        // Where the newest is bad, the one before it takes its place.
        let bad = ProofFacts { diverged: true, ..entry(5, &[]) };
        let below = [(4, deep, Why::Newest), (3, deep, Why::NotProven)];
        assert_eq!(tasks(&[failed(6), bad, entry(4, &[]), entry(3, &[])], 6), below);
        // One of tomorrow's is not the newest.
        let ahead = [entry(9, &[]), entry(4, &[])];
        assert_eq!(tasks(&ahead, 4), [(4, deep, Why::Newest), (9, deep, Why::NotProven)]);
    }

    #[test]
    fn after_a_failure_the_newest_good_one_before_it_is_proven_once_more() {
        let of = failed(4).id;
        let again = |day| (day, Level::Sound, Why::AfterFailure { of: of.clone() });
        assert_eq!(tasks(&[failed(4), proven(3), proven(2)], 4), [again(3)]);
        assert_eq!(
            tasks(&[entry(5, &[]), failed(4), failed(3), proven(2)], 5),
            [(5, Level::Sound, Why::Newest), again(2)]
        );
        // Done, deep enough and since the failure; a mere reading is no answer.
        let mut answered = proven(3);
        answered.verdicts.push(VerdictFact { at: at(4 * DAY + 61), ..answered.verdicts[0] });
        assert_eq!(tasks(&[failed(4), answered.clone(), proven(2)], 4), []);
        answered.verdicts[1].level = Level::Stored;
        assert_eq!(tasks(&[failed(4), answered, proven(2)], 4), [again(3)]);
        // Another history was not struck, and a failure above a proven one is that one's to answer.
        let other = ProofFacts { lineage: "b".to_owned(), ..proven(3) };
        assert_eq!(tasks(&[failed(4), other, proven(2)], 4), [again(2)]);
        // One that is to be deleted is left alone, and does not shake others.
        let marked = ProofFacts { marked: true, ..failed(4) };
        assert_eq!(tasks(&[marked, proven(3)], 4), []);
    }

    #[test]
    fn what_is_kept_is_read_again_in_time_and_what_failed_stays_as_it_is() {
        let read =
            |entries: &[ProofFacts], day| tasks(entries, day).into_iter().map(|(day, ..)| day).collect::<Vec<_>>();
        let entries: Vec<ProofFacts> = (0..40).rev().map(proven).collect();
        assert_eq!(read(&entries, 23), [0; 0]);
        let by_then = read(&entries, 29);
        assert!(by_then.contains(&0) && by_then[0] == 0, "the one read longest ago goes first: {by_then:?}");
        assert!((0..39).all(|day| !read(&entries, day + 29).contains(&(day + 6))), "never before 4/5 of the time");
        assert_eq!(overdue(&entries, Level::Sound, rules().reread, at(30 * DAY)), 0);
        assert_eq!(overdue(&entries, Level::Sound, rules().reread, at(31 * DAY)), 1);
        // What was never proven and never can be is read as well; what failed is not.
        let diverged = ProofFacts { diverged: true, ..entry(0, &[]) };
        assert_eq!(tasks(&[diverged], 30), [(0, Level::Stored, Why::Reread)]);
        assert_eq!(tasks(&[failed(0)], 300), []);
        assert_eq!(overdue(&[failed(0)], Level::Sound, rules().reread, at(300 * DAY)), 0);
        // Nor is one that failed and whose bytes were read since, by a person: they are those that failed.
        let read_since = entry(0, &[(Level::Sound, Outcome::Failed, 60), (Level::Stored, Outcome::Passed, DAY)]);
        assert_eq!(tasks(std::slice::from_ref(&read_since), 300), []);
        assert_eq!(overdue(&[read_since], Level::Sound, rules().reread, at(300 * DAY)), 0);
    }

    #[test]
    fn where_only_the_newest_is_proven_the_others_are_when_it_is_time_to_read_them() {
        let day = |entries: &[ProofFacts], day| {
            let rules = Rules { every: false, ..rules() };
            let tasks = due(entries, &rules, at(day * DAY + 120)).into_iter();
            tasks.map(|task| ((task.id.captured_at() - at(0)).num_days(), task.level, task.why)).collect::<Vec<_>>()
        };
        let unproven: Vec<ProofFacts> = (0..5).rev().map(|day| entry(day, &[])).collect();
        assert_eq!(day(&unproven, 4), [(4, Level::Sound, Why::Newest)]);
        assert_eq!(day(&[vec![failed(5)], unproven.clone()].concat(), 5), [(4, Level::Sound, Why::Newest)]);
        assert_eq!(day(&[vec![proven(5)], unproven.clone()].concat(), 5), []);
        let a_month_on = day(&[vec![proven(29)], unproven].concat(), 29);
        assert_eq!(a_month_on[0], (0, Level::Sound, Why::NotProven));
    }

    #[test]
    fn of_the_readings_a_share_goes_to_the_bottom_and_which_depends_on_the_seed() {
        let entries: Vec<ProofFacts> =
            (0..1000).rev().map(|n| entry(n, &[(Level::Booted, Outcome::Passed, n)])).collect();
        let drawn = |seed, sample_percent| {
            let rules = Rules { seed, sample_percent, ..rules() };
            let tasks = due(&entries, &rules, at(2000 * DAY));
            assert!(tasks.iter().all(|task| (task.why == Why::Sample) == (task.level == Level::Sound)));
            tasks.into_iter().filter(|task| task.why == Why::Sample).map(|task| task.id).collect::<Vec<_>>()
        };
        assert!((60..140).contains(&drawn(1, 10).len()));
        assert_ne!(drawn(1, 10), drawn(2, 10));
        assert_eq!(drawn(1, 10), drawn(1, 10));
        assert_eq!((drawn(1, 0).len(), drawn(1, 100).len()), (0, 1000));
    }
}
