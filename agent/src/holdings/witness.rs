//! What a prover testifies beside its proof: the catalog as it saw it, and whether the backup came late.

use super::Holdings;
use crate::catalog::{Catalog, Late, Seen, Trusted};
use crate::digest::Digest;
use chrono::{DateTime, Utc};
use lifeboat_policy::late::is_late;
use std::collections::BTreeMap;

/// What one process remembers of the stores that it has read, by their places in the config. It is fed every reading.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    looks: BTreeMap<usize, DateTime<Utc>>,
    met: BTreeMap<(usize, Digest), Met>,
}

/// When a backup was first there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Met {
    /// The look before; `None` where it was there at the first one.
    without: Option<DateTime<Utc>>,
    with: DateTime<Utc>,
}

/// Goes into the verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    pub seen: Option<Seen>,
    pub late: Option<Late>,
}

impl Memory {
    /// Takes a reading in. What went and comes back has come anew.
    pub fn note(&mut self, holdings: &Holdings) {
        for (at, _, catalog) in holdings.readable() {
            // Two loops may read at once; the look that began earlier may end later, and shows nothing new then.
            if self.looks.get(&at).is_some_and(|last| *last > catalog.read_at) {
                continue;
            }
            let before = self.looks.insert(at, catalog.read_at);
            let mut met = BTreeMap::new();
            for entry in &catalog.trusted {
                let key = (at, entry.manifest_sha256);
                let new = Met { without: before, with: catalog.read_at };
                met.insert(key, self.met.get(&key).copied().unwrap_or(new));
            }
            self.met.retain(|(store, _), _| *store != at);
            self.met.append(&mut met);
        }
    }

    fn met(&self, at: usize, sha256: Digest) -> Option<&Met> {
        self.met.get(&(at, sha256))
    }

    /// What this reading shows about a backup in the store at this place.
    ///
    /// The first verdict on a backup settles whether it is late. Before that the latest look without it decides, be it of this
    /// process or of the store's latest verdict; unless another store, read by the same prover, had it by then and in time:
    /// then it was only copied late.
    pub fn witness(&self, holdings: &Holdings, at: usize, entry: &Trusted) -> Witness {
        let Some((_, _, catalog)) = holdings.readable().find(|(place, ..)| *place == at) else {
            return Witness::default();
        };
        let late = match entry.verdicts.is_empty() {
            false => entry.late(),
            true => self.late(at, catalog, entry).filter(|late| !self.in_time_elsewhere(holdings, at, entry, late)),
        };
        Witness { seen: Seen::of(catalog), late }
    }

    fn late(&self, at: usize, catalog: &Catalog, entry: &Trusted) -> Option<Late> {
        // The operator's key vouches for what was sealed anew: it keeps the time of what it was made of.
        if entry.manifest.resealed_from.is_some() {
            return None;
        }
        let met = self.met(at, entry.manifest_sha256);
        let without = met.and_then(|met| met.without).max(catalog.seen_without(entry.id(), entry.manifest_sha256));
        let found_at = met.map_or(catalog.read_at, |met| met.with);
        let looked_at = without.filter(|_| is_late(entry.manifest.captured_at, without))?;
        Some(Late { looked_at, found_at })
    }

    fn in_time_elsewhere(&self, holdings: &Holdings, at: usize, entry: &Trusted, late: &Late) -> bool {
        let captured_at = entry.manifest.captured_at;
        holdings.readable().filter(|(place, ..)| *place != at).any(|(place, _, catalog)| {
            let known = catalog.find(entry.id()).filter(|known| known.manifest_sha256 == entry.manifest_sha256);
            known.is_some_and(|known| {
                let proven_in_time = known.verdicts.iter().any(|verdict| !is_late(captured_at, Some(verdict.at)));
                let met = self.met(place, entry.manifest_sha256);
                let met_in_time =
                    met.is_some_and(|met| met.with <= late.looked_at && !is_late(captured_at, met.without));
                known.late().is_none() && (proven_in_time || met_in_time)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Held;
    use super::*;
    use crate::catalog::manifest::Parent;
    use crate::catalog::sample::{catalog, trusted, verdict};
    use lifeboat_policy::proof::Level;

    fn at(hour: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(hour * 3600, 0).unwrap()
    }

    fn entry(hour: i64) -> Trusted {
        trusted("a", "a", hour * 3600, hour, 1)
    }

    fn held(name: &str, hour: i64, trusted: Vec<Trusted>) -> Held {
        let catalog = Catalog { read_at: at(hour), store: name.to_owned(), ..catalog(trusted) };
        Held { name: name.to_owned(), url: name.to_owned(), rules: None, catalog: Ok(catalog) }
    }

    fn reading(hour: i64, stores: &[&[Trusted]]) -> Holdings {
        let held = ["one", "two"].iter().zip(stores).map(|(name, trusted)| held(name, hour, trusted.to_vec()));
        Holdings::new(held.collect(), Level::Sound).unwrap()
    }

    fn late(memory: &Memory, holdings: &Holdings, entry: &Trusted) -> Option<Late> {
        memory.witness(holdings, 0, entry).late
    }

    #[test]
    fn what_was_not_there_hours_after_its_time_and_is_there_later_is_late() {
        let mut memory = Memory::default();
        let (old, came) = (entry(1), entry(2));
        memory.note(&reading(9, &[std::slice::from_ref(&old)]));
        let after = reading(10, &[&[came.clone(), old.clone()]]);
        memory.note(&after);
        assert_eq!(late(&memory, &after, &came), Some(Late { looked_at: at(9), found_at: at(10) }));
        assert_eq!(late(&memory, &after, &old), None, "it was there at the first look");
        // It stays late, however often it is looked at.
        let again = reading(11, &[&[came.clone(), old.clone()]]);
        memory.note(&again);
        assert_eq!(late(&memory, &again, &came), Some(Late { looked_at: at(9), found_at: at(10) }));
        let mut resealed = came.clone();
        resealed.manifest.resealed_from = Some(Parent { id: old.id().clone(), manifest_sha256: old.manifest_sha256 });
        assert_eq!(late(&memory, &again, &resealed), None, "the operator made it");
        // One process that never looked before knows nothing.
        assert_eq!(late(&Memory::default(), &after, &came), None);
    }

    #[test]
    fn a_backup_that_came_while_nobody_looked_is_not_late() {
        let mut memory = Memory::default();
        memory.note(&reading(5, &[&[entry(1)]]));
        let after = reading(30, &[&[entry(7), entry(1)]]);
        memory.note(&after);
        assert_eq!(late(&memory, &after, &entry(7)), None);
    }

    #[test]
    fn a_process_that_begins_takes_the_last_verdict_for_its_look() {
        let mut old = entry(8);
        let mut found = verdict(&old, at(9));
        let before = reading(9, &[std::slice::from_ref(&old)]);
        found.learnt.catalog = Memory::default().witness(&before, 0, &old).seen;
        old.verdicts.push(found);
        let came = entry(2);
        let came = Trusted { stored_at: at(20), ..came };
        let after = reading(21, &[&[old, came.clone()]]);
        assert_eq!(late(&Memory::default(), &after, &came), Some(Late { looked_at: at(9), found_at: at(21) }));
    }

    #[test]
    fn the_first_verdict_settles_it() {
        let mut memory = Memory::default();
        memory.note(&reading(9, &[&[]]));
        let mut came = entry(2);
        let after = reading(10, &[&[came.clone()]]);
        memory.note(&after);
        let found = late(&memory, &after, &came);
        assert!(found.is_some());
        came.verdicts.push(verdict(&came, at(10)));
        assert_eq!(late(&memory, &after, &came), None, "a verdict that did not say so");
        came.verdicts[0].learnt.late = found;
        assert_eq!(late(&Memory::default(), &after, &came), found, "a verdict that did");
    }

    #[test]
    fn what_another_store_had_in_time_was_only_copied_late() {
        let mut memory = Memory::default();
        let entry = entry(2);
        memory.note(&reading(3, &[&[], std::slice::from_ref(&entry)]));
        memory.note(&reading(9, &[&[], std::slice::from_ref(&entry)]));
        let after = reading(10, &[std::slice::from_ref(&entry), std::slice::from_ref(&entry)]);
        memory.note(&after);
        assert_eq!(late(&memory, &after, &entry), None);
        // Put into both at once it is late in both.
        let mut memory = Memory::default();
        memory.note(&reading(9, &[&[], &[]]));
        memory.note(&after);
        assert!(late(&memory, &after, &entry).is_some());
        assert!(memory.witness(&after, 1, &entry).late.is_some());
        // A verdict that another store's prover made in time tells a process that begins.
        let mut proven = entry.clone();
        proven.verdicts.push(verdict(&entry, at(3)));
        let after = reading(10, &[std::slice::from_ref(&entry), &[proven]]);
        let mut memory = Memory::default();
        memory.note(&reading(9, &[&[], &[]]));
        memory.note(&after);
        assert_eq!(late(&memory, &after, &entry), None);
    }
}
