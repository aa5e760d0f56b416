//! The catalog: what the store holds, and how much of it can be believed.
//!
//! An entry climbs from listed to trusted (its manifest's signature, role, cluster and place hold) to proven (a trusted
//! verdict says so). What does not climb is shown with the reason and counts for nothing.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)
)]

pub mod manifest;
pub mod note;
mod publish;
mod read;

use crate::config::ClusterName;
use crate::digest::Digest;
use crate::keys::Distrust;
use chrono::{DateTime, Utc};
use lifeboat_policy::choice::{self, Candidate};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::{Because, Level, Standing, VerdictFact, standing};
use lifeboat_policy::retention::{Facts, TombstoneFact};
use manifest::{Equality, Manifest, Tombstone, Verdict};

pub use publish::{Captured, Draft, Published, publish};
pub use read::Reader;

/// A backup whose manifest a trusted backup key signed for this very place.
#[derive(Clone, Debug)]
pub struct Trusted {
    pub manifest: Manifest,
    pub manifest_sha256: Digest,
    /// Whether the sealed object stands in the listing with the signed size.
    pub present: bool,
    /// Trusted verdicts on exactly this manifest, oldest first.
    pub verdicts: Vec<Verdict>,
    /// Trusted tombstones for exactly this manifest, with the store's time of each, oldest first.
    pub tombstones: Vec<(Tombstone, DateTime<Utc>)>,
}

/// A listed backup that does not count, and why.
#[derive(Clone, Debug)]
pub struct Untrusted {
    pub id: BackupId,
    pub why: Distrust,
}

/// A signed-looking note (verdict, tombstone) that does not count, and why.
#[derive(Clone, Debug)]
pub struct Stray {
    pub path: String,
    pub why: Distrust,
}

/// One reading of a cluster's part of a store.
#[derive(Clone, Debug)]
pub struct Catalog {
    pub cluster: ClusterName,
    pub read_at: DateTime<Utc>,
    /// Newest first by (lineage, revision, capture time).
    pub trusted: Vec<Trusted>,
    pub untrusted: Vec<Untrusted>,
    pub strays: Vec<Stray>,
    /// Blobs without a manifest: uploads under way, or left by a crash.
    pub orphans: Vec<BackupId>,
    /// Objects below the cluster's folder that are not ours; never touched.
    pub foreign: usize,
    /// Parents named by trusted manifests that are neither there nor tombstoned.
    pub missing_parents: Vec<BackupId>,
}

impl Trusted {
    pub fn id(&self) -> &BackupId {
        &self.manifest.id
    }

    /// How the verdicts leave this backup, measured against the level that counts as proven.
    pub fn standing(&self, required: Level) -> Standing {
        let facts: Vec<VerdictFact> = self
            .verdicts
            .iter()
            .map(|verdict| VerdictFact {
                level: verdict.level,
                outcome: verdict.outcome,
                at: verdict.at,
                took_seconds: verdict.took_seconds,
            })
            .collect();
        standing(&facts, required, matches!(self.manifest.equality, Equality::Differs { .. }))
    }

    pub fn facts(&self, required: Level, grace: std::time::Duration) -> Facts {
        Facts {
            id: self.id().clone(),
            lineage: self.manifest.lineage.to_string(),
            revision: self.manifest.db.revision,
            captured_at: self.manifest.captured_at,
            standing: self.standing(required),
            hold: None,
            tombstone: self.tombstone(grace),
            sealed_bytes: self.manifest.sealed.bytes,
        }
    }

    /// The oldest tombstone, with the grace counted by our clock and by the store's: the store's may only delay.
    fn tombstone(&self, grace: std::time::Duration) -> Option<TombstoneFact> {
        self.tombstones
            .iter()
            .map(|(tombstone, stored)| TombstoneFact {
                at: tombstone.at,
                deletable_from: tombstone.at.max(*stored) + grace,
            })
            .min_by_key(|fact| fact.deletable_from)
    }
}

impl Catalog {
    pub fn find(&self, id: &BackupId) -> Option<&Trusted> {
        self.trusted.iter().find(|entry| entry.id() == id)
    }

    pub fn newest(&self) -> Option<&Trusted> {
        self.trusted.first()
    }

    pub fn newest_proven(&self, required: Level) -> Option<&Trusted> {
        self.trusted.iter().find(|entry| matches!(entry.standing(required), Standing::Proven { .. }))
    }

    pub fn facts(&self, required: Level, grace: std::time::Duration) -> Vec<Facts> {
        self.trusted.iter().map(|entry| entry.facts(required, grace)).collect()
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
            lineage: entry.manifest.lineage.to_string(),
            revision: entry.manifest.db.revision,
            captured_at: entry.manifest.captured_at,
            standing: entry.standing(required),
            trusted: choice::Trusted::Yes,
        });
        // Of these nothing but the name is known, since what their manifests say is not believed: its date places them.
        let newest = self.newest().map(|entry| &entry.manifest);
        let untrusted = self.untrusted.iter().map(move |entry| Candidate {
            id: entry.id.clone(),
            lineage: newest.map(|newest| newest.lineage.to_string()).unwrap_or_default(),
            revision: newest.map_or(0, |newest| newest.db.revision),
            captured_at: entry.id.captured_at(),
            standing: Standing::Unproven { because: Because::NotTried },
            trusted: choice::Trusted::No(entry.why.to_string()),
        });
        trusted.chain(untrusted).collect()
    }
}
