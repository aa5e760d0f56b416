//! The store, as it truly is and as it lists itself, and what must stand in it.

use chrono::{DateTime, TimeDelta, Utc};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::{Because, Level, Standing};
use lifeboat_policy::retention::{self, Circumstances, Facts, Plan, Rules, TombstoneFact};
use std::collections::{BTreeMap, VecDeque};

/// How many writes old a listing may be.
const STALE_BY: usize = 4;

/// One backup's objects.
#[derive(Clone, Debug)]
pub(super) struct Backup {
    pub id: BackupId,
    pub slot: DateTime<Utc>,
    pub captured_at: DateTime<Utc>,
    pub lineage: u32,
    pub revision: i64,
    pub standing: Standing,
    pub held: bool,
    pub bytes: u64,
    /// The claim of each tombstone, and when the store took it.
    pub tombstones: Vec<(DateTime<Utc>, DateTime<Utc>)>,
    pub manifest: bool,
    pub blob: bool,
}

pub(super) type Listing = BTreeMap<BackupId, Backup>;

#[derive(Default)]
pub(super) struct Store {
    objects: Listing,
    before: VecDeque<Listing>,
}

impl Store {
    /// Every change is one request, and older listings are remembered.
    pub fn write<T>(&mut self, id: &BackupId, change: impl FnOnce(&mut Backup) -> T) -> T {
        self.remember();
        change(self.objects.get_mut(id).expect("only what is there is changed"))
    }

    pub fn create(&mut self, backup: Backup) {
        self.remember();
        let taken = self.objects.insert(backup.id.clone(), backup);
        assert!(taken.is_none(), "a name was used twice");
    }

    fn remember(&mut self) {
        self.before.push_back(self.objects.clone());
        if self.before.len() > STALE_BY {
            self.before.pop_front();
        }
    }

    pub fn find(&self, id: &BackupId) -> &Backup {
        self.objects.get(id).expect("objects are marked as gone, never forgotten")
    }

    /// What is truly there: a backup is what has a manifest.
    pub fn listing(&self) -> Listing {
        self.objects.iter().filter(|(_, backup)| backup.manifest).map(|(id, b)| (id.clone(), b.clone())).collect()
    }

    /// From some writes ago.
    pub fn stale_listing(&self) -> Listing {
        let mut old = self.before.front().cloned().unwrap_or_default();
        old.retain(|_, backup| backup.manifest);
        old
    }

    pub fn plan_from(&self, listing: &Listing, rules: &Rules, now: DateTime<Utc>) -> Plan {
        let facts: Vec<Facts> = listing.values().map(|backup| facts(backup, rules)).collect();
        retention::plan(&facts, rules, &Circumstances::default(), now)
    }

    /// The newest by the order of lineage and revision, of each lineage, that fulfils this.
    pub fn is_newest(&self, of: &Backup, counts: impl Fn(&Backup) -> bool) -> bool {
        let place = |b: &Backup| (b.revision, b.captured_at, b.id.clone());
        let rivals = self.objects.values().filter(|b| b.manifest && b.lineage == of.lineage && counts(b));
        counts(of) && rivals.map(place).max() == Some(place(of))
    }

    pub fn proven(&self, lineage: u32) -> usize {
        let counts = |b: &&Backup| b.manifest && b.lineage == lineage && b.standing.is_proven();
        self.objects.values().filter(counts).count()
    }

    /// A listed backup has its data, whatever crashed.
    pub fn check(&self) {
        for backup in self.objects.values().filter(|backup| backup.manifest) {
            assert!(backup.blob, "{} is listed without its data", backup.id);
        }
    }
}

fn facts(backup: &Backup, rules: &Rules) -> Facts {
    let grace = TimeDelta::from_std(rules.grace).expect("a short grace");
    let tombstone = |(claimed, stored): &(DateTime<Utc>, DateTime<Utc>)| TombstoneFact {
        asked: false,
        at: *claimed,
        deletable_from: (*claimed).max(*stored) + grace,
    };
    Facts {
        id: backup.id.clone(),
        lineage: format!("{:04}", backup.lineage),
        revision: backup.revision,
        captured_at: backup.captured_at,
        standing: backup.standing,
        hold: backup.held.then(|| "a person".to_owned()),
        tombstone: backup.tombstones.iter().map(tombstone).min_by_key(|fact| fact.deletable_from),
        sealed_bytes: backup.bytes,
        keys: 1,
        db_bytes: 1,
        parents: Vec::new(),
        late: false,
    }
}

pub(super) fn proven(at: DateTime<Utc>) -> Standing {
    Standing::Proven { level: Level::Booted, at, took_seconds: 1.0 }
}

pub(super) fn unproven() -> Standing {
    Standing::Unproven { because: Because::NotTried }
}

pub(super) fn failed(at: DateTime<Utc>) -> Standing {
    Standing::Failed { level: Level::Booted, at }
}
