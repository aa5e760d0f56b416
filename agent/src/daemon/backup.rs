//! One backup, from a member's stream to a published manifest: the only place where capture, seal, store and catalog meet.

use super::equality::{self, Judged};
use super::fan::{self, Fan};
use crate::capture::{self, CaptureReceipt, Comparison, Member, Observer, Survey, first_good};
use crate::catalog::{Captured, Catalog, Draft, Trusted, prepare};
use crate::clock::{Clock, Stopwatch};
use crate::config::SlowStore;
use crate::error::{Error, Reason, Result};
use crate::holdings::Holdings;
use crate::keys::Recipients;
use crate::metrics;
use crate::scratch::{self, Notes};
use crate::seal::{SealReceipt, Sealer};
use crate::setup::{Access, BackupKit};
use crate::spool::{self, Overflow, Spool};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use etcdfile::Checked;
use lifeboat_policy::id::BackupId;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

pub use super::fan::Behind;

/// etcd sends 32 KiB at a time; they are handed on in batches, so that threads wake up seldom.
const BATCH_BYTES: usize = 512 << 10;
/// Batches between two threads.
const BATCHES_AHEAD: usize = 2;
/// Sealed bytes in memory that the slowest store has not taken yet.
const WINDOW_BYTES: usize = 2 << 20;

type Batch = Vec<Bytes>;

/// A backup that now exists.
#[derive(Debug)]
pub struct Published {
    pub entry: Trusted,
    /// Set where this backup begins a new history, with the reason.
    pub new_lineage: Option<String>,
    /// The names of the stores that have it: at least as many as the write quorum.
    pub stores: Vec<String>,
    /// The stores that have not, and why.
    pub behind: Vec<Behind>,
}

/// Takes one backup within `limits.backup` and publishes it in every store that keeps up, or in none that counts.
///
/// There is one stream, one sealed object and one manifest, the same bytes everywhere. A store that cannot be written is
/// left out while at least the write quorum remains.
///
/// Where most of the cluster contradicts the member that it came from, that backup is published as evidence, which no proof
/// can make proven, and a second one is taken from a member of the majority.
pub async fn backup(
    access: &Access,
    kit: &BackupKit,
    clock: &dyn Clock,
    slot: Option<DateTime<Utc>>,
    before: &Holdings,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Published> {
    let watch = Stopwatch::start();
    let limit = kit.limits.backup;
    before.merged.may_sign(&kit.signer, clock.now())?;
    let recipients = kit.recipients.at(clock.now())?;
    let work = async {
        let survey = capture::survey(&kit.etcd).await?;
        tell(&survey);
        metrics::set_alarms(access.layout().cluster(), &survey);
        let survey = Arc::new(survey);
        let run = Run { access, kit, recipients: &recipients, clock, slot, before, survey, watch, progress };
        let (published, better) = run.publish_one(&run.survey.members, &before.merged).await?;
        let better = run.survey.members.iter().filter(|member| better.contains(&member.member_id));
        let better: Vec<Member> = better.cloned().collect();
        if better.is_empty() {
            return Ok(published);
        }
        let manifest = &published.entry.manifest;
        tracing::error!(id = %manifest.id, member = manifest.etcd.member_name, why = manifest.unprovable,
            "this backup stands against its cluster; another is taken from the majority");
        let before = &before.merged;
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
    /// Of the kit's, those that may be sealed for now.
    recipients: &'a Recipients,
    clock: &'a dyn Clock,
    slot: Option<DateTime<Utc>>,
    before: &'a Holdings,
    survey: Arc<Survey>,
    watch: Stopwatch,
    progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// Sealed bytes on their way into the stores, what they are, and the members' answers so far.
struct Streamed {
    id: BackupId,
    captured_at: DateTime<Utc>,
    captured: Captured,
    checked: Checked<Notes>,
    comparison: Comparison,
    fan: Fan,
}

impl Run<'_> {
    fn left(&self) -> Duration {
        self.kit.limits.backup.saturating_sub(self.watch.elapsed())
    }

    /// Publishes a backup of the first of these members that gives one, and says whom a second one is better taken from.
    async fn publish_one(&self, members: &[Member], before: &Catalog) -> Result<(Published, Vec<u64>)> {
        let (member, streamed) = first_good(members, async |member: Member| self.stream(&member).await).await?;
        let Streamed { id, captured_at, captured, checked, comparison, mut fan } = streamed;
        // Comparing is never what makes a backup fail: half of the time that is left stays for the stores.
        let budget = self.kit.limits.compare.min(self.left() / 2);
        let revision = captured.capture.report.revision;
        let (read_back, ()) = tokio::join!(fan.read_back(captured.clone()), comparison.ask(revision, budget));
        read_back?;
        let (survey, source) = (self.survey.clone(), member.clone());
        let judged = tokio::task::spawn_blocking(move || equality::judged(&comparison, &checked, &survey, &source));
        let Judged { compared, better } = judged.await.map_err(lost)??;
        let slot_seconds = self.kit.slot_seconds;
        let draft = Draft { id, slot: self.slot, slot_seconds, captured_at, member, compared };
        let (layout, signer) = (self.access.layout(), &self.kit.signer);
        let prepared = Arc::new(prepare(layout, signer, draft, captured, before, self.clock.now())?);
        fan.place(prepared.clone(), self.watch.elapsed(), self.left()).await?;
        let (entry, new_lineage) = (prepared.entry.clone(), prepared.new_lineage.clone());
        Ok((Published { entry, new_lineage, stores: fan.placed(), behind: fan.behind }, better))
    }

    /// Streams one member's snapshot through check and seal towards the stores, and meanwhile asks the members about the
    /// revision from before the stream.
    async fn stream(&self, member: &Member) -> Result<Streamed> {
        let comparison = Comparison::new(&self.kit.etcd, &self.survey, member);
        let early = async {
            if let Ok(revision) = &self.survey.revision {
                comparison.ask(*revision, self.left()).await;
            }
            std::future::pending::<()>().await;
        };
        // Whoever has not answered when the stream ends is asked about the better revision that is known then.
        let (id, captured_at, fan, captured, checked) = tokio::select! {
            streamed = self.line(member) => streamed?,
            () = early => return Err(Error::new(Reason::Internal, "asking the members outlived the stream")),
        };
        Ok(Streamed { id, captured_at, captured, checked, comparison, fan })
    }

    async fn line(&self, member: &Member) -> Result<(BackupId, DateTime<Utc>, Fan, Captured, Checked<Notes>)> {
        let captured_at = self.clock.now();
        let id = BackupId::new(captured_at, scratch::random_u64()?);
        let mut snapshot = capture::open(&self.kit.etcd, member, &self.kit.limits, self.left()).await?;
        let (mut fan, spool, control) = self.begin_uploads(&id, snapshot.expected_bytes())?;
        let streamed = tokio::select! {
            biased;
            error = fan.too_few() => return Err(error),
            streamed = self.pass(&mut snapshot, spool, control) => streamed,
        };
        match streamed {
            Ok((captured, checked)) => Ok((id, captured_at, fan, captured, checked)),
            // Where the stores stopped the line, they say why; it only noticed.
            Err(error) if error.reason == Reason::Internal => Err(fan.cause().unwrap_or(error)),
            Err(error) => Err(error),
        }
    }

    /// A line into each store that could be read when the run began; the others are behind from the start.
    fn begin_uploads(&self, id: &BackupId, expected_bytes: u64) -> Result<(Fan, spool::Writer, spool::Control)> {
        let (mut stores, mut behind) = (Vec::new(), Vec::new());
        for (at, held) in self.before.stores.iter().enumerate() {
            let store = match &held.catalog {
                Ok(_) => self.access.place(at)?.store(),
                Err(error) => Err(fan::again(error, error.to_string())),
            };
            match store {
                Ok(store) => stores.push((at, store)),
                Err(error) => behind.push(Behind { at, store: held.name.clone(), error }),
            }
        }
        let quorum = self.access.write_quorum;
        if stores.len() < quorum {
            return Err(fan::too_few(&behind, stores.len(), quorum));
        }
        let names: Vec<String> = stores.iter().map(|(_, store)| store.name().to_owned()).collect();
        let kit = self.kit;
        let limits = spool::Limits {
            window_bytes: WINDOW_BYTES,
            patience: kit.limits.stream / 2,
            overflow: match kit.limits.slow_store {
                SlowStore::Fail => Overflow::Fail,
                SlowStore::Spool => Overflow::File { dir: kit.scratch_dir.clone(), max_bytes: kit.scratch_max_bytes },
            },
            keep: quorum,
        };
        let Spool { writer, readers, control } = Spool::new(&names, limits);
        let stores = stores.into_iter().zip(readers).map(|((at, store), reader)| (at, store, reader)).collect();
        Ok((Fan::begin(self.access, id, expected_bytes, stores, behind), writer, control))
    }

    /// From the member's stream through check and seal to the hand-over.
    async fn pass(
        &self,
        snapshot: &mut capture::Capture,
        mut spool: spool::Writer,
        control: spool::Control,
    ) -> Result<(Captured, Checked<Notes>)> {
        let (to_check, checks) = mpsc::channel::<Batch>(BATCHES_AHEAD);
        let (to_seal, seals) = mpsc::channel::<Batch>(BATCHES_AHEAD);
        let notes_dir = self.kit.notes_dir.clone();
        let checked = tokio::task::spawn_blocking(move || check(&notes_dir, checks, &to_seal));
        let refused: Arc<Mutex<Option<Error>>> = Arc::default();
        let refusal = refused.clone();
        let sealer = Sealer::new(self.recipients, move |piece| {
            spool.push_blocking(piece).map_err(|error| {
                let text = error.to_string();
                *refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                std::io::Error::other(text)
            })
        })?;
        let sealed = tokio::task::spawn_blocking(move || seal(sealer, seals));
        let pumped = pump(snapshot, to_check, self.progress).await;
        control.source_ended();
        let sealed = sealed.await.map_err(lost)?;
        let checked = checked.await.map_err(lost)?;
        // The first failure along the line is the cause; those behind it only noticed.
        pumped?;
        match (sealed, checked) {
            (Ok(seal), Ok((capture, checked))) => Ok((Captured { capture, seal }, checked)),
            (_, Err(error)) if error.reason != Reason::Internal => Err(error),
            (Err(error), _) | (_, Err(error)) => {
                let refused = refused.lock().unwrap_or_else(PoisonError::into_inner).take();
                Err(refused.filter(|refused| refused.reason != Reason::Internal).unwrap_or(error))
            }
        }
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
