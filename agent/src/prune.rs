//! Prune: carries out a retention plan, and can do nothing else. Tombstone first; after the grace, manifest first.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)
)]

use crate::catalog::manifest::Tombstone;
use crate::catalog::{Catalog, Trusted, note};
use crate::error::{Error, Reason, Result};
use crate::keys::Signer;
use crate::scratch;
use crate::store::{Layout, Store};
use chrono::{DateTime, Utc};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::retention::{Action, Plan};

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub marked: Vec<BackupId>,
    pub deleted: Vec<BackupId>,
    pub freed_bytes: u64,
}

/// Carries out `plan`, which was made from `catalog`. A frozen plan has nothing to carry out.
pub async fn apply(
    store: &Store,
    layout: &Layout,
    signer: &Signer,
    catalog: &Catalog,
    plan: &Plan,
    now: DateTime<Utc>,
) -> Result<Done> {
    let mut done = Done::default();
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
                mark(store, layout, signer, find()?, reasons.join("; "), now).await?;
                done.marked.push(verdict.id.clone());
            }
            Action::Delete => {
                let entry = find()?;
                delete(store, layout, entry).await?;
                done.freed_bytes = done.freed_bytes.saturating_add(entry.manifest.sealed.bytes);
                done.deleted.push(verdict.id.clone());
            }
        }
    }
    Ok(done)
}

async fn mark(
    store: &Store,
    layout: &Layout,
    signer: &Signer,
    entry: &Trusted,
    reason: String,
    now: DateTime<Utc>,
) -> Result<()> {
    let random = scratch::random_u32().map_err(|source| Error::io("name", "the tombstone", source))?;
    let key = layout.tombstone(entry.id(), now, random);
    let tombstone = Tombstone {
        binding: note::binding::<Tombstone>(layout, &key, signer),
        id: entry.id().clone(),
        manifest_sha256: entry.manifest_sha256,
        at: now,
        reason,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    note::prepare(&tombstone, &key, signer)?.store(store).await?;
    Ok(())
}

/// Manifest, signature, blob, sums, verdicts, in this order: a crash between leaves an orphan, never a listed backup
/// without data. The tombstone stays.
async fn delete(store: &Store, layout: &Layout, entry: &Trusted) -> Result<()> {
    let id = entry.id();
    assert!(!entry.tombstones.is_empty(), "only a marked backup is deleted");
    let manifest = layout.manifest(id);
    store.delete(&manifest).await?;
    store.delete(&manifest.signature()).await?;
    store.delete(&layout.blob(id)).await?;
    store.delete(&layout.sums(id)).await?;
    for verdict in &entry.verdicts {
        // Its path was signed and read back from this very place.
        if let Some((_, _, key)) = layout.parse(&verdict.binding.path) {
            store.delete(&key).await?;
            store.delete(&key.signature()).await?;
        }
    }
    Ok(())
}
