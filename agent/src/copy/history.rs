//! The rest of a history: what `lifeboat copy` moves beside the backups themselves.

use crate::catalog::{Catalog, Trusted};
use crate::digest::Digest;
use crate::error::Result;
use crate::store::{ObjectKey, Store};
use bytes::Bytes;
use lifeboat_policy::id::BackupId;
use std::collections::BTreeSet;

/// The largest signed object and the largest signature.
const NOTE_CAP: u64 = 1 << 20;

/// A verdict or a tombstone, by its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    pub id: BackupId,
    pub key: ObjectKey,
}

/// One backup of the source and what is to be done for it, oldest first, so that a copy that ends early leaves a history
/// without gaps.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    pub entry: &'a Trusted,
    pub step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Copy,
    /// The target has the very same manifest, and its data.
    Skip,
    /// The target has another manifest, or one that does not count, at that name.
    Conflict,
    /// The source lists it, but its data is gone.
    NoData,
}

/// What a whole copy has to do for these backups of `from`; `None`: for all.
pub fn difference<'a>(from: &'a Catalog, to: &Catalog, only: Option<&BTreeSet<BackupId>>) -> Vec<Item<'a>> {
    let there = |entry: &Trusted| -> Option<(Digest, bool)> {
        to.find(entry.id()).map(|known| (known.manifest_sha256, known.present))
    };
    let untrusted = |entry: &Trusted| to.untrusted.iter().any(|known| known.id == *entry.id());
    let step = |entry: &Trusted| match there(entry) {
        Some((sha256, true)) if sha256 == entry.manifest_sha256 => Step::Skip,
        // A manifest without its data: the data is brought back, the manifest stays.
        Some((sha256, false)) if sha256 == entry.manifest_sha256 && entry.present => Step::Copy,
        Some(_) => Step::Conflict,
        None if untrusted(entry) => Step::Conflict,
        None if !entry.present => Step::NoData,
        None => Step::Copy,
    };
    let wanted = |entry: &&Trusted| only.is_none_or(|only| only.contains(entry.id()));
    from.trusted.iter().rev().filter(wanted).map(|entry| Item { entry, step: step(entry) }).collect()
}

/// Copies a signed object, a note or a trust list, and its signature as they are, signature first. `false`: both were there.
///
/// The source's reader believed it already, and whoever reads the target judges it anew: what is none of ours counts
/// for nothing there either.
pub async fn signed(from: &Store, to: &Store, key: &ObjectKey) -> Result<bool> {
    let mut added = false;
    for key in [key.signature(), key.clone()] {
        let bytes: Bytes = from.read(&key, NOTE_CAP).await?;
        if to.head(&key).await?.is_none() {
            added = true;
        }
        // Another object at that name is a conflict, and the same one a success.
        to.create(&key, bytes).await?;
    }
    Ok(added)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::sample::{catalog, trusted};

    #[test]
    fn what_is_there_is_skipped_and_what_differs_is_a_conflict() {
        let [a, b, c, d] = [1, 2, 3, 4].map(|day| trusted("a", "a", day * 100, day, 1));
        let other = Trusted { manifest_sha256: Digest::of(b"another"), ..b.clone() };
        let gone = Trusted { present: false, ..c.clone() };
        let source = catalog(vec![d.clone(), gone, b, a.clone()]);
        let target = catalog(vec![other, a]);
        let steps = |only: Option<&BTreeSet<BackupId>>| {
            let items = difference(&source, &target, only);
            items.iter().map(|item| (item.entry.manifest.db.revision, item.step)).collect::<Vec<_>>()
        };
        assert_eq!(steps(None), [(1, Step::Skip), (2, Step::Conflict), (3, Step::NoData), (4, Step::Copy)]);
        assert_eq!(steps(Some(&[d.id().clone()].into())), [(4, Step::Copy)]);
    }
}
