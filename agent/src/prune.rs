//! Prune: carries out a retention plan, and can do nothing else. Tombstone first; after the grace, manifest first.
//!
//! Whatever is met on the way is left as a later run finds it: deleting twice, marking twice and stopping anywhere do no
//! harm, so neither do two pruners at once.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)
)]

use crate::catalog::manifest::Tombstone;
use crate::catalog::{Catalog, Orphan, Reader, Trusted, note};
use crate::digest::Digest;
use crate::error::{Error, Reason, Result};
use crate::keys::Signer;
use crate::scratch;
use crate::store::{ObjectKey, Removal, Store};
use chrono::{DateTime, Utc};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::retention::{Action, Plan, Rules};
use std::time::Duration;

/// One store's pruner, at one moment.
pub struct Pruner<'a> {
    pub reader: &'a Reader,
    pub signer: &'a Signer,
    pub rules: &'a Rules,
    /// How long an upload without a manifest is left alone, before it is marked and again after.
    pub orphan_grace: Duration,
    pub now: DateTime<Utc>,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub marked: Vec<BackupId>,
    pub deleted: Vec<BackupId>,
    pub freed_bytes: u64,
    /// To be deleted by the plan, but held when the store was asked once more.
    pub spared: Vec<BackupId>,
    /// Objects that the store keeps until their lock ends.
    pub locked: Vec<Locked>,
    /// Uploads without a manifest that were seen for the first time.
    pub orphans_marked: Vec<BackupId>,
    pub orphans_deleted: Vec<BackupId>,
}

/// An object that was to be deleted and is locked. It is tried again at the next run, not before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    pub id: BackupId,
    pub object: String,
    pub why: String,
}

impl Done {
    pub fn is_empty(&self) -> bool {
        *self == Done::default()
    }
}

impl Pruner<'_> {
    /// Carries out `plan`, which was made from `catalog`, then sweeps what stands without a manifest. A frozen plan has
    /// nothing to carry out, and nothing else is deleted then either.
    pub async fn apply(&self, catalog: &Catalog, plan: &Plan) -> Result<Done> {
        let mut done = Done::default();
        if plan.frozen.is_some() {
            return Ok(done);
        }
        for verdict in &plan.verdicts {
            let find = || {
                catalog.find(&verdict.id).ok_or_else(|| {
                    Error::new(Reason::Internal, format!("the plan names {}, the catalog does not", verdict.id))
                })
            };
            match verdict.action {
                Action::Keep | Action::Wait { .. } => {}
                Action::Mark { .. } => {
                    let reasons: Vec<String> = verdict.reasons.iter().map(ToString::to_string).collect();
                    let (entry, reason) = (find()?, reasons.join("; "));
                    self.mark(entry.id(), Some(entry.manifest_sha256), reason).await?;
                    done.marked.push(verdict.id.clone());
                }
                Action::Delete => self.delete(find()?, &mut done).await?,
            }
        }
        for orphan in catalog.orphans.iter().take(self.rules.max_deletions) {
            self.sweep(orphan, &mut done).await?;
        }
        Ok(done)
    }

    async fn mark(&self, id: &BackupId, manifest_sha256: Option<Digest>, reason: String) -> Result<()> {
        let stored = tombstone(self.reader, self.signer, id, manifest_sha256, reason, self.now)?;
        stored.store(self.store()).await.map(drop)
    }

    fn store(&self) -> &Store {
        self.reader.store()
    }

    /// Manifest, signature, blob, sums, verdicts, in this order: a crash between leaves an orphan, never a listed backup
    /// without data. The tombstone stays.
    async fn delete(&self, entry: &Trusted, done: &mut Done) -> Result<()> {
        let (id, layout) = (entry.id(), self.reader.layout());
        assert!(entry.marks().next().is_some(), "only a marked backup is deleted");
        // The plan is as old as its catalog: a hold may have come since, and it comes before everything.
        if let Some(held) = self.reader.held(id, self.now).await? {
            tracing::info!(store = self.store().name(), %id, reason = held.reason, "spared: it was held meanwhile");
            done.spared.push(id.clone());
            return Ok(());
        }
        let manifest = layout.manifest(id);
        let mut objects = vec![manifest.clone(), manifest.signature(), layout.blob(id), layout.sums(id)];
        // Their paths were signed and read back from these very places.
        let verdicts = entry.verdicts.iter().filter_map(|verdict| layout.parse(&verdict.binding.path));
        objects.extend(verdicts.flat_map(|(_, _, key)| [key.clone(), key.signature()]));
        if self.remove(id, &objects, done).await? {
            done.freed_bytes = done.freed_bytes.saturating_add(entry.manifest.sealed.bytes);
            done.deleted.push(id.clone());
        }
        Ok(())
    }

    /// Removes these in their order. `false`: the store keeps one under a lock, and what comes after it was left.
    async fn remove(&self, id: &BackupId, objects: &[ObjectKey], done: &mut Done) -> Result<bool> {
        for object in objects {
            if let Removal::Locked(error) = self.store().remove(object).await? {
                tracing::info!(store = self.store().name(), %id, %object, "locked, so it stays for now");
                done.locked.push(Locked { id: id.clone(), object: object.to_string(), why: error.to_string() });
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What has no manifest goes after the store itself said so twice, a grace apart; a listing's silence says nothing.
    async fn sweep(&self, orphan: &Orphan, done: &mut Done) -> Result<()> {
        let (id, grace) = (&orphan.id, self.orphan_grace);
        let acts = match orphan.seen {
            Some(_) => orphan.is_due(grace, self.now),
            None => orphan.is_old(grace, self.now),
        };
        if !acts || self.store().head(&self.reader.layout().manifest(id)).await?.is_some() {
            return Ok(());
        }
        // Somebody may have held the backup that this was.
        if self.reader.held(id, self.now).await?.is_some() {
            done.spared.push(id.clone());
            return Ok(());
        }
        if orphan.seen.is_none() {
            self.mark(id, None, "an upload without a manifest".to_owned()).await?;
            done.orphans_marked.push(id.clone());
        } else if self.remove(id, &orphan.objects, done).await? {
            done.freed_bytes = done.freed_bytes.saturating_add(orphan.bytes);
            done.orphans_deleted.push(id.clone());
        }
        Ok(())
    }
}

fn tombstone(
    reader: &Reader,
    signer: &Signer,
    id: &BackupId,
    manifest_sha256: Option<Digest>,
    reason: String,
    at: DateTime<Utc>,
) -> Result<note::Prepared> {
    let layout = reader.layout();
    let random = scratch::random_u32().map_err(|source| Error::io("name", "the tombstone", source))?;
    let key = layout.tombstone(id, at, random);
    // A deletion that the operator signs is one that a person asked for.
    let asked = reader.trust().role_of(signer.public()) == Some(crate::config::Role::Operator);
    let tombstone = Tombstone {
        binding: note::binding::<Tombstone>(layout, &key, signer),
        id: id.clone(),
        manifest_sha256,
        at,
        reason,
        asked,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    note::prepare(&tombstone, &key, signer)
}

/// Marks a backup for deletion because a person asked for it.
pub async fn ask(reader: &Reader, signer: &Signer, entry: &Trusted, reason: &str, now: DateTime<Utc>) -> Result<()> {
    let prepared = tombstone(reader, signer, entry.id(), Some(entry.manifest_sha256), reason.to_owned(), now)?;
    prepared.store_and_check(reader.store()).await.map(drop)
}
