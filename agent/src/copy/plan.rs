//! Which backups a store lacks that it should have, and where to take them from.

use crate::catalog::{Catalog, Trusted};
use crate::holdings::Holdings;
use chrono::{DateTime, Utc};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::Level;
use lifeboat_policy::retention::{self, Action, Circumstances, Facts, Rules};
use std::collections::BTreeSet;

/// One backup to be copied between two stores, named by their places in the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub id: BackupId,
    pub from: usize,
    pub to: usize,
}

/// What would bring every readable store level with the others, newest first.
///
/// A backup is copied to a store that has neither it nor a tombstone of it, and whose own rules would keep it; from a
/// store that has its data, has not marked it and has found it neither damaged nor late, best from one where it was proven.
/// What a store has a tombstone for was deleted there on purpose and is never brought back.
pub fn plan(holdings: &Holdings, required: Level, now: DateTime<Utc>) -> Vec<Task> {
    let wanted: Vec<(usize, BTreeSet<BackupId>)> = holdings
        .readable()
        .map(|(to, held, catalog)| (to, wanted(holdings, catalog, held.rules.as_ref(), required, now)))
        .collect();
    let mut tasks = Vec::new();
    for entry in &holdings.merged.trusted {
        for (to, _) in wanted.iter().filter(|(_, wanted)| wanted.contains(entry.id())) {
            let from = sources(holdings, entry, required).first().copied();
            tasks.extend(from.map(|from| Task { id: entry.id().clone(), from, to: *to }));
        }
    }
    tasks
}

/// Stores that a backup may be copied from, the best first.
fn sources(holdings: &Holdings, entry: &Trusted, required: Level) -> Vec<usize> {
    let good = |known: &Trusted| {
        known.present
            && known.manifest_sha256 == entry.manifest_sha256
            && known.marks().next().is_none()
            && !known.standing(required).is_failed()
            && !known.is_late()
    };
    let sources = holdings.sources(entry.id(), required);
    sources.into_iter().filter(|source| good(source.entry)).map(|source| source.at).collect()
}

/// What this store lacks and would keep.
fn wanted(
    holdings: &Holdings,
    catalog: &Catalog,
    rules: Option<&Rules>,
    required: Level,
    now: DateTime<Utc>,
) -> BTreeSet<BackupId> {
    // An untrusted object stands at its name: a person has to look first.
    let names: BTreeSet<&BackupId> =
        catalog.trusted.iter().map(Trusted::id).chain(catalog.untrusted.iter().map(|entry| &entry.id)).collect();
    let lacks = |entry: &&Trusted| {
        !names.contains(entry.id())
            && !catalog.tombstoned.contains(&entry.manifest_sha256)
            && !sources(holdings, entry, required).is_empty()
    };
    let missing: Vec<&Trusted> = holdings.merged.trusted.iter().filter(lacks).collect();
    let Some(rules) = rules else {
        return missing.into_iter().map(|entry| entry.id().clone()).collect();
    };
    // Judged as they would stand here once they are proven as they are elsewhere, and all at once: what a cautious prune
    // would leave for later, or until somebody has looked, is no reason to copy what it would then delete.
    let rules = Rules { max_deletions: usize::MAX, freeze_if_shrunk: None, ..rules.clone() };
    let coming = missing.iter().map(|entry| Facts { tombstone: None, ..entry.facts(required, rules.grace, now) });
    let facts: Vec<Facts> = catalog.facts(required, rules.grace, now).into_iter().chain(coming).collect();
    let plan = retention::plan(&facts, &rules, &Circumstances::default(), now);
    let keeps = |id: &BackupId| plan.verdict(id).is_some_and(|verdict| verdict.action == Action::Keep);
    missing.into_iter().map(|entry| entry.id().clone()).filter(keeps).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::sample::{catalog, trusted};
    use crate::error::{Error, Reason};
    use crate::holdings::Held;
    use crate::holdings::sample::held;
    use lifeboat_policy::retention::Keep;
    use std::time::Duration;

    const DAY: i64 = 86_400;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    /// One backup a day, each a revision on.
    fn days<const N: usize>() -> [Trusted; N] {
        std::array::from_fn(|day| {
            let day = i64::try_from(day).unwrap();
            trusted("a", "a", day * DAY, day, 1)
        })
    }

    fn tasks(stores: Vec<Held>) -> Vec<(i64, usize, usize)> {
        let holdings = Holdings::new(stores, Level::Sound).unwrap();
        let revision = |task: Task| (holdings.merged.find(&task.id).unwrap().manifest.db.revision, task.from, task.to);
        plan(&holdings, Level::Sound, at(10 * DAY)).into_iter().map(revision).collect()
    }

    fn rules(keep: Keep) -> Option<Rules> {
        let (grace, min_age) = (Duration::from_secs(3600), Duration::ZERO);
        Some(Rules {
            keep: Some(keep),
            time_zone: chrono_tz::Tz::UTC,
            grace,
            min_age,
            max_deletions: 1,
            freeze_if_shrunk: Some(50),
        })
    }

    #[test]
    fn each_store_gets_what_it_lacks_newest_first() {
        let [a, b, c] = days();
        let one = held("one", Ok(catalog(vec![c.clone(), a.clone()])));
        let two = held("two", Ok(catalog(vec![b, a])));
        let three = held("three", Ok(catalog(vec![c])));
        assert_eq!(tasks(vec![one, two, three]), [(2, 0, 1), (1, 1, 0), (1, 1, 2), (0, 0, 2)]);
    }

    #[test]
    fn what_a_store_buried_what_has_no_data_and_what_is_marked_everywhere_stays_where_it_is() {
        let [buried, absent, marked] = days();
        let mut target = catalog(Vec::new());
        target.tombstoned.insert(buried.manifest_sha256);
        let absent = Trusted { present: false, ..absent };
        let tombstone = crate::catalog::manifest::Tombstone {
            binding: marked.manifest.binding.clone(),
            id: marked.id().clone(),
            manifest_sha256: Some(marked.manifest_sha256),
            at: at(0),
            reason: String::new(),
            asked: false,
            agent_version: String::new(),
        };
        let marked = Trusted { tombstones: vec![(tombstone, at(0))], ..marked };
        let source = catalog(vec![marked, absent, buried]);
        assert_eq!(tasks(vec![held("full", Ok(source)), held("target", Ok(target))]), []);
    }

    #[test]
    fn a_store_is_given_only_what_its_own_rules_would_keep() {
        let [a, b, c] = days::<3>();
        let proven = |entry: Trusted| {
            let verdict = crate::catalog::manifest::Verdict {
                binding: entry.manifest.binding.clone(),
                id: entry.id().clone(),
                manifest_sha256: entry.manifest_sha256,
                at: at(9 * DAY),
                level: Level::Sound,
                outcome: lifeboat_policy::proof::Outcome::Passed,
                steps: Vec::new(),
                took_seconds: 1.0,
                agent_version: String::new(),
                etcd_version: None,
                learnt: Default::default(),
            };
            Trusted { verdicts: vec![verdict], ..entry }
        };
        let source = || held("full", Ok(catalog(vec![proven(c.clone()), proven(b.clone()), proven(a.clone())])));
        let keep = Keep { last: 1, min_proven: 1, ..Keep::default() };
        let small = Held { rules: rules(keep), ..held("small", Ok(catalog(Vec::new()))) };
        assert_eq!(tasks(vec![source(), small]), [(2, 0, 1)]);
        let daily = Held { rules: rules(Keep { daily: 5, ..Keep::default() }), ..held("b", Ok(catalog(Vec::new()))) };
        assert_eq!(tasks(vec![source(), daily]), [(2, 0, 1), (1, 0, 1), (0, 0, 1)]);
        // That prune would be frozen, as here by a backup that shrank, does not make everything worth copying.
        let (mut small, mut big) = (proven(c.clone()), proven(b.clone()));
        (small.manifest.db.keys, big.manifest.db.keys) = (1, 100);
        let shrunk = held("full", Ok(catalog(vec![small, big])));
        let keep = Keep { last: 1, min_proven: 1, ..Keep::default() };
        let one = Held { rules: rules(keep), ..held("small", Ok(catalog(Vec::new()))) };
        assert_eq!(tasks(vec![shrunk, one]), [(2, 0, 1)]);
    }

    #[test]
    fn nothing_is_copied_to_or_from_a_store_that_cannot_be_read() {
        let [a] = days();
        let gone = || Err(Error::new(Reason::StoreUnreachable, "gone"));
        assert_eq!(tasks(vec![held("one", Ok(catalog(vec![a]))), held("two", gone())]), []);
    }
}
