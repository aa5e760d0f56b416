//! What several stores hold together. Retention, presence and proof are each store's own; this is the view for whoever asks
//! what there is at all: the next manifest's parents, the slots that were served, a restore.

use super::read::{missing_parents, sort};
use super::{Catalog, Orphan, Trusted};
use crate::digest::Digest;
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::{Level, Standing};
use std::collections::{BTreeMap, BTreeSet};

/// One catalog of several; `None` of none. Of a backup that stands in several stores it shows the best account. `whole`:
/// every store could be read; else a parent that is not seen may stand where nobody could look, and is not called missing.
pub fn merge(catalogs: &[&Catalog], whole: bool, required: Level) -> Option<Catalog> {
    let (first, rest) = catalogs.split_first()?;
    if rest.is_empty() && whole {
        return Some((*first).clone());
    }
    let mut best: BTreeMap<Digest, &Trusted> = BTreeMap::new();
    for entry in catalogs.iter().flat_map(|catalog| &catalog.trusted) {
        let known = best.entry(entry.manifest_sha256).or_insert(entry);
        if rank(entry, required) > rank(known, required) {
            *known = entry;
        }
    }
    let mut trusted: Vec<Trusted> = best.into_values().cloned().collect();
    sort(&mut trusted);
    let listed: BTreeSet<&BackupId> = trusted.iter().map(Trusted::id).collect();
    let mut untrusted: Vec<_> = catalogs.iter().flat_map(|catalog| &catalog.untrusted).cloned().collect();
    untrusted.retain(|entry| !listed.contains(&entry.id));
    untrusted.sort_by(|a, b| b.id.cmp(&a.id));
    untrusted.dedup_by(|a, b| a.id == b.id);
    let mut strays: Vec<_> = catalogs.iter().flat_map(|catalog| &catalog.strays).cloned().collect();
    strays.sort_by(|a, b| a.path.cmp(&b.path));
    strays.dedup_by(|a, b| a.path == b.path);
    let orphans: BTreeMap<&BackupId, &Orphan> =
        catalogs.iter().flat_map(|catalog| &catalog.orphans).map(|orphan| (&orphan.id, orphan)).collect();
    let orphans = orphans.into_values().filter(|orphan| !listed.contains(&orphan.id)).cloned().collect();
    let mut acks: Vec<_> = catalogs.iter().flat_map(|catalog| &catalog.acks).cloned().collect();
    acks.sort_by(|a, b| (a.at, &a.binding.path).cmp(&(b.at, &b.binding.path)));
    acks.dedup_by(|a, b| a.binding.path == b.binding.path);
    let tombstoned: BTreeSet<Digest> = catalogs.iter().flat_map(|catalog| &catalog.tombstoned).copied().collect();
    let latest = catalogs.iter().max_by_key(|catalog| catalog.trust_list.as_ref().map(|list| list.n));
    let mut signatures: Vec<_> = catalogs.iter().flat_map(|catalog| &catalog.signatures).cloned().collect();
    signatures.sort_by(|a, b| a.path.cmp(&b.path));
    signatures.dedup_by(|a, b| a.path == b.path);
    Some(Catalog {
        cluster: first.cluster.clone(),
        store: String::new(),
        read_at: catalogs.iter().map(|catalog| catalog.read_at).min().unwrap_or(first.read_at),
        missing_parents: if whole { missing_parents(&trusted, &tombstoned) } else { Vec::new() },
        trusted,
        untrusted,
        strays,
        orphans,
        acks,
        foreign: catalogs.iter().map(|catalog| catalog.foreign).sum(),
        tombstoned,
        deleted: catalogs.iter().flat_map(|catalog| &catalog.deleted).cloned().collect(),
        unmatched: Vec::new(),
        unjudged: catalogs.iter().flat_map(|catalog| &catalog.unjudged).cloned().collect(),
        trust_list: latest.and_then(|catalog| catalog.trust_list.clone()),
        lost_list: catalogs.iter().filter_map(|catalog| catalog.lost_list).max(),
        keys: latest.unwrap_or(first).keys.clone(),
        signatures,
    })
}

/// Which account of a backup serves a reader best: there at all, not late, proven, not failed, not to be deleted.
fn rank(entry: &Trusted, required: Level) -> (bool, bool, u8, bool) {
    let standing = match entry.standing(required) {
        Standing::Proven { .. } => 2,
        Standing::Unproven { .. } => 1,
        Standing::Failed { .. } => 0,
    };
    (entry.present, !entry.is_late(), standing, entry.marks().next().is_none())
}

#[cfg(test)]
mod tests {
    use super::super::manifest::{Binding, Parent, Verdict};
    use super::super::sample;
    use super::*;
    use chrono::DateTime;
    use lifeboat_policy::proof::Outcome;

    fn verdict(entry: &Trusted, outcome: Outcome) -> Verdict {
        let manifest = &entry.manifest;
        Verdict {
            binding: Binding { kind: String::new(), ..manifest.binding.clone() },
            id: manifest.id.clone(),
            manifest_sha256: entry.manifest_sha256,
            at: DateTime::from_timestamp(5_000, 0).unwrap(),
            level: Level::Sound,
            outcome,
            steps: Vec::new(),
            took_seconds: 1.0,
            agent_version: String::new(),
            etcd_version: None,
            learnt: Default::default(),
        }
    }

    fn states(catalog: &Catalog) -> Vec<(i64, bool)> {
        let state = |entry: &Trusted| (entry.manifest.db.revision, entry.standing(Level::Sound).is_proven());
        catalog.trusted.iter().map(state).collect()
    }

    #[test]
    fn the_best_account_of_each_backup_is_shown_and_one_store_is_shown_as_it_is() {
        let [old, mid, new] = [10, 20, 30].map(|revision| sample::trusted("a", "a", revision * 10, revision, 1));
        let mut proven = mid.clone();
        proven.verdicts.push(verdict(&mid, Outcome::Passed));
        let mut failed = mid.clone();
        failed.verdicts.push(verdict(&mid, Outcome::Failed));
        let one = sample::catalog(vec![new, failed]);
        let other = sample::catalog(vec![proven, old]);
        for order in [[&one, &other], [&other, &one]] {
            let merged = merge(&order, true, Level::Sound).unwrap();
            assert_eq!(states(&merged), [(30, false), (20, true), (10, false)]);
        }
        assert_eq!(states(&merge(&[&one], true, Level::Sound).unwrap()), states(&one));
        assert!(merge(&[], true, Level::Sound).is_none());
    }

    #[test]
    fn a_parent_is_missing_only_where_no_store_has_it_or_its_tombstone_and_all_were_read() {
        let old = sample::trusted("a", "a", 100, 10, 1);
        let mut new = sample::trusted("a", "a", 200, 20, 1);
        new.manifest.parents = vec![Parent { id: old.id().clone(), manifest_sha256: old.manifest_sha256 }];
        let (has, lacks) = (sample::catalog(vec![old.clone()]), sample::catalog(vec![new]));
        assert!(merge(&[&has, &lacks], true, Level::Sound).unwrap().missing_parents.is_empty());
        let empty = sample::catalog(Vec::new());
        assert_eq!(merge(&[&empty, &lacks], true, Level::Sound).unwrap().missing_parents, [old.id().clone()]);
        assert!(merge(&[&empty, &lacks], false, Level::Sound).unwrap().missing_parents.is_empty());
        let buried = Catalog { tombstoned: [old.manifest_sha256].into(), ..empty };
        assert!(merge(&[&buried, &lacks], true, Level::Sound).unwrap().missing_parents.is_empty());
    }
}
