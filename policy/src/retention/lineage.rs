//! What the rules and floors say of the backups of one lineage.

use super::bucket::{Period, within};
use super::{Facts, Keep, Reason, Rules};
use crate::moment;
use crate::proof::Standing;
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};

/// One lineage's present entries, newest first, and what they are judged by.
pub(super) struct Lineage<'a> {
    pub entries: Vec<&'a Facts>,
    pub keep: &'a Keep,
    pub rules: &'a Rules,
    pub now: DateTime<Utc>,
}

/// Why one backup stays.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Whatever the rules say, and first of all: newest, newest proven, held.
    guards: Vec<Reason>,
    /// By a rule.
    rules: Vec<Reason>,
    /// Whatever the rules say; told where nothing else is.
    floors: Vec<Reason>,
    failed: bool,
    /// A rule would keep it, but it goes for the budget's sake.
    pub over_budget: bool,
}

impl Judged {
    pub fn is_guarded(&self) -> bool {
        !self.guards.is_empty() || !self.floors.is_empty()
    }

    pub fn is_kept(&self) -> bool {
        self.is_guarded() || !self.rules.is_empty()
    }

    pub fn give_up(&mut self) {
        assert!(!self.is_guarded(), "what is guarded is given up for no budget");
        self.rules.clear();
        self.over_budget = true;
    }

    /// The weightiest first.
    pub fn reasons(self) -> Vec<Reason> {
        let reasons = [self.guards, self.rules].concat();
        match reasons.is_empty() {
            true => self.floors,
            // A failed backup that a rule keeps says so first.
            false if self.failed => [vec![Reason::Evidence], reasons].concat(),
            false => reasons,
        }
    }
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
            _ if entry.is_asked() => false,
            Counted::Proven => entry.standing.is_proven(),
            Counted::NotFailed => !entry.standing.is_failed(),
            Counted::All => true,
        }
    }
}

const COUNTS: [Counted; 3] = [Counted::Proven, Counted::NotFailed, Counted::All];

impl<'a> Lineage<'a> {
    /// The same with other entries.
    pub fn with(&self, entries: Vec<&'a Facts>) -> Self {
        Lineage { entries, keep: self.keep, rules: self.rules, now: self.now }
    }

    /// In the order of the entries.
    pub fn judge(&self) -> Vec<Judged> {
        let mut all: Vec<Judged> = self
            .entries
            .iter()
            .map(|entry| Judged { failed: entry.standing.is_failed(), ..Judged::default() })
            .collect();
        self.guards(&mut all);
        self.within(&mut all);
        self.last(&mut all);
        for period in Period::ALL.into_iter().rev() {
            self.period(period, &mut all);
        }
        self.floors(&mut all);
        all
    }

    fn newest_proven(&self) -> Option<usize> {
        self.entries.iter().position(|entry| entry.standing.is_proven())
    }

    fn guards(&self, all: &mut [Judged]) {
        let newest_proven = self.newest_proven();
        for (i, (entry, judged)) in self.entries.iter().zip(all).enumerate() {
            if newest_proven == Some(i) {
                judged.guards.push(Reason::NewestProven);
            }
            if i == 0 {
                judged.guards.push(Reason::Newest);
            }
            judged.guards.extend(entry.hold.clone().map(Reason::Held));
        }
    }

    fn within(&self, all: &mut [Judged]) {
        let (Some(span), Some(newest)) = (self.keep.within, self.entries.first()) else { return };
        for (entry, judged) in self.entries.iter().zip(all) {
            if !entry.is_asked() && within(entry.captured_at, newest.captured_at, span) {
                judged.rules.push(Reason::Within(span));
            }
        }
    }

    fn last(&self, all: &mut [Judged]) {
        let mut chosen = BTreeSet::new();
        for counted in COUNTS {
            let included = self.entries.iter().enumerate().filter(|(_, entry)| counted.includes(entry));
            chosen.extend(included.take(to_usize(self.keep.last)).map(|(i, _)| i));
        }
        for i in chosen {
            all.get_mut(i).into_iter().for_each(|judged| judged.rules.push(Reason::Last(self.keep.last)));
        }
    }

    /// Keeps the best of each of the newest buckets, counted three ways, and the best of any bucket that is recent enough.
    fn period(&self, period: Period, all: &mut [Judged]) {
        let zone = self.rules.time_zone;
        let (count, span) = (to_usize(period.count(self.keep)), period.span(self.keep));
        if count == 0 && span.is_none() {
            return;
        }
        let buckets: Vec<_> = self.entries.iter().map(|entry| period.bucket(entry.captured_at, zone)).collect();
        let mut best: BTreeMap<_, (u8, usize)> = BTreeMap::new();
        for (i, (bucket, entry)) in buckets.iter().zip(&self.entries).enumerate() {
            let found = (preference(entry), i);
            let known = best.entry(bucket).or_insert(found);
            // Only a better one takes the place: of equals the first met, the newest, stays.
            if found.0 > known.0 {
                *known = found;
            }
        }
        let mut chosen = BTreeSet::new();
        for counted in COUNTS {
            let included = buckets.iter().zip(&self.entries).filter(|(_, entry)| counted.includes(entry));
            let counted: BTreeSet<_> = included.map(|(bucket, _)| bucket).collect();
            // The newest by the calendar, not by who was met first: deleting what is not kept then moves no bucket.
            chosen.extend(counted.iter().rev().take(count).filter_map(|bucket| best.get(bucket)).map(|(_, i)| *i));
        }
        for i in best.into_values().map(|(_, i)| i) {
            let (Some(entry), Some(judged)) = (self.entries.get(i), all.get_mut(i)) else { continue };
            if chosen.contains(&i) {
                judged.rules.push(period.reason(entry.captured_at, zone));
            }
            // The best of the whole bucket, not of its recent part: else a longer span could drop what a shorter one kept.
            let newest = self.entries.first().map_or(entry.captured_at, |newest| newest.captured_at);
            let reaches = |span| !entry.is_asked() && period.reaches(entry.captured_at, newest, span, zone);
            if span.is_some_and(reaches) {
                judged.rules.push(period.reason_within(entry.captured_at, zone));
            }
        }
    }

    /// What keeps a backup that no rule keeps.
    fn floors(&self, all: &mut [Judged]) {
        let newest_proven = self.newest_proven();
        let mut proven_so_far = 0;
        for (i, (entry, judged)) in self.entries.iter().zip(all).enumerate() {
            if newest_proven.is_none() {
                judged.floors.push(Reason::NothingProvenInLineage);
            }
            if entry.standing.is_proven() && proven_so_far < self.keep.min_proven {
                proven_so_far += 1;
                judged.floors.push(Reason::MinProven(self.keep.min_proven));
            }
            // Also young: what is dated a little ahead of now, however small `min_age` is.
            if !entry.is_asked() && entry.captured_at > moment::before(self.now, self.rules.min_age) {
                judged.floors.push(Reason::Young(self.rules.min_age));
            }
            if entry.standing.may_be_proven() && newest_proven.is_some_and(|proven| i < proven) {
                judged.floors.push(Reason::MayBeProven);
            }
        }
    }
}

/// Which of a bucket's backups stands for it: a proven one, else one that may still be, else any that no
/// person wants gone.
pub(super) fn preference(entry: &Facts) -> u8 {
    match entry.standing {
        _ if entry.is_asked() => 0,
        Standing::Proven { .. } => 3,
        Standing::Unproven { .. } => 2,
        Standing::Failed { .. } => 1,
    }
}

fn to_usize(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
