//! One backup, from a member's stream to a published manifest: the only place where capture, seal, store and catalog meet.

use super::equality::{self, Judged};
use crate::capture::{self, CaptureReceipt, Comparison, Member, Observer, Survey, first_good};
use crate::catalog::{Captured, Catalog, Draft, Published, publish, read_back};
use crate::clock::{Clock, Stopwatch};
use crate::error::{Error, Reason, Result};
use crate::metrics;
use crate::scratch::{self, Notes};
use crate::seal::{SealReceipt, Sealer};
use crate::setup::{Access, BackupKit};
use crate::store::Upload;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use etcdfile::Checked;
use lifeboat_policy::id::BackupId;
use std::sync::Arc;
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
///
/// Where most of the cluster contradicts the member that it came from, that backup is published as evidence, which no proof
/// can make proven, and a second one is taken from a member of the majority.
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
        metrics::set_alarms(access.layout().cluster(), &survey);
        let run = Run { access, kit, clock, slot, survey: Arc::new(survey), watch, progress };
        let (published, better) = run.publish_one(&run.survey.members, before).await?;
        let better = run.survey.members.iter().filter(|member| better.contains(&member.member_id));
        let better: Vec<Member> = better.cloned().collect();
        if better.is_empty() {
            return Ok(published);
        }
        let manifest = &published.entry.manifest;
        tracing::error!(id = %manifest.id, member = manifest.etcd.member_name, why = manifest.unprovable,
            "this backup stands against its cluster; another is taken from the majority");
        let seen = Catalog { trusted: [vec![published.entry], before.trusted.clone()].concat(), ..before.clone() };
        run.publish_one(&better, &seen).await.map(|(published, _)| published)
    };
    match tokio::time::timeout(limit, work).await {
        Ok(published) => published,
        Err(_) => Err(Error::new(
            Reason::Budget,
            format!("the backup took longer than {} s and was given up", limit.as_secs()),
        )
        .hint("what was under way is not listed; raise limits.backup if etcd or the store are known to be that slow")),
    }
}

/// What the survey found that a person should know though the backup goes on.
fn tell(survey: &Survey) {
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

/// One run, and what all its attempts share.
struct Run<'a> {
    access: &'a Access,
    kit: &'a BackupKit,
    clock: &'a dyn Clock,
    slot: Option<DateTime<Utc>>,
    survey: Arc<Survey>,
    watch: Stopwatch,
    progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// A blob in the store, what it is, and the members' answers so far.
struct Streamed {
    id: BackupId,
    captured_at: DateTime<Utc>,
    captured: Captured,
    checked: Checked<Notes>,
    comparison: Comparison,
}

impl Run<'_> {
    fn left(&self) -> Duration {
        self.kit.limits.backup.saturating_sub(self.watch.elapsed())
    }

    /// Publishes a backup of the first of these members that gives one, and says whom a second one is better taken from.
    async fn publish_one(&self, members: &[Member], before: &Catalog) -> Result<(Published, Vec<u64>)> {
        let (member, streamed) = first_good(members, async |member: Member| self.stream(&member).await).await?;
        let Streamed { id, captured_at, captured, checked, comparison } = streamed;
        let (store, layout) = (self.access.store(), self.access.layout());
        // Comparing is never what makes a backup fail: half of the time that is left stays for the store.
        let budget = self.kit.limits.compare.min(self.left() / 2);
        let revision = captured.capture.report.revision;
        let (uploaded, ()) = tokio::join!(read_back(store, layout, &id, captured), comparison.ask(revision, budget));
        let uploaded = uploaded?;
        let (survey, source) = (self.survey.clone(), member.clone());
        let judged = tokio::task::spawn_blocking(move || equality::judged(&comparison, &checked, &survey, &source));
        let Judged { compared, better } = judged.await.map_err(lost)??;
        let slot_seconds = self.kit.slot_seconds;
        let draft = Draft { id, slot: self.slot, slot_seconds, captured_at, member, compared };
        let published = publish(store, layout, &self.kit.signer, draft, uploaded, before, self.clock.now()).await?;
        Ok((published, better))
    }

    /// Streams one member's snapshot through check and seal into the store, and meanwhile asks the members about the
    /// revision from before the stream. The blob is there at the end, the backup not yet.
    async fn stream(&self, member: &Member) -> Result<Streamed> {
        let comparison = Comparison::new(&self.kit.etcd, &self.survey, member);
        let early = async {
            if let Ok(revision) = &self.survey.revision {
                comparison.ask(*revision, self.left()).await;
            }
            std::future::pending::<()>().await;
        };
        // Whoever has not answered when the stream ends is asked about the better revision that is known then.
        let (id, captured_at, captured, checked) = tokio::select! {
            streamed = self.line(member) => streamed?,
            () = early => return Err(Error::new(Reason::Internal, "asking the members outlived the stream")),
        };
        Ok(Streamed { id, captured_at, captured, checked, comparison })
    }

    async fn line(&self, member: &Member) -> Result<(BackupId, DateTime<Utc>, Captured, Checked<Notes>)> {
        let (access, kit) = (self.access, self.kit);
        let captured_at = self.clock.now();
        let id = BackupId::new(captured_at, scratch::random_u64()?);
        let mut snapshot = capture::open(&kit.etcd, member, &kit.limits, self.left()).await?;
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
        let (pumped, uploaded) = tokio::join!(pump(&mut snapshot, to_check, self.progress), send(upload, stores));
        drop(snapshot);
        let sealed = sealed.await.map_err(lost)?;
        let checked = checked.await.map_err(lost)?;
        // The first failure along the line is the cause; those behind it only noticed.
        pumped?;
        let upload = uploaded?;
        let (seal, (capture, checked)) = match (sealed, checked) {
            (Ok(seal), Ok(checked)) => (seal, checked),
            (_, Err(error)) if error.reason != Reason::Internal => return Err(error),
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        upload.finish().await?;
        Ok((id, captured_at, Captured { capture, seal }, checked))
    }
}

fn lost(stopped: tokio::task::JoinError) -> Error {
    Error::new(Reason::Internal, "a thread of the backup stopped").because(stopped)
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
) -> Result<(CaptureReceipt, Checked<Notes>)> {
    let mut observer = Observer::new(notes_dir);
    while let Some(batch) = batches.blocking_recv() {
        for chunk in &batch {
            observer.push(chunk, |_| Ok(()))?;
        }
        if to_seal.blocking_send(batch).is_err() {
            return Err(Error::new(Reason::Internal, "the sealer stopped"));
        }
    }
    observer.finish_checked()
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
