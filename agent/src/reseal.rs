//! Reseal: a backup is opened and sealed again for other recipients, in one pass and without plaintext on any disk. What
//! comes out is a new backup that the operator signs; nobody has proven it, and the old one stays as it is.

use crate::catalog::manifest::{Blob, Manifest, Parent};
use crate::catalog::publish::{came_back_whole, commit};
use crate::catalog::{Catalog, Reader, Trusted, note};
use crate::digest::Hasher;
use crate::error::{Error, Reason, Result};
use crate::fetch;
use crate::keys::{Identities, Recipients, Signer};
use crate::scratch;
use crate::seal::{SealReceipt, Sealer};
use crate::store::Upload;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use lifeboat_policy::id::BackupId;
use std::io::Read;
use tokio::sync::mpsc;

/// Sealed pieces between sealer and upload, 256 KiB each.
const PIECES_AHEAD: usize = 16;

/// Who opens the old backup, who the new one, and who answers for it.
pub struct Sealing<'a> {
    pub identities: Identities,
    pub recipients: Recipients,
    pub signer: &'a Signer,
}

/// Seals `entry` anew into the store that it is read from. `before` is what all stores hold.
pub async fn reseal(
    reader: &Reader,
    entry: &Trusted,
    before: &Catalog,
    sealing: Sealing<'_>,
    now: DateTime<Utc>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Manifest> {
    let (store, layout) = (reader.store(), reader.layout());
    // The capture's time stays in the name: the new one is as old as the state that it holds.
    let id = BackupId::new(entry.id().captured_at(), scratch::random_u64()?);
    let upload = store.upload(&layout.blob(&id)).await?;
    let (give, take) = mpsc::channel::<Bytes>(PIECES_AHEAD);
    let (wanted, recipients) = (entry.manifest.plaintext, sealing.recipients);
    let sink = move |plaintext: &mut dyn Read| seal_again(plaintext, wanted, &recipients, give);
    let opening = fetch::opened(store, layout, entry, sealing.identities, sink, false, progress);
    let (upload, receipt) = match tokio::join!(opening, pass_on(upload, take)) {
        // Where the upload failed, the sealer only noticed that nobody listens.
        (_, Err(error)) | (Err(error), _) => return Err(error),
        (Ok(receipt), Ok(upload)) => (upload, receipt),
    };
    upload.finish().await?;
    came_back_whole(store, layout, &id, &receipt).await?;
    let manifest = manifest(reader, entry, before, &receipt, sealing.signer, id, now);
    let prepared = note::prepare(&manifest, &layout.manifest(&manifest.id), sealing.signer)?;
    commit(store, layout, &manifest.id, receipt.bytes, prepared.json, prepared.signature).await?;
    Ok(manifest)
}

/// From plaintext to sealed pieces; there is a receipt only where the plaintext was to the bit what was captured.
fn seal_again(
    plaintext: &mut dyn Read,
    wanted: Blob,
    recipients: &Recipients,
    give: mpsc::Sender<Bytes>,
) -> Result<SealReceipt> {
    let hung_up = |_| std::io::Error::other("the upload stopped");
    let mut sealer = Sealer::new(recipients, move |piece| give.blocking_send(piece).map_err(hung_up))?;
    let (mut whole, mut bytes) = (Hasher::default(), 0);
    let mut piece = vec![0; 256 << 10];
    loop {
        let read = plaintext
            .read(&mut piece)
            .map_err(|source| Error::new(Reason::Damaged, "the backup cannot be opened to its end").because(source))?;
        if read == 0 {
            break;
        }
        let piece = &piece[..read];
        whole.update(piece);
        bytes += read as u64;
        sealer.push(piece)?;
    }
    if bytes != wanted.bytes || whole.finish() != wanted.sha256 {
        return Err(Error::new(Reason::Damaged, "what was opened is not what the signed manifest says")
            .hint("nothing was published; use another backup: `lifeboat list`"));
    }
    sealer.finish()
}

async fn pass_on(mut upload: Upload, mut pieces: mpsc::Receiver<Bytes>) -> Result<Upload> {
    while let Some(piece) = pieces.recv().await {
        upload.write(piece).await?;
    }
    Ok(upload)
}

/// Everything that the old one says of the state, and what is new of the seal.
fn manifest(
    reader: &Reader,
    entry: &Trusted,
    before: &Catalog,
    receipt: &SealReceipt,
    signer: &Signer,
    id: BackupId,
    now: DateTime<Utc>,
) -> Manifest {
    let key = reader.layout().manifest(&id);
    let parent = |of: &Trusted| Parent { id: of.id().clone(), manifest_sha256: of.manifest_sha256 };
    Manifest {
        binding: note::binding::<Manifest>(reader.layout(), &key, signer),
        id,
        finished_at: now,
        sealed: Blob { bytes: receipt.bytes, sha256: receipt.sha256 },
        sums: Blob::of(receipt.sums.to_text().as_bytes()),
        recipients: receipt.recipients.clone(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        parents: before.heads().into_iter().map(parent).collect(),
        resealed_from: Some(parent(entry)),
        trust_list: before.trust_list.as_ref().map(|list| list.n),
        ..entry.manifest.clone()
    }
}
