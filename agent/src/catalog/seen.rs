//! What a prover saw of a store when it made a verdict: signed, so that a later gap shows, and that a backup which came late
//! cannot pass for one that was always there.

use super::Catalog;
use super::manifest::{Parent, Verdict};
use crate::digest::{Digest, Hasher};
use chrono::{DateTime, Utc};
use lifeboat_policy::id::BackupId;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// So many heads are named: more than writers ever make, and few enough for a verdict to stay readable.
const TIPS: usize = 64;

/// The catalog of one store as a prover saw it.
///
/// `sha256` and the counts are over every backup that the store is known to have had: those that are there and those that were
/// deleted with a signed tombstone. Tombstones stay, so this set only grows, and whoever reads it later can tell the
/// part that was there by then: the names say the time, and `newest` is the latest of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The store's URL: in another store these words say nothing.
    pub store: String,
    pub read_at: DateTime<Utc>,
    /// The latest time in the names of the backups that are counted.
    pub newest: DateTime<Utc>,
    /// The backups that no other names as its parent, the newest 64.
    pub tips: Vec<Parent>,
    /// Trusted backups that were there.
    pub trusted: usize,
    /// Backups whose manifest did not count.
    pub untrusted: usize,
    /// Backups that were deleted with a signed tombstone.
    pub deleted: usize,
    /// SHA-256 of a line `<id> <manifest_sha256>` for each of `trusted` and `deleted`, sorted.
    pub sha256: Digest,
}

/// That a backup came into a store long after the time that it claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    /// The latest look at this store that did not show it.
    pub looked_at: DateTime<Utc>,
    /// When it was first found there.
    pub found_at: DateTime<Utc>,
}

/// Every backup that a store is known to have had, with the store's time of its manifest where that stands.
#[derive(Debug)]
pub(super) struct Known<'a>(pub BTreeMap<(&'a BackupId, Digest), Option<DateTime<Utc>>>);

impl<'a> Known<'a> {
    pub fn of(catalog: &'a Catalog) -> Known<'a> {
        let gone = catalog.deleted.iter().map(|(id, sha256)| ((id, *sha256), None));
        let here = catalog.trusted.iter().map(|entry| ((entry.id(), entry.manifest_sha256), Some(entry.stored_at)));
        Known(gone.chain(here).collect())
    }

    /// Those that can have been there when `seen` was written.
    pub fn by(&self, seen: &Seen) -> BTreeSet<(&'a BackupId, Digest)> {
        self.0.keys().copied().filter(|(id, _)| id.captured_at() <= seen.newest).collect()
    }
}

/// The digest of such a set.
fn digest<'a>(sorted: impl IntoIterator<Item = &'a (&'a BackupId, Digest)>) -> Digest {
    let mut hasher = Hasher::default();
    for (id, sha256) in sorted {
        add_line(&mut hasher, &(id, *sha256));
    }
    hasher.finish()
}

pub(super) fn add_line(hasher: &mut Hasher, (id, sha256): &(&BackupId, Digest)) {
    hasher.update(format!("{id} {sha256}\n").as_bytes());
}

impl Seen {
    /// `None` of a store that never had a backup.
    pub fn of(catalog: &Catalog) -> Option<Seen> {
        let known = Known::of(catalog);
        let all: BTreeSet<(&BackupId, Digest)> = known.0.keys().copied().collect();
        let tip = |head: &super::Trusted| Parent { id: head.id().clone(), manifest_sha256: head.manifest_sha256 };
        let mut tips: Vec<Parent> = catalog.heads().into_iter().map(tip).collect();
        tips.sort_by(|a, b| b.id.cmp(&a.id));
        tips.truncate(TIPS);
        Some(Seen {
            store: catalog.store.clone(),
            read_at: catalog.read_at,
            newest: all.iter().map(|(id, _)| id.captured_at()).max()?,
            tips,
            trusted: catalog.trusted.len(),
            untrusted: catalog.untrusted.len(),
            deleted: all.len().saturating_sub(catalog.trusted.len()),
            sha256: digest(&all),
        })
    }

    /// How many backups the store was known to have had.
    pub fn known(&self) -> usize {
        self.trusted.saturating_add(self.deleted)
    }
}

impl Catalog {
    /// Every trusted verdict, those on backups that are gone included.
    pub fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.trusted.iter().flat_map(|entry| &entry.verdicts).chain(&self.unmatched)
    }

    /// What provers saw of this very store.
    pub fn seen(&self) -> impl Iterator<Item = (&Verdict, &Seen)> {
        let of_this_store =
            |verdict: &'_ Verdict| verdict.learnt.catalog.as_ref().is_some_and(|s| s.store == self.store);
        let seen = |verdict| Some((verdict, Verdict::seen(verdict)?));
        self.verdicts().filter(move |verdict| of_this_store(verdict)).filter_map(seen)
    }

    /// The time of the latest verdict of this store whose account of it lacks this backup, as far as its digest tells.
    ///
    /// What came since is not known, only how many: if leaving out so many of those that the store itself calls the newest
    /// gives the signed digest, then it was exactly these. The store's times are only a guess that the digest confirms: where
    /// they lie, nothing is learnt and nobody is accused.
    pub fn seen_without(&self, id: &BackupId, sha256: Digest) -> Option<DateTime<Utc>> {
        let (_, seen) = self.seen().max_by_key(|(_, seen)| seen.read_at)?;
        if id.captured_at() > seen.newest {
            return Some(seen.read_at);
        }
        let known = Known::of(self);
        let by = known.by(seen);
        let came_since = by.len().checked_sub(seen.known()).filter(|count| *count > 0)?;
        let mut latest: Vec<&(&BackupId, Digest)> = by.iter().collect();
        latest.sort_by_key(|key| Reverse((known.0.get(*key), *key)));
        let since: BTreeSet<&(&BackupId, Digest)> = latest.into_iter().take(came_since).collect();
        let rest = by.iter().filter(|key| !since.contains(key));
        (digest(rest) == seen.sha256 && since.contains(&(id, sha256))).then_some(seen.read_at)
    }
}

impl Verdict {
    fn seen(&self) -> Option<&Seen> {
        self.learnt.catalog.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{self, verdict};
    use super::super::{Catalog, Trusted};
    use super::*;

    const HOUR: i64 = 3600;

    fn entry(hour: i64) -> Trusted {
        let stored_at = DateTime::from_timestamp(hour * HOUR + 60, 0).unwrap();
        Trusted { stored_at, ..sample::trusted("a", "a", hour * HOUR, hour, 1) }
    }

    fn catalog(hour: i64, trusted: Vec<Trusted>) -> Catalog {
        let read_at = DateTime::from_timestamp(hour * HOUR, 0).unwrap();
        Catalog { read_at, store: "s3://b".to_owned(), ..sample::catalog(trusted) }
    }

    /// With a verdict on the first entry by a prover that saw `seen`.
    fn proven(mut catalog: Catalog, seen: &Catalog) -> Catalog {
        let mut found = verdict(&catalog.trusted[0], seen.read_at);
        found.learnt.catalog = Seen::of(seen);
        catalog.trusted[0].verdicts.push(found);
        catalog
    }

    #[test]
    fn the_digest_is_what_sha256sum_gives_for_the_lines() {
        let entries = [entry(2), entry(1)];
        let seen = Seen::of(&catalog(3, entries.to_vec())).unwrap();
        let line = |entry: &Trusted| format!("{} {}\n", entry.id(), entry.manifest_sha256);
        assert_eq!(seen.sha256, Digest::of([line(&entries[1]), line(&entries[0])].concat().as_bytes()));
        assert_eq!((seen.trusted, seen.deleted, seen.newest), (2, 0, entries[0].id().captured_at()));
        assert_eq!(Seen::of(&catalog(3, Vec::new())), None);
    }

    #[test]
    fn a_deletion_that_was_signed_changes_no_digest() {
        let whole = catalog(9, vec![entry(3), entry(2), entry(1)]);
        let mut pruned = catalog(10, vec![entry(3), entry(1)]);
        pruned.deleted.insert((entry(2).id().clone(), entry(2).manifest_sha256));
        let (before, after) = (Seen::of(&whole).unwrap(), Seen::of(&pruned).unwrap());
        assert_eq!((before.sha256, before.known()), (after.sha256, after.known()));
        assert_eq!((after.trusted, after.deleted), (2, 1));
    }

    #[test]
    fn what_came_after_a_look_is_told_from_what_was_there() {
        let before = catalog(9, vec![entry(8), entry(1)]);
        let came = Trusted { stored_at: DateTime::from_timestamp(20 * HOUR, 0).unwrap(), ..entry(2) };
        let after = proven(catalog(21, vec![entry(8), came.clone(), entry(1)]), &before);
        let without = |catalog: &Catalog, entry: &Trusted| catalog.seen_without(entry.id(), entry.manifest_sha256);
        assert_eq!(without(&after, &came), Some(before.read_at));
        assert_eq!(without(&after, &entry(8)), None);
        assert_eq!(without(&after, &entry(1)), None);
        // One that is newer than all that was there was not there, whatever the store says of its times.
        let newer = proven(catalog(21, vec![entry(8), entry(10), entry(1)]), &before);
        assert_eq!(without(&newer, &entry(10)), Some(before.read_at));
        // Where the store's times point to another one, the digest contradicts them, and nothing is said.
        let mut lying = after.clone();
        lying.trusted[1].stored_at = DateTime::from_timestamp(0, 0).unwrap();
        assert_eq!(without(&lying, &came), None);
        // Another store's verdicts say nothing here.
        let elsewhere = Catalog { store: "s3://other".to_owned(), ..after };
        assert_eq!(without(&elsewhere, &came), None);
    }
}
