//! One backup, from a member's stream to a published manifest: the only place where capture, seal, store and catalog meet.

use crate::capture::{self, CaptureReceipt, Member, Observer, first_good};
use crate::catalog::{Captured, Catalog, Draft, Published, publish};
use crate::clock::{Clock, Stopwatch};
use crate::error::{Error, Reason, Result};
use crate::scratch;
use crate::seal::{SealReceipt, Sealer};
use crate::setup::{Access, BackupKit};
use crate::store::Upload;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use lifeboat_policy::id::BackupId;
use std::time::Duration;
use tokio::sync::mpsc;

/// etcd sends 32 KiB at a time; they are handed on in batches, so that threads wake up seldom.
const BATCH_BYTES: usize = 512 << 10;
/// Batches between two threads.
const BATCHES_AHEAD: usize = 2;
/// Sealed pieces between the sealing thread and the upload, each of 256 KiB.
const PIECES_AHEAD: usize = 4;

type Batch = Vec<Bytes>;

/// Takes one backup within `limits.backup` and publishes it, or publishes nothing.
pub async fn backup(
    access: &Access,
    kit: &BackupKit,
    clock: &dyn Clock,
    slot: Option<DateTime<Utc>>,
    before: &Catalog,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Published> {
    let watch = Stopwatch::start();
    let limit = kit.limits.backup;
    let work = async {
        let survey = capture::survey(&kit.etcd).await?;
        tell(&survey);
        let (member, (id, captured_at, captured)) = first_good(&survey.members, async |member: Member| {
            let left = limit.saturating_sub(watch.elapsed());
            stream(access, kit, clock, &member, left, progress).await
        })
        .await?;
        let draft = Draft { id, slot, slot_seconds: kit.slot_seconds, captured_at, member };
        publish(access.store(), access.layout(), &kit.signer, draft, captured, before, clock.now()).await
    };
    match tokio::time::timeout(limit, work).await {
        Ok(published) => published,
        Err(_) => Err(Error::new(
            Reason::Budget,
            format!("the backup took longer than {} s and was given up", limit.as_secs()),
        )
        .hint("nothing was published; raise limits.backup if etcd or the store are known to be that slow")),
    }
}

/// What the survey found that a person should know though the backup goes on.
fn tell(survey: &capture::Survey) {
    for (endpoint, error) in &survey.unreachable {
        tracing::warn!(endpoint, %error, "a member does not answer");
    }
    if let Err(error) = &survey.revision {
        tracing::warn!(%error, "no quorum: this backup may lack the newest writes, and may be the last chance");
    }
    for member in survey.members.iter().filter(|member| !member.alarms.is_empty()) {
        tracing::warn!(%member, alarms = member.alarms.join(", "), "etcd raised an alarm");
    }
}

/// Streams one member's snapshot through check and seal into the store. The blob is there at the end, the backup not yet.
async fn stream(
    access: &Access,
    kit: &BackupKit,
    clock: &dyn Clock,
    member: &Member,
    left: Duration,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<(BackupId, DateTime<Utc>, Captured)> {
    let captured_at = clock.now();
    let id = BackupId::new(captured_at, scratch::random_u64()?);
    let mut snapshot = capture::open(&kit.etcd, member, &kit.limits, left).await?;
    let upload = access.store().upload(&access.layout().blob(&id)).await?;
    let (to_check, checks) = mpsc::channel::<Batch>(BATCHES_AHEAD);
    let (to_seal, seals) = mpsc::channel::<Batch>(BATCHES_AHEAD);
    let (to_store, stores) = mpsc::channel::<Bytes>(PIECES_AHEAD);
    let notes_dir = kit.notes_dir.clone();
    let checked = tokio::task::spawn_blocking(move || check(&notes_dir, checks, &to_seal));
    let sealer = Sealer::new(&kit.recipients, move |piece| {
        // The upload hangs up only when it failed, and it tells why itself.
        to_store.blocking_send(piece).map_err(|_| std::io::Error::other("the upload stopped"))
    })?;
    let sealed = tokio::task::spawn_blocking(move || seal(sealer, seals));
    let (pumped, uploaded) = tokio::join!(pump(&mut snapshot, to_check, progress), send(upload, stores));
    drop(snapshot);
    let lost = |stopped| Error::new(Reason::Internal, "a thread of the backup stopped").because(stopped);
    let sealed = sealed.await.map_err(lost)?;
    let checked = checked.await.map_err(lost)?;
    // The first failure along the line is the cause; those behind it only noticed.
    pumped?;
    let upload = uploaded?;
    let (seal, capture) = match (sealed, checked) {
        (Ok(seal), Ok(capture)) => (seal, capture),
        (_, Err(error)) if error.reason != Reason::Internal => return Err(error),
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    upload.finish().await?;
    Ok((id, captured_at, Captured { capture, seal }))
}

/// From the member's stream into batches.
async fn pump(
    snapshot: &mut capture::Capture,
    to_check: mpsc::Sender<Batch>,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<()> {
    let (mut batch, mut bytes) = (Batch::new(), 0);
    loop {
        let chunk = snapshot.next().await?;
        let ended = chunk.is_none();
        if let Some(chunk) = chunk {
            bytes += chunk.len();
            batch.push(chunk);
        }
        if bytes >= BATCH_BYTES || ended {
            progress(snapshot.received_bytes(), snapshot.expected_bytes());
            if to_check.send(std::mem::take(&mut batch)).await.is_err() {
                return Ok(()); // the checker stopped and tells why
            }
            bytes = 0;
        }
        if ended {
            return Ok(());
        }
    }
}

/// Understands the bytes and hands them on.
fn check(
    notes_dir: &std::path::Path,
    mut batches: mpsc::Receiver<Batch>,
    to_seal: &mpsc::Sender<Batch>,
) -> Result<CaptureReceipt> {
    let mut observer = Observer::new(notes_dir);
    while let Some(batch) = batches.blocking_recv() {
        for chunk in &batch {
            observer.push(chunk, |_| Ok(()))?;
        }
        if to_seal.blocking_send(batch).is_err() {
            return Err(Error::new(Reason::Internal, "the sealer stopped"));
        }
    }
    observer.finish()
}

fn seal<F: FnMut(Bytes) -> std::io::Result<()>>(
    mut sealer: Sealer<F>,
    mut batches: mpsc::Receiver<Batch>,
) -> Result<SealReceipt> {
    while let Some(batch) = batches.blocking_recv() {
        for chunk in &batch {
            sealer.push(chunk)?;
        }
    }
    sealer.finish()
}

/// From sealed pieces into the store; the upload is not finished here, because the check may still say no.
async fn send(mut upload: Upload, mut pieces: mpsc::Receiver<Bytes>) -> Result<Upload> {
    while let Some(piece) = pieces.recv().await {
        upload.write(piece).await?;
    }
    Ok(upload)
}
