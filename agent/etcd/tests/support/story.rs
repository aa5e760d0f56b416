//! Histories of a keyspace, as records and as what a client would have seen at every revision.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::builder::{Items, del, put};

/// A change: a key's number, and a value's size with a lease, or a deletion.
pub type Change = (u8, Option<(usize, u64)>);

/// A key as a client sees it: create, mod, sub, version, lease, value.
pub type Seen = (i64, i64, u32, i64, i64, Vec<u8>);

pub type World = BTreeMap<Vec<u8>, Seen>;

#[derive(Debug, Clone)]
pub struct Story {
    pub records: Items,
    /// The world at each revision from 1 on.
    pub worlds: Vec<World>,
}

impl Story {
    /// Every transaction that changes something is a revision, from 2 on.
    pub fn of(transactions: &[Vec<Change>]) -> Story {
        let (mut records, mut worlds) = (vec![], vec![World::new()]);
        for changes in transactions {
            let main = worlds.len() as i64 + 1;
            let mut world = worlds.last().unwrap().clone();
            let mut sub = 0;
            for (key, change) in changes {
                let name = format!("key/{:02}", key);
                let before = world.get(name.as_bytes());
                match change {
                    Some((size, lease)) => {
                        let (create, version) = before.map_or((main, 1), |seen| (seen.0, seen.3 + 1));
                        let value = vec![b'a' + (main % 26) as u8; *size];
                        records.push(put(main, sub, &name, create, version as u64, &value, *lease));
                        world.insert(name.into_bytes(), (create, main, sub as u32, version, *lease as i64, value));
                    }
                    None if before.is_none() => continue,
                    None => {
                        records.push(del(main, sub, &name));
                        world.remove(name.as_bytes());
                    }
                }
                sub += 1;
            }
            if sub > 0 {
                worlds.push(world);
            }
        }
        Story { records, worlds }
    }

    pub fn revision(&self) -> i64 {
        self.worlds.len() as i64
    }

    pub fn world(&self, at: i64) -> &World {
        &self.worlds[at as usize - 1]
    }

    /// The records that a compaction leaves.
    pub fn compacted(&self, at: i64) -> Items {
        let main = |key: &[u8]| i64::from_be_bytes(key[..8].try_into().unwrap());
        let alive: Vec<(i64, u32)> = match at {
            1.. => self.world(at).values().map(|seen| (seen.1, seen.2)).collect(),
            _ => vec![],
        };
        let sub = |key: &[u8]| u32::try_from(i64::from_be_bytes(key[9..17].try_into().unwrap())).unwrap();
        let stays = |key: &[u8]| match key.len() {
            18 => main(key) >= at,
            _ => main(key) > at || alive.contains(&(main(key), sub(key))),
        };
        self.records.iter().filter(|(key, _)| stays(key)).cloned().collect()
    }
}

/// Histories of up to `most` transactions over `keys` keys, with values of up to `size` bytes.
pub fn stories(most: usize, keys: u8, size: usize) -> impl Strategy<Value = Story> {
    let change = (0..keys, prop::option::weighted(0.7, (0..size, 0u64..4)));
    let transaction = prop::collection::vec(change, 1..4);
    prop::collection::vec(transaction, 0..most).prop_map(|transactions| Story::of(&transactions))
}
