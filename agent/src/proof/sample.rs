//! A few keys of the restored database, to be read back from the etcd that serves it.

use crate::digest::Digest;
use crate::error::{Error, Reason, Result};
use etcd_client::Client;
use etcdfile::{Database, DbError, RecordView};
use lifeboat_policy::proof::Level;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::ControlFlow;
use std::path::Path;

/// Keys that are read back.
const KEYS: usize = 64;

/// What the database says of a key; `None` where it was deleted.
type Content = Option<Held>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    value: Digest,
    create_revision: i64,
    mod_revision: i64,
    version: i64,
    lease: i64,
}

/// Keys chosen by chance, and what the bytes of the backup say of each.
#[derive(Debug, Default)]
pub(super) struct Sample(HashMap<Vec<u8>, Content>);

impl Sample {
    /// Reads every record of the database once.
    pub fn of_file(path: &Path) -> Result<Sample> {
        let file = File::open(path).map_err(|source| Error::io("open", path.display(), source))?;
        let unread = |source: DbError| match source {
            DbError::Io { source, .. } => Error::io("read", path.display(), source),
            other => {
                Error::new(Reason::Damaged, "the restored database cannot be read").because(other).at(Level::Booted)
            }
        };
        let db = Database::open(&file).map_err(unread)?;
        let mut chosen = Chosen::default();
        let all = db.for_each_record(0..=i64::MAX, |record| {
            chosen.see(record);
            ControlFlow::<()>::Continue(())
        });
        all.map_err(unread)?;
        Ok(chosen.into_sample())
    }

    /// Reads each key linearizably; gives how many there were.
    pub async fn compare(&self, client: &mut Client) -> Result<usize> {
        for (key, wanted) in &self.0 {
            let refused = |source| {
                Error::new(Reason::ProofFailed, "the booted etcd refused to read a key")
                    .because(source)
                    .at(Level::Booted)
            };
            let answer = client.get(key.as_slice(), None).await.map_err(refused)?;
            let found = answer.kvs().first().map(|kv| Held {
                value: Digest::of(kv.value()),
                create_revision: kv.create_revision(),
                mod_revision: kv.mod_revision(),
                version: kv.version(),
                lease: kv.lease(),
            });
            if found != *wanted {
                let text = format!("the booted etcd has another {} than the backup", key.escape_ascii());
                return Err(Error::new(Reason::ProofFailed, text).at(Level::Booted));
            }
        }
        Ok(self.0.len())
    }
}

/// The keys with the lowest of randomly keyed hashes: each key has the same chance, however often it was written.
#[derive(Default)]
struct Chosen {
    hashes: RandomState,
    lowest: BTreeMap<u64, (Vec<u8>, Content)>,
}

impl Chosen {
    fn see(&mut self, record: RecordView<'_>) {
        if record.key.is_empty() {
            return; // the ghost of a revision bump
        }
        let hash = self.hashes.hash_one(record.key);
        let highest = self.lowest.last_key_value().map(|(hash, _)| *hash);
        // One that was let go never comes back: the bar only falls.
        if self.lowest.len() >= KEYS && highest.is_some_and(|highest| hash > highest) {
            return;
        }
        let held = (!record.tombstone).then(|| Held {
            value: Digest::of(record.value),
            create_revision: record.create_revision,
            mod_revision: record.main,
            version: record.version,
            lease: record.lease,
        });
        self.lowest.insert(hash, (record.key.to_vec(), held));
        if self.lowest.len() > KEYS {
            self.lowest.pop_last();
        }
    }

    fn into_sample(self) -> Sample {
        Sample(self.lowest.into_values().collect())
    }
}
