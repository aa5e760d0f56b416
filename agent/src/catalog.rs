//! The catalog: what the store holds, and how much of it can be believed.
//!
//! An entry climbs from listed to trusted (its manifest's signature, role, cluster and place hold) to proven (a trusted
//! verdict says so). What does not climb is shown with the reason and counts for nothing.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)
)]

pub mod history;
pub mod manifest;
mod merge;
pub mod note;
mod orphan;
pub(crate) mod publish;
mod read;
mod seen;
mod signed;
pub mod trust_list;
pub mod wish;

use crate::config::ClusterName;
use crate::digest::Digest;
use crate::error::{Error, Reason, Result};
use crate::keys::{Distrust, Signer, Trust, named, validity};
use chrono::{DateTime, Utc};
use lifeboat_policy::choice::{self, Candidate};
use lifeboat_policy::hold::{self, Held, HoldFact};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::{Because, Level, ProofFacts, Standing, VerdictFact, standing};
use lifeboat_policy::retention::{Facts, TombstoneFact};
use lifeboat_policy::trust::usable;
use manifest::{Manifest, Tombstone, Verdict};
use std::collections::BTreeSet;
use std::sync::Arc;
use trust_list::TrustList;
use wish::{Ack, Hold, HoldAction};

pub use merge::merge;
pub use orphan::Orphan;
pub use publish::{Captured, Draft, Prepared, Uploaded, place, prepare, read_back};
pub use read::Reader;
pub use seen::{Late, Seen};
pub use signed::{Kind, Signature};

/// A backup whose manifest a trusted backup key signed for this very place.
#[derive(Clone, Debug)]
pub struct Trusted {
    pub manifest: Manifest,
    pub manifest_sha256: Digest,
    /// The store's time of the manifest.
    pub stored_at: DateTime<Utc>,
    /// Whether the sealed object and its sums stand in the listing with the signed sizes.
    pub present: bool,
    /// Those that do not.
    pub amiss: Vec<Amiss>,
    /// Trusted verdicts on exactly this manifest, oldest first.
    pub verdicts: Vec<Verdict>,
    /// Trusted tombstones for exactly this manifest, with the store's time of each, oldest first.
    pub tombstones: Vec<(Tombstone, DateTime<Utc>)>,
    /// Trusted holds and releases of exactly this manifest, with the store's time of each, oldest first.
    pub holds: Vec<(Hold, DateTime<Utc>)>,
    /// Whether the operator accepted that it is late.
    pub late_accepted: bool,
}

/// One of a backup's objects that is not there as it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amiss {
    /// `data` or `sums`.
    pub what: &'static str,
    pub wrong: Wrong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    Missing,
    /// So many bytes, where the manifest signs so many.
    Bytes {
        found: u64,
        signed: u64,
    },
    /// Of the signed size, but other bytes.
    Differs,
}

impl Wrong {
    /// What the size alone tells.
    pub fn size(found: Option<u64>, signed: u64) -> Option<Wrong> {
        match found {
            None => Some(Wrong::Missing),
            Some(found) if found == signed => None,
            Some(found) => Some(Wrong::Bytes { found, signed }),
        }
    }
}

/// A listed backup that does not count, and why.
#[derive(Clone, Debug)]
pub struct Untrusted {
    pub id: BackupId,
    pub why: Distrust,
}

/// A signed-looking note (verdict, tombstone, hold, acknowledgement) that does not count, and why.
#[derive(Clone, Debug)]
pub struct Stray {
    pub path: String,
    pub why: Distrust,
}

/// One reading of a cluster's part of a store.
#[derive(Clone, Debug)]
pub struct Catalog {
    pub cluster: ClusterName,
    /// The store's URL; empty where several were put together.
    pub store: String,
    pub read_at: DateTime<Utc>,
    /// Newest first by (lineage, revision, capture time).
    pub trusted: Vec<Trusted>,
    pub untrusted: Vec<Untrusted>,
    pub strays: Vec<Stray>,
    /// What stands without a manifest: uploads under way, or left by a crash, or by a deletion that was cut short.
    pub orphans: Vec<Orphan>,
    /// Findings that the operator accepted, oldest first.
    pub acks: Vec<Ack>,
    /// Objects below the cluster's folder that are not ours; never touched.
    pub foreign: usize,
    /// Parents named by trusted manifests that are neither there nor tombstoned.
    pub missing_parents: Vec<BackupId>,
    /// Manifests that trusted tombstones name, those of backups that are gone included.
    pub tombstoned: BTreeSet<Digest>,
    /// Backups that are gone and whose deletion was signed.
    pub deleted: BTreeSet<(BackupId, Digest)>,
    /// Trusted verdicts on manifests that do not stand here as trusted ones.
    pub unmatched: Vec<Verdict>,
    /// Backups with a tombstone of which nobody can tell here whether it counts: no pruner's key is known.
    pub unjudged: BTreeSet<BackupId>,
    /// The operator's list of keys that counts, where there is one.
    pub trust_list: Option<Arc<TrustList>>,
    /// One that was there and is nowhere now: what it revoked may count again.
    pub lost_list: Option<u32>,
    /// Whose signatures counted when this was read.
    pub keys: Arc<Trust>,
    /// Who signed each object, by its path.
    pub signatures: Vec<Signature>,
}

impl Trusted {
    pub fn id(&self) -> &BackupId {
        &self.manifest.id
    }

    /// How the verdicts leave this backup, measured against the level that counts as proven.
    pub fn standing(&self, required: Level) -> Standing {
        standing(&self.verdict_facts(), required, self.manifest.unprovable.is_some())
    }

    fn verdict_facts(&self) -> Vec<VerdictFact> {
        let fact = |verdict: &Verdict| VerdictFact {
            level: verdict.learnt.failed_at.unwrap_or(verdict.level),
            outcome: verdict.outcome,
            at: verdict.at,
            took_seconds: verdict.learnt.restore_seconds.unwrap_or(verdict.took_seconds),
        };
        self.verdicts.iter().map(fact).collect()
    }

    /// What decides when it is to be proven.
    pub fn proof_facts(&self) -> ProofFacts {
        ProofFacts {
            id: self.id().clone(),
            lineage: self.manifest.lineage.clone(),
            captured_at: self.manifest.captured_at,
            verdicts: self.verdict_facts(),
            diverged: self.manifest.unprovable.is_some(),
            marked: self.marks().next().is_some(),
        }
    }

    /// What retention is told of it at `now`.
    pub fn facts(&self, required: Level, grace: std::time::Duration, now: DateTime<Utc>) -> Facts {
        Facts {
            id: self.id().clone(),
            lineage: self.manifest.lineage.clone(),
            revision: self.manifest.db.revision,
            captured_at: self.manifest.captured_at,
            standing: self.standing(required),
            hold: self.held(now).map(|held| held.words()),
            tombstone: self.tombstone(grace),
            sealed_bytes: self.manifest.sealed.bytes,
            keys: self.manifest.db.keys,
            db_bytes: self.manifest.db.bytes,
            parents: self.manifest.parents.iter().map(|parent| parent.id.clone()).collect(),
            late: self.is_late(),
        }
    }

    /// What the first prover that met it here found: that it came long after the time it claims.
    pub fn late(&self) -> Option<Late> {
        self.verdicts.iter().find_map(|verdict| verdict.learnt.late)
    }

    /// Whether it is late and nobody accepted that: then it decides nothing.
    pub fn is_late(&self) -> bool {
        !self.late_accepted && self.late().is_some()
    }

    /// What a finding of this kind is about, if it speaks of this backup.
    pub fn finding(&self, kind: &str) -> wish::About {
        wish::About::new(kind, format!("{} {}", self.id(), self.manifest_sha256))
    }

    /// The hold that counts at `now`.
    pub fn held(&self, now: DateTime<Utc>) -> Option<Held> {
        let facts: Vec<HoldFact> = self.holds.iter().map(|(hold, _)| hold.fact()).collect();
        hold::held(&facts, now)
    }

    /// The tombstones that count. A hold, even one that has ended since, undid those that stood when it was made: what is
    /// to go after it is marked anew and waits anew.
    pub fn marks(&self) -> impl Iterator<Item = &(Tombstone, DateTime<Utc>)> {
        let holds = self.holds.iter().filter(|(hold, _)| hold.action == HoldAction::Hold);
        let undone = holds.map(|(hold, stored)| hold.at.max(*stored)).max();
        self.tombstones.iter().filter(move |(tombstone, _)| undone.is_none_or(|undone| tombstone.at > undone))
    }

    /// The oldest tombstone, with the grace counted by our clock and by the store's: the store's may only delay. One that a
    /// person asked for goes before those of a plan.
    pub fn tombstone(&self, grace: std::time::Duration) -> Option<TombstoneFact> {
        self.marks()
            .map(|(tombstone, stored)| TombstoneFact {
                at: tombstone.at,
                deletable_from: tombstone.at.max(*stored) + grace,
                asked: tombstone.asked,
            })
            .min_by_key(|fact| (!fact.asked, fact.deletable_from))
    }
}

impl Catalog {
    /// A cluster's part of a store in which nothing stands.
    pub fn empty(cluster: ClusterName, read_at: DateTime<Utc>) -> Catalog {
        Catalog {
            cluster,
            store: String::new(),
            read_at,
            trusted: Vec::new(),
            untrusted: Vec::new(),
            strays: Vec::new(),
            orphans: Vec::new(),
            acks: Vec::new(),
            foreign: 0,
            missing_parents: Vec::new(),
            tombstoned: BTreeSet::new(),
            deleted: BTreeSet::new(),
            unmatched: Vec::new(),
            unjudged: BTreeSet::new(),
            trust_list: None,
            lost_list: None,
            keys: Arc::default(),
            signatures: Vec::new(),
        }
    }

    /// Refuses a key whose signature would count for nothing: what it signed would be made in vain, again and again.
    pub fn may_sign(&self, signer: &Signer, now: DateTime<Utc>) -> Result<()> {
        let Some(known) = self.keys.find(signer.public()) else { return Ok(()) };
        usable(&known.validity, now).map_err(|why| {
            let (key, why) = (named(known.key.as_str(), known.id.as_deref()), validity::words(why));
            let text = format!("the {} key {key} {why}: what it signs counts for nothing", known.role);
            Error::new(Reason::Config, text).on("sign", known.role).hint(format!(
                "make a new one, `lifeboat keygen --role {0} --out DIR`, name it under keys.signing_keys.{0}, and have the \
                 operator trust it: `lifeboat keyring trust {0}=KEY --apply`",
                known.role
            ))
        })
    }

    pub fn find(&self, id: &BackupId) -> Option<&Trusted> {
        self.trusted.iter().find(|entry| entry.id() == id)
    }

    /// The backup before this one in its lineage.
    pub fn previous(&self, entry: &Trusted) -> Option<&Trusted> {
        let before = |other: &&Trusted| {
            other.manifest.lineage == entry.manifest.lineage && other.manifest.captured_at < entry.manifest.captured_at
        };
        self.trusted.iter().filter(before).max_by_key(|other| other.manifest.captured_at)
    }

    pub fn newest(&self) -> Option<&Trusted> {
        self.trusted.first()
    }

    /// The newest proven backup that is not late.
    pub fn newest_proven(&self, required: Level) -> Option<&Trusted> {
        self.trusted.iter().find(|entry| entry.standing(required).is_proven() && !entry.is_late())
    }

    pub fn facts(&self, required: Level, grace: std::time::Duration, now: DateTime<Utc>) -> Vec<Facts> {
        self.trusted.iter().map(|entry| entry.facts(required, grace, now)).collect()
    }

    /// The backups whose finding of this kind the operator acknowledged: of this very manifest, so that a new one counts anew.
    pub fn acked(&self, kind: &str) -> BTreeSet<BackupId> {
        let acked = |entry: &&Trusted| self.acks.iter().any(|ack| ack.finding == entry.finding(kind));
        self.trusted.iter().filter(acked).map(|entry| entry.id().clone()).collect()
    }

    /// Trusted entries that no other trusted entry names as its parent: what a new manifest builds on.
    pub fn heads(&self) -> Vec<&Trusted> {
        let is_parent = |id: &BackupId| {
            self.trusted.iter().any(|entry| entry.manifest.parents.iter().any(|parent| parent.id == *id))
        };
        self.trusted.iter().filter(|entry| !is_parent(entry.id())).collect()
    }

    /// Everything that a restore may choose from, the untrusted included, so that consent can name them.
    pub fn candidates(&self, required: Level) -> Vec<Candidate> {
        let trusted = self.trusted.iter().map(|entry| Candidate {
            id: entry.id().clone(),
            lineage: entry.manifest.lineage.clone(),
            revision: entry.manifest.db.revision,
            captured_at: entry.manifest.captured_at,
            standing: entry.standing(required),
            trusted: choice::Trusted::Yes,
            late: entry.is_late(),
        });
        // Of these nothing but the name is known, since what their manifests say is not believed: its date places them. It
        // says the second only, and of two backups of one second rather the unknown one counts as newer.
        let newest = self.newest().map(|entry| &entry.manifest);
        let untrusted = self.untrusted.iter().map(move |entry| Candidate {
            id: entry.id.clone(),
            lineage: newest.map(|newest| newest.lineage.clone()).unwrap_or_default(),
            revision: newest.map_or(0, |newest| newest.db.revision),
            captured_at: entry.id.captured_at() + chrono::TimeDelta::milliseconds(999),
            standing: Standing::Unproven { because: Because::NotTried },
            trusted: choice::Trusted::No(entry.why.to_string()),
            late: false,
        });
        trusted.chain(untrusted).collect()
    }
}

/// Catalogs made of plain values, for tests.
#[cfg(test)]
pub(crate) mod sample {
    use super::manifest::{Binding, Blob, DbFacts, Equality, EtcdFacts, Manifest, Verdict};
    use super::{Catalog, Trusted};
    use crate::config::ClusterName;
    use crate::digest::Digest;
    use chrono::{DateTime, Utc};
    use lifeboat_policy::id::BackupId;
    use lifeboat_policy::proof::{Level, Outcome};

    pub(crate) fn catalog(trusted: Vec<Trusted>) -> Catalog {
        Catalog { trusted, ..Catalog::empty(ClusterName::parse("sample").unwrap(), at(0)) }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    /// A trusted entry of a cluster id and lineage, captured so many seconds after 1970.
    pub(crate) fn trusted(cluster_id: &str, lineage: &str, seconds: i64, revision: i64, raft_term: u64) -> Trusted {
        let digest = Digest::of(format!("{lineage} {seconds} {revision}").as_bytes());
        let blob = Blob::of(b"");
        let manifest = Manifest {
            binding: Binding { kind: String::new(), cluster: "sample".to_owned(), path: String::new(), signer: digest },
            id: BackupId::new(at(seconds), revision.unsigned_abs()),
            lineage: lineage.to_owned(),
            slot: None,
            slot_seconds: None,
            captured_at: at(seconds),
            finished_at: at(seconds),
            etcd: EtcdFacts {
                cluster_id: cluster_id.to_owned(),
                member_id: "1".to_owned(),
                member_name: "cp-1".to_owned(),
                version: "3.6.14".to_owned(),
                raft_term,
                members: Vec::new(),
                alarms: Vec::new(),
            },
            db: DbFacts {
                revision,
                compact_revision: -1,
                scheduled_compact_revision: -1,
                records: 0,
                keys: 0,
                tombstones: 0,
                bytes: 0,
                free_bytes: 0,
                page_bytes: 4096,
                storage_version: None,
                cluster_version: None,
                hash_kv: None,
            },
            equality: Equality::Equal { revision, members: 1 },
            encryption_at_rest: None,
            unprovable: None,
            answers: Vec::new(),
            plaintext: blob,
            sealed: blob,
            sums: blob,
            recipients: Vec::new(),
            agent_version: "0".to_owned(),
            parents: Vec::new(),
            resealed_from: None,
            trust_list: None,
        };
        Trusted {
            manifest,
            manifest_sha256: digest,
            stored_at: at(seconds),
            present: true,
            amiss: Vec::new(),
            verdicts: Vec::new(),
            tombstones: Vec::new(),
            holds: Vec::new(),
            late_accepted: false,
        }
    }

    /// A proof to `sound` that passed.
    pub(crate) fn verdict(entry: &Trusted, at: DateTime<Utc>) -> Verdict {
        let manifest = &entry.manifest;
        Verdict {
            binding: Binding { path: format!("proofs/{}", at.timestamp()), ..manifest.binding.clone() },
            id: manifest.id.clone(),
            manifest_sha256: entry.manifest_sha256,
            at,
            level: Level::Sound,
            outcome: Outcome::Passed,
            steps: Vec::new(),
            took_seconds: 1.0,
            agent_version: String::new(),
            etcd_version: None,
            learnt: Default::default(),
        }
    }
}
