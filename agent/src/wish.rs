//! Writing what a person wants into one store: holds, releases, acknowledgements, trust lists. Each is a new signed object.

use crate::catalog::trust_list::{Content, TrustList};
use crate::catalog::wish::{About, Ack, Hold, HoldAction};
use crate::catalog::{Reader, Trusted, note};
use crate::error::{Error, Result};
use crate::keys::Signer;
use crate::scratch;
use crate::store::Layout;
use chrono::{DateTime, Utc};

/// Holds a backup at `now`, until it is released or `until`.
pub async fn hold(
    reader: &Reader,
    signer: &Signer,
    entry: &Trusted,
    reason: &str,
    until: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<Hold> {
    write_hold(reader, signer, entry, HoldAction::Hold, (reason, until), now).await
}

/// Ends every hold on a backup, also one that was made by a clock ahead of ours.
pub async fn release(reader: &Reader, signer: &Signer, entry: &Trusted, now: DateTime<Utc>) -> Result<Hold> {
    let at = entry.holds.iter().map(|(hold, _)| hold.at).max().map_or(now, |latest| latest.max(now));
    write_hold(reader, signer, entry, HoldAction::Release, ("", None), at).await
}

async fn write_hold(
    reader: &Reader,
    signer: &Signer,
    entry: &Trusted,
    action: HoldAction,
    (reason, until): (&str, Option<DateTime<Utc>>),
    at: DateTime<Utc>,
) -> Result<Hold> {
    let random = scratch::random_u32().map_err(|source| Error::io("name", "the hold", source))?;
    let key = reader.layout().hold(entry.id(), at, random);
    let hold = Hold {
        binding: note::binding::<Hold>(reader.layout(), &key, signer),
        id: entry.id().clone(),
        manifest_sha256: entry.manifest_sha256,
        at,
        action,
        reason: reason.to_owned(),
        until,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    note::prepare(&hold, &key, signer)?.store_and_check(reader.store()).await?;
    Ok(hold)
}

/// Accepts one finding.
pub async fn ack(
    reader: &Reader,
    signer: &Signer,
    finding: &About,
    what: &str,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<Ack> {
    let random = scratch::random_u32().map_err(|source| Error::io("name", "the acknowledgement", source))?;
    let key = reader.layout().ack(now, random);
    let ack = Ack {
        binding: note::binding::<Ack>(reader.layout(), &key, signer),
        at: now,
        finding: finding.clone(),
        what: what.to_owned(),
        reason: reason.to_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    note::prepare(&ack, &key, signer)?.store_and_check(reader.store()).await?;
    Ok(ack)
}

/// Signs trust list number `n`, the same bytes for every store.
pub fn trust_list(
    layout: &Layout,
    signer: &Signer,
    n: u32,
    content: Content,
    now: DateTime<Utc>,
) -> Result<note::Prepared> {
    let key = layout.trust_list(n);
    let list = TrustList {
        binding: note::binding::<TrustList>(layout, &key, signer),
        n,
        at: now,
        keys: content.keys,
        manifests: content.manifests,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    note::prepare(&list, &key, signer)
}
