//! What each store of a cluster held when all of them were read: every one for itself, and together.

mod witness;

use crate::catalog::{Catalog, Trusted, merge};
use crate::error::{Error, Result};
use chrono::{DateTime, Utc};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::{self, Level, Standing};
use lifeboat_policy::retention::Rules;
use lifeboat_policy::schedule::Fired;

pub use witness::{Memory, Witness};

/// One store's part.
#[derive(Debug)]
pub struct Held {
    pub name: String,
    pub url: String,
    /// What it keeps; `None` where no config is at hand.
    pub rules: Option<Rules>,
    pub catalog: Result<Catalog>,
}

/// All stores of a cluster in the order of the config, at least one of them readable.
#[derive(Debug)]
pub struct Holdings {
    pub stores: Vec<Held>,
    /// What the readable ones hold together.
    pub merged: Catalog,
}

/// A backup as one store holds it.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// The store's place in the config.
    pub at: usize,
    pub held: &'a Held,
    pub entry: &'a Trusted,
}

impl Holdings {
    /// Fails only where no store could be read at all.
    pub fn new(mut stores: Vec<Held>, required: Level) -> Result<Holdings> {
        let readable: Vec<&Catalog> = stores.iter().filter_map(|held| held.catalog.as_ref().ok()).collect();
        let Some(merged) = merge(&readable, readable.len() == stores.len(), required) else {
            return Err(none_readable(stores));
        };
        // A store that is behind lacks parents that stand in another: of them nothing can be said from one store alone.
        for catalog in stores.iter_mut().filter_map(|held| held.catalog.as_mut().ok()) {
            catalog.missing_parents.retain(|id| merged.missing_parents.contains(id));
        }
        Ok(Holdings { stores, merged })
    }

    /// Whether there is but one store: then nothing is said of stores where nobody asked.
    pub fn is_single(&self) -> bool {
        self.stores.len() == 1
    }

    pub fn readable(&self) -> impl Iterator<Item = (usize, &Held, &Catalog)> {
        self.stores.iter().enumerate().filter_map(|(at, held)| Some((at, held, held.catalog.as_ref().ok()?)))
    }

    pub fn unreadable(&self) -> impl Iterator<Item = (usize, &Held, &Error)> {
        self.stores.iter().enumerate().filter_map(|(at, held)| Some((at, held, held.catalog.as_ref().err()?)))
    }

    /// Every store that lists this backup.
    pub fn holders<'a>(&'a self, id: &'a BackupId) -> impl Iterator<Item = Holder<'a>> {
        self.readable().filter_map(move |(at, held, catalog)| Some(Holder { at, held, entry: catalog.find(id)? }))
    }

    /// The stores to read a backup from, the best first: where it was proven, then where it was not tried, then where it
    /// failed, and last where its data does not look whole.
    pub fn sources<'a>(&'a self, id: &'a BackupId, required: Level) -> Vec<Holder<'a>> {
        let mut holders: Vec<Holder<'a>> = self.holders(id).collect();
        holders.sort_by_key(|holder| match holder.entry.standing(required) {
            _ if !holder.entry.present => 3,
            Standing::Proven { .. } => 0,
            Standing::Unproven { .. } => 1,
            Standing::Failed { .. } => 2,
        });
        holders
    }

    /// Every proof that is due, each store for itself: a proof tells what that store gives back. The most urgent first, and of
    /// equals that of the first store.
    pub fn proofs_due(&self, rules: &proof::Rules, now: DateTime<Utc>) -> Vec<(Holder<'_>, proof::Task)> {
        let of_store = |(at, _, catalog): (usize, &'_ Held, &'_ Catalog)| {
            let facts: Vec<_> = catalog.trusted.iter().map(Trusted::proof_facts).collect();
            let tasks = proof::due(&facts, rules, now).into_iter().enumerate();
            tasks.map(|(place, task)| (place, at, task)).collect::<Vec<_>>()
        };
        let mut due: Vec<_> = self.readable().flat_map(of_store).collect();
        due.sort_by_key(|(place, at, task)| (task.why.urgency(), *place, *at));
        let holder = |(_, at, task): (usize, usize, proof::Task)| {
            let held = self.stores.get(at)?;
            let entry = held.catalog.as_ref().ok()?.find(&task.id)?;
            Some((Holder { at, held, entry }, task))
        };
        due.into_iter().filter_map(holder).collect()
    }

    /// The slots that count as served: whose backup stands in `quorum` stores, or stood there until it was pruned. What
    /// too few stores have was a run that failed, and is run again.
    pub fn served(&self, quorum: usize) -> Fired {
        let had = |entry: &&Trusted| {
            let had_here = |catalog: &Catalog| {
                catalog.tombstoned.contains(&entry.manifest_sha256)
                    || catalog.trusted.iter().any(|known| known.manifest_sha256 == entry.manifest_sha256)
            };
            self.readable().filter(|(_, _, catalog)| had_here(catalog)).count() >= quorum
        };
        self.merged.trusted.iter().filter(had).filter_map(|entry| entry.manifest.slot).collect()
    }
}

/// The error of a single store as it is; of several one that tells each.
fn none_readable(stores: Vec<Held>) -> Error {
    let tell = |held: &Held| held.catalog.as_ref().err().map(|error| format!("{}: {error}", held.name));
    let told: Vec<String> = stores.iter().filter_map(tell).collect();
    let several = stores.len() > 1;
    match stores.into_iter().find_map(|held| held.catalog.err()) {
        Some(mut first) if several => {
            let hint = first.hint.take();
            let error = Error::new(first.reason, format!("no store can be read: {}", told.join("; ")));
            match hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        }
        Some(only) => only,
        None => Error::new(crate::error::Reason::Config, "the config names no store"),
    }
}

/// Stores made of plain values, for tests.
#[cfg(test)]
pub(crate) mod sample {
    use super::*;

    pub(crate) fn held(name: &str, catalog: Result<Catalog>) -> Held {
        Held { name: name.to_owned(), url: format!("file:///{name}"), rules: None, catalog }
    }
}

#[cfg(test)]
mod tests {
    use super::sample::held;
    use super::*;
    use crate::catalog::sample::{catalog, trusted};
    use crate::error::Reason;

    fn slotted(seconds: i64) -> Trusted {
        let mut entry = trusted("a", "a", seconds, seconds, 1);
        entry.manifest.slot = Some(entry.manifest.captured_at);
        entry
    }

    fn unreachable() -> Result<Catalog> {
        Err(Error::new(Reason::StoreUnreachable, "gone").hint("look for it"))
    }

    #[test]
    fn a_slot_is_served_when_the_quorum_has_it_or_had_it() {
        let [everywhere, once, pruned] = [100, 200, 300].map(slotted);
        let a = catalog(vec![everywhere.clone(), once.clone(), pruned.clone()]);
        let mut b = catalog(vec![everywhere.clone()]);
        b.tombstoned.insert(pruned.manifest_sha256);
        let holdings = Holdings::new(vec![held("a", Ok(a)), held("b", Ok(b))], Level::Sound).unwrap();
        let slots = |entries: &[&Trusted]| entries.iter().filter_map(|entry| entry.manifest.slot).collect::<Fired>();
        assert_eq!(holdings.served(1), slots(&[&everywhere, &once, &pruned]));
        assert_eq!(holdings.served(2), slots(&[&everywhere, &pruned]));
    }

    #[test]
    fn one_readable_store_is_enough_and_with_none_each_is_named() {
        let stores = || vec![held("a", unreachable()), held("b", Ok(catalog(vec![slotted(5)])))];
        let holdings = Holdings::new(stores(), Level::Sound).unwrap();
        assert_eq!((holdings.merged.trusted.len(), holdings.unreadable().count()), (1, 1));
        let error = Holdings::new(vec![held("a", unreachable()), held("b", unreachable())], Level::Sound).unwrap_err();
        assert_eq!(error.message, "no store can be read: a: gone; b: gone");
        assert_eq!((error.reason, error.hint.as_deref()), (Reason::StoreUnreachable, Some("look for it")));
        let error = Holdings::new(vec![held("a", unreachable())], Level::Sound).unwrap_err();
        assert_eq!(error.message, "gone");
    }
}
