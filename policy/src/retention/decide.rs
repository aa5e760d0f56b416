//! The decision itself.

use super::bucket::{Period, within};
use super::{Action, Facts, Freeze, Keep, Plan, Reason, Rules, Verdict};
use crate::moment;
use crate::proof::Standing;
use chrono::{DateTime, Utc};
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Past this age of the newest backup a plan is frozen: nobody can tell a clock that is ahead from backups that stopped.
const NEWEST_AT_MOST: Duration = Duration::from_secs(30 * 86_400);

/// Decides what becomes of each backup at `now`.
///
/// `facts` are those of *trusted* entries of one cluster in one store, in any order; an entry given twice counts once (of
/// two accounts of one backup, the one counts that keeps more: held, unmarked, proven). The answer has exactly one verdict
/// for each backup and depends on nothing but the arguments.
#[must_use]
pub fn plan(facts: &[Facts], rules: &Rules, now: DateTime<Utc>) -> Plan {
    let entries = in_order(facts, now);
    let present: Vec<&Facts> = entries.iter().copied().filter(|e| !moment::is_future(e.captured_at, now)).collect();
    let keep = match judgeable(&present, rules, now) {
        Ok(keep) => keep,
        Err(freeze) => return frozen(&entries, freeze),
    };
    let mut reasons = vec![];
    for lineage in present.chunk_by(|a, b| a.lineage == b.lineage) {
        reasons.extend(Lineage::new(lineage, keep, rules, now).reasons());
    }
    assert_eq!(reasons.len(), present.len(), "every present backup was judged, in the order of the entries");
    let mut reasons = reasons.into_iter();
    let verdicts: Vec<Verdict> = entries
        .iter()
        .map(|entry| match moment::is_future(entry.captured_at, now) {
            true => verdict(entry, vec![Reason::FromTheFuture], rules, now),
            false => verdict(entry, reasons.next().unwrap_or_default(), rules, now),
        })
        .collect();
    let planned = verdicts.iter().filter(|v| matches!(v.action, Action::Mark { .. } | Action::Delete)).count();
    if planned > rules.max_deletions {
        return frozen(&entries, Freeze::TooMany { planned, max: rules.max_deletions });
    }
    assert_eq!(verdicts.len(), entries.len(), "every backup has exactly one verdict");
    Plan { frozen: None, verdicts }
}

/// The rules, if there is anything that may be judged by them.
fn judgeable<'r>(present: &[&Facts], rules: &'r Rules, now: DateTime<Utc>) -> Result<&'r Keep, Freeze> {
    let keep = rules.keep.as_ref().ok_or(Freeze::NoKeep)?;
    if !present.iter().any(|entry| entry.standing.is_proven()) {
        return Err(Freeze::NothingProven);
    }
    let newest = present.iter().map(|entry| entry.captured_at).max().unwrap_or(now);
    if moment::between(newest, now) > NEWEST_AT_MOST {
        return Err(Freeze::ClockAhead { newest, now });
    }
    Ok(keep)
}

fn frozen(entries: &[&Facts], freeze: Freeze) -> Plan {
    let verdict =
        |entry: &&Facts| Verdict { id: entry.id.clone(), action: Action::Keep, reasons: vec![Reason::Frozen(freeze)] };
    Plan { frozen: Some(freeze), verdicts: entries.iter().map(verdict).collect() }
}

/// Each backup once, newest first, the newest lineage first. How new a lineage is says its latest capture time that is not
/// in the future: lineages have no order of their own.
fn in_order(facts: &[Facts], now: DateTime<Utc>) -> Vec<&Facts> {
    let mut by_id: BTreeMap<_, &Facts> = BTreeMap::new();
    for entry in facts {
        let held = by_id.entry(&entry.id).or_insert(entry);
        if keeps_more(entry, held) == Ordering::Greater {
            *held = entry;
        }
    }
    let mut newest: BTreeMap<&str, (bool, DateTime<Utc>)> = BTreeMap::new();
    for entry in by_id.values() {
        let rank = (!moment::is_future(entry.captured_at, now), entry.captured_at);
        let known = newest.entry(&entry.lineage).or_insert(rank);
        *known = rank.max(*known);
    }
    let mut entries: Vec<&Facts> = by_id.into_values().collect();
    entries.sort_by_key(|e| {
        let lineage = newest.get(e.lineage.as_str()).copied();
        Reverse((lineage, &e.lineage, e.revision, e.captured_at, &e.id))
    });
    entries
}

/// Of two accounts of one backup, which keeps more. Total, so that the order of the input does not matter.
fn keeps_more(a: &Facts, b: &Facts) -> Ordering {
    let standing = |e: &Facts| match e.standing {
        Standing::Proven { level, at, .. } => (2, Some(level), Some(at)),
        Standing::Unproven { .. } => (1, None, None),
        Standing::Failed { level, at } => (0, Some(level), Some(at)),
    };
    let rank = |e: &Facts| (e.hold.clone(), e.tombstone.is_none(), !asked(e), e.tombstone, standing(e));
    let place = |e: &Facts| (e.lineage.clone(), e.revision, e.captured_at, e.sealed_bytes);
    rank(a).cmp(&rank(b)).then_with(|| place(a).cmp(&place(b)))
}

fn verdict(entry: &Facts, mut reasons: Vec<Reason>, rules: &Rules, now: DateTime<Utc>) -> Verdict {
    let kept = !reasons.is_empty();
    let deletable_from = |t: super::TombstoneFact| t.deletable_from.max(moment::after(t.at, rules.grace));
    let action = match entry.tombstone.map(deletable_from) {
        _ if kept => Action::Keep,
        None => Action::Mark { deletable_from: moment::after(now, rules.grace) },
        Some(deletable_from) if now < deletable_from => Action::Wait { deletable_from },
        Some(_) => Action::Delete,
    };
    match action {
        Action::Keep if entry.tombstone.is_some() => reasons.push(Reason::KeptAgain),
        Action::Keep => {}
        Action::Mark { .. } | Action::Wait { .. } if asked(entry) => reasons.push(Reason::Asked),
        Action::Mark { .. } | Action::Wait { .. } => reasons.push(Reason::NoRule),
        Action::Delete if asked(entry) => reasons.extend([Reason::Asked, Reason::GraceOver]),
        Action::Delete => reasons.push(Reason::GraceOver),
    }
    Verdict { id: entry.id.clone(), action, reasons }
}

/// Whether a person asked for its deletion: then it counts for no rule.
fn asked(entry: &Facts) -> bool {
    entry.tombstone.is_some_and(|tombstone| tombstone.asked)
}

/// One lineage's present entries, newest first, and what they are judged by.
struct Lineage<'a> {
    entries: &'a [&'a Facts],
    keep: &'a Keep,
    rules: &'a Rules,
    now: DateTime<Utc>,
}

/// Over which backups a rule counts; see the module's page.
#[derive(Clone, Copy)]
enum Counted {
    Proven,
    NotFailed,
    All,
}

impl Counted {
    fn includes(self, entry: &Facts) -> bool {
        match self {
            _ if asked(entry) => false,
            Counted::Proven => entry.standing.is_proven(),
            Counted::NotFailed => !entry.standing.is_failed(),
            Counted::All => true,
        }
    }
}

const COUNTS: [Counted; 3] = [Counted::Proven, Counted::NotFailed, Counted::All];

impl<'a> Lineage<'a> {
    fn new(entries: &'a [&'a Facts], keep: &'a Keep, rules: &'a Rules, now: DateTime<Utc>) -> Self {
        Lineage { entries, keep, rules, now }
    }

    /// Why each entry stays, in the order of the entries; empty for those that go.
    fn reasons(&self) -> Vec<Vec<Reason>> {
        let mut all: Vec<Vec<Reason>> = self.entries.iter().map(|_| vec![]).collect();
        self.newest(&mut all);
        self.held_and_within(&mut all);
        self.last(&mut all);
        for period in Period::ALL.into_iter().rev() {
            self.period(period, &mut all);
        }
        self.evidence(&mut all);
        self.floors(&mut all);
        all
    }

    fn newest_proven(&self) -> Option<usize> {
        self.entries.iter().position(|entry| entry.standing.is_proven())
    }

    fn newest(&self, all: &mut [Vec<Reason>]) {
        let newest_proven = self.newest_proven().and_then(|i| all.get_mut(i));
        if let Some(reasons) = newest_proven {
            reasons.push(Reason::NewestProven);
        }
        if let Some(reasons) = all.first_mut() {
            reasons.push(Reason::Newest);
        }
    }

    fn held_and_within(&self, all: &mut [Vec<Reason>]) {
        let newest = self.entries.first().map(|entry| entry.captured_at);
        for (entry, reasons) in self.entries.iter().zip(all) {
            reasons.extend(entry.hold.clone().map(Reason::Held));
            if let (Some(span), Some(newest)) = (self.keep.within, newest)
                && !asked(entry)
                && within(entry.captured_at, newest, span)
            {
                reasons.push(Reason::Within(span));
            }
        }
    }

    fn last(&self, all: &mut [Vec<Reason>]) {
        let mut chosen = BTreeSet::new();
        for counted in COUNTS {
            let included = self.entries.iter().enumerate().filter(|(_, entry)| counted.includes(entry));
            chosen.extend(included.take(to_usize(self.keep.last)).map(|(i, _)| i));
        }
        for i in chosen {
            all.get_mut(i).into_iter().for_each(|reasons| reasons.push(Reason::Last(self.keep.last)));
        }
    }

    /// Keeps the best of each of the newest buckets, counted three ways.
    fn period(&self, period: Period, all: &mut [Vec<Reason>]) {
        let zone = self.rules.time_zone;
        let count = to_usize(period.count(self.keep));
        if count == 0 {
            return;
        }
        let bucketed = || self.entries.iter().map(|entry| (period.bucket(entry.captured_at, zone), *entry)).enumerate();
        let mut best: BTreeMap<_, (u8, usize)> = BTreeMap::new();
        for (i, (bucket, entry)) in bucketed() {
            let found = (preference(entry), i);
            let known = best.entry(bucket).or_insert(found);
            // Only a better one takes the place: of equals the first met, the newest, stays.
            if found.0 > known.0 {
                *known = found;
            }
        }
        let mut chosen = BTreeSet::new();
        for counted in COUNTS {
            let included = bucketed().filter(|(_, (_, entry))| counted.includes(entry));
            let buckets: BTreeSet<_> = included.map(|(_, (bucket, _))| bucket).collect();
            // The newest by the calendar, not by who was met first: deleting what is not kept then moves no bucket.
            chosen.extend(buckets.iter().rev().take(count).filter_map(|bucket| best.get(bucket)).map(|(_, i)| *i));
        }
        for i in chosen {
            if let (Some(entry), Some(reasons)) = (self.entries.get(i), all.get_mut(i)) {
                reasons.push(period.reason(entry.captured_at, zone));
            }
        }
    }

    /// A failed backup that a rule keeps says so first.
    fn evidence(&self, all: &mut [Vec<Reason>]) {
        for (entry, reasons) in self.entries.iter().zip(all) {
            if entry.standing.is_failed() && !reasons.is_empty() {
                reasons.insert(0, Reason::Evidence);
            }
        }
    }

    /// What keeps a backup that no rule keeps.
    fn floors(&self, all: &mut [Vec<Reason>]) {
        let newest_proven = self.newest_proven();
        let mut proven_so_far = 0;
        for (i, (entry, reasons)) in self.entries.iter().zip(all).enumerate() {
            let floor = entry.standing.is_proven() && proven_so_far < self.keep.min_proven;
            proven_so_far += u32::from(floor);
            if !reasons.is_empty() {
                continue;
            }
            if newest_proven.is_none() {
                reasons.push(Reason::NothingProvenInLineage);
            }
            if floor {
                reasons.push(Reason::MinProven(self.keep.min_proven));
            }
            // Also young: what is dated a little ahead of now, however small `min_age` is.
            if !asked(entry) && entry.captured_at > moment::before(self.now, self.rules.min_age) {
                reasons.push(Reason::Young(self.rules.min_age));
            }
            if entry.standing.may_be_proven() && newest_proven.is_some_and(|proven| i < proven) {
                reasons.push(Reason::MayBeProven);
            }
        }
    }
}

/// Which of a bucket's backups stands for it: a proven one, else one that may still be, else any that no person wants gone.
fn preference(entry: &Facts) -> u8 {
    match entry.standing {
        _ if asked(entry) => 0,
        Standing::Proven { .. } => 3,
        Standing::Unproven { .. } => 2,
        Standing::Failed { .. } => 1,
    }
}

fn to_usize(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
