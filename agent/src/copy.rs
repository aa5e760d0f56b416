//! Copying between stores: what one store gives, verified, becomes the very same objects in another.
//!
//! Every chunk is checked against the signed sums before it is sent on, so a damaged source spreads no further, and what
//! the target then holds is read back before its manifest is written. What is there already is taken as it is, so a copy
//! that was cut short goes on where it stood.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)
)]

mod history;
mod plan;

use crate::catalog::publish::commit;
use crate::catalog::{Reader, Trusted};
use crate::error::{Error, Reason, Result};
use crate::fetch;
use crate::store::{ObjectKey, Store, Upload};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

pub use history::{Item, Note, Step, difference, signed};
pub use plan::{Task, plan};

/// Chunks between the two stores; each is 4 MiB.
const CHUNKS_AHEAD: usize = 1;
/// The largest sums object.
const SUMS_CAP: u64 = 4 << 20;

/// What became of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// Its data was sent.
    Whole,
    /// Its data was there already, from an earlier try, and was verified; what was missing was added.
    Resumed,
}

/// Copies one backup: blob, sums, read back, signature, a last look, manifest.
///
/// Its verdicts stay behind. They tell what *that* store gave back when it was asked: the copy is judged by a proof of
/// its own. Its holds come along, before the manifest: what a person keeps is kept in every store.
pub async fn backup(from: &Reader, to: &Store, entry: &Trusted, progress: &(dyn Fn(u64) + Sync)) -> Result<Copied> {
    let (layout, manifest) = (from.layout(), &entry.manifest);
    let (json, signature) = from.signed(entry).await?;
    let (blob, sums_key) = (layout.blob(entry.id()), layout.sums(entry.id()));
    let sums = from.store().read(&sums_key, SUMS_CAP).await?;
    let copied = match to.head(&blob).await? {
        None => {
            send(from, to, entry, &blob, progress).await?;
            Copied::Whole
        }
        Some(found) if found.bytes == manifest.sealed.bytes => {
            not_being_swept(from, to, entry, found.modified).await?;
            Copied::Resumed
        }
        Some(found) => return Err(another(to, &blob, found.bytes, manifest.sealed.bytes)),
    };
    // The sums are checked against the signed manifest when they are read, here as in the source.
    to.create(&sums_key, sums).await?;
    fetch::sealed(to, layout, entry, None, &|_| {}).await?;
    for (hold, _) in &entry.holds {
        if let Some((_, _, key)) = layout.parse(&hold.binding.path) {
            history::signed(from.store(), to, &key).await?;
        }
    }
    commit(to, layout, entry.id(), manifest.sealed.bytes, json, signature).await?;
    Ok(copied)
}

/// What a copy finds of an earlier try may be marked as left behind. Prune would delete it while a manifest is put beside
/// it, so it is not built upon: whether the tombstone counts there is not asked, since waiting does no harm.
async fn not_being_swept(from: &Reader, to: &Store, entry: &Trusted, written: DateTime<Utc>) -> Result<()> {
    let marks = to.list(&from.layout().tombstones(entry.id())).await?;
    if marks.iter().all(|mark| mark.modified < written) {
        return Ok(());
    }
    let text = format!("what stands of {} in {} is marked for deletion", entry.id(), to.url());
    Err(Error::new(Reason::StoreConflict, text)
        .on("copy", entry.id())
        .hint("prune takes it there after its grace; copy again after that"))
}

/// Streams the sealed object across. It becomes visible only when its whole digest was right.
async fn send(
    from: &Reader,
    to: &Store,
    entry: &Trusted,
    blob: &ObjectKey,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<()> {
    let upload = to.upload_expecting(blob, entry.manifest.sealed.bytes).await?;
    let (give, take) = mpsc::channel::<Bytes>(CHUNKS_AHEAD);
    let fetching = fetch::sealed(from.store(), from.layout(), entry, Some(give), progress);
    let upload = match tokio::join!(fetching, pass_on(upload, take)) {
        // Where the upload failed, the download only noticed that nobody listens.
        (_, Err(error)) | (Err(error), _) => return Err(error),
        (Ok(()), Ok(upload)) => upload,
    };
    upload.finish().await
}

async fn pass_on(mut upload: Upload, mut chunks: mpsc::Receiver<Bytes>) -> Result<Upload> {
    while let Some(chunk) = chunks.recv().await {
        upload.write(chunk).await?;
    }
    Ok(upload)
}

fn another(to: &Store, key: &ObjectKey, found: u64, wanted: u64) -> Error {
    let text = format!("{key} in {} has {found} bytes, the backup to be copied there {wanted}", to.url());
    Error::new(Reason::StoreConflict, text)
        .on("copy", key)
        .hint("another object stands at that name and was not touched; find out what it is and move it away")
}
