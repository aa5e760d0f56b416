//! Proof: a backup is fetched from the store, opened, checked, restored into scratch, and a real etcd is booted on it.

pub mod binary;
mod boot;
mod ports;
mod sample;
mod server;
mod story;

use crate::capture::{Ask, CaptureReceipt, Observer, Trailer};
use crate::catalog::manifest::{Learnt, Manifest, Verdict};
use crate::catalog::{Trusted, note};
use crate::clock::{Clock, Laps, Stopwatch};
use crate::digest::Digest;
use crate::error::{Error, Reason, Result};
use crate::fetch;
use crate::glob::Glob;
use crate::holdings::Witness;
use crate::keys::{Identities, Signer};
use crate::restore::{self, Asking, Built, Members, Origin, Target};
use crate::scratch::{self, Notes, Scratch};
use crate::store::{Layout, Store};
use binary::EtcdBinary;
use lifeboat_policy::proof::{Level, Outcome, worth_recording};
use server::Ground;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use story::Story;

pub use story::names;

/// Between two looks whether another proof has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Notes on records are kept in memory up to this many bytes, then in a scratch file.
const NOTES_BUDGET_BYTES: usize = 8 << 20;
/// Read of the plaintext at a time.
const PIECE_BYTES: usize = 256 << 10;

/// What a proof needs beside the backup.
pub struct Proving<'a> {
    pub store: &'a Store,
    pub layout: &'a Layout,
    pub signer: &'a Signer,
    pub clock: &'a dyn Clock,
    /// Made anew for every proof: keys are used up by an opener on another thread.
    pub identities: &'a (dyn Fn() -> Result<Identities> + Sync),
    pub level: Level,
    pub scratch_dir: PathBuf,
    pub scratch_max_bytes: u64,
    pub binaries: &'a [EtcdBinary],
    pub limit: Duration,
    /// The backup before this one, to tell what is new.
    pub previous: Option<&'a Manifest>,
    /// Keys that every backup must hold.
    pub expect: &'a [Glob],
    /// What was seen of the store beside the backup itself.
    pub witness: Witness,
    /// Whether to restore once more as a real restore would, with a revision bump: for the newest.
    pub rehearse: bool,
}

impl Proving<'_> {
    /// Proves one backup and records the verdict. An error means inconclusive: nothing was learnt of the backup; that is
    /// recorded once a day, so that whoever looks at an unproven backup sees why it is.
    pub async fn prove(&self, entry: &Trusted) -> Result<Verdict> {
        let watch = Stopwatch::start();
        scratch::no_core_dumps()?;
        let mut story = Story::default();
        let reached = match tokio::time::timeout(self.limit, self.climb(entry, &mut story)).await {
            Ok(reached) => reached,
            Err(_) => Err(Error::new(Reason::Budget, format!("the proof took longer than {} s", self.limit.as_secs()))
                .hint("raise limits.prove, or give the prover more processor")),
        };
        let Err(error) = reached else {
            return self.record(entry, Outcome::Passed, story, watch.seconds()).await;
        };
        let level = error.level.unwrap_or(self.level);
        let before: f64 = story.steps.iter().map(|step| step.took_seconds).sum();
        story.add(level.as_str(), (watch.seconds() - before).max(0.0), error.to_string());
        if condemns(error.reason) {
            story.learnt.failed_at = Some(level);
            return self.record(entry, Outcome::Failed, story, watch.seconds()).await;
        }
        let verdicts = entry.proof_facts().verdicts;
        if is_the_provers(error.reason)
            && worth_recording(&verdicts, self.clock.now())
            && let Err(unrecorded) = self.record(entry, Outcome::Inconclusive, story, watch.seconds()).await
        {
            tracing::warn!(id = %entry.id(), %unrecorded, "that this proof was inconclusive could not be recorded");
        }
        Err(error)
    }

    async fn climb(&self, entry: &Trusted, story: &mut Story) -> Result<()> {
        match self.level {
            Level::Stored => self.stored(entry, story).await,
            Level::Opened | Level::Sound => self.streamed(entry, story).await,
            Level::Booted => self.booted(entry, story).await,
        }
    }

    async fn stored(&self, entry: &Trusted, story: &mut Story) -> Result<()> {
        let laps = Laps::default();
        let fetched = fetch::sealed(self.store, self.layout, entry, None, &|_| {}).await;
        fetched.map_err(|error| error.at(Level::Stored))?;
        laps.lap("stored");
        story.streamed(&laps, Level::Opened, &entry.manifest, None);
        Ok(())
    }

    /// Opens the backup, and understands it where that is asked for, without writing any plaintext.
    async fn streamed(&self, entry: &Trusted, story: &mut Story) -> Result<()> {
        let scratch = self.claim().await?;
        let (manifest, laps) = (&entry.manifest, Arc::new(Laps::default()));
        let reading = Reading {
            notes_dir: scratch.dir().to_owned(),
            ask: (self.level >= Level::Sound).then(|| story::ask(self.expect)),
            sha256: manifest.plaintext.sha256,
            laps: laps.clone(),
        };
        let identities = (self.identities)()?;
        let told = |done: u64| {
            if done >= manifest.sealed.bytes {
                laps.lap("stored");
            }
        };
        let sink = move |plaintext: &mut dyn Read| reading.read(plaintext);
        let opened = fetch::opened(self.store, self.layout, entry, identities, sink, true, &told).await;
        let receipt = match opened.and_then(|receipt| {
            receipt.as_ref().map_or(Ok(()), |receipt| story::compare(manifest, &receipt.report)).map(|()| receipt)
        }) {
            Ok(receipt) => receipt,
            Err(error) => {
                story.streamed(&laps, error.level.unwrap_or(self.level), manifest, None);
                return Err(error);
            }
        };
        let Some(receipt) = receipt else {
            story.streamed(&laps, Level::Sound, manifest, None);
            return Ok(());
        };
        let counted = story.counted(receipt.counted, manifest, self.previous, self.expect);
        let end = if counted.is_ok() { Level::Booted } else { Level::Sound };
        story.streamed(&laps, end, manifest, Some(&receipt.report));
        counted
    }

    async fn booted(&self, entry: &Trusted, story: &mut Story) -> Result<()> {
        let manifest = &entry.manifest;
        let binary = binary::choose(self.binaries, manifest)?;
        let scratch = self.claim().await?;
        let needed = scratch_needed(manifest.db.bytes);
        if needed > self.scratch_max_bytes {
            let text =
                format!("the proof needs {needed} bytes of scratch, proof.scratch.max is {}", self.scratch_max_bytes);
            return Err(Error::new(Reason::NoSpace, text).hint("raise proof.scratch.max, or prove to `sound`"));
        }
        scratch::require_space(scratch.dir(), needed, "the proof's scratch dir")?;
        let ground =
            Ground { binary, scratch: scratch.dir(), db_bytes: manifest.db.bytes, file_bytes: self.scratch_max_bytes };
        let done = tokio::select! {
            done = self.boots(entry, story, ground) => done,
            over = scratch.overrun(self.scratch_max_bytes) => Err(over),
        };
        done.and(scratch.wipe())
    }

    async fn boots(&self, entry: &Trusted, story: &mut Story, ground: Ground<'_>) -> Result<()> {
        let manifest = &entry.manifest;
        let restoring = Stopwatch::start();
        let dir = ground.scratch.join("data");
        let asking = Asking { ask: story::ask(self.expect), laps: Arc::default(), quietly: true };
        let built = match self.build(entry, ground.binary, dir, None, &asking).await {
            Ok(built) => built,
            Err(error) => {
                story.streamed(&asking.laps, error.level.unwrap_or(Level::Stored), manifest, None);
                return Err(error);
            }
        };
        let counted = story::compare(manifest, &built.report)
            .and_then(|()| story.counted(built.counted.clone(), manifest, self.previous, self.expect));
        let end = if counted.is_ok() { Level::Booted } else { Level::Sound };
        story.streamed(&asking.laps, end, manifest, Some(&built.report));
        counted?;
        let sound = asking.laps.at("sound").unwrap_or_default();
        let found =
            format!("a data dir for etcd {}, {} bytes of database", ground.binary.line, built.committed.db_bytes);
        story.add("restored", (asking.laps.seconds() - sound).max(0.0), found);
        boot::boot(ground, &built.dir, manifest, restoring, story).await?;
        if !self.rehearse {
            return Ok(());
        }
        scratch::remove(&built.dir)?;
        let watch = Stopwatch::start();
        let found = self.rehearsed(entry, ground).await?;
        story.add("rehearsed", watch.seconds(), found);
        Ok(())
    }

    /// From the store once more, as a real restore with its defaults would do it.
    async fn rehearsed(&self, entry: &Trusted, ground: Ground<'_>) -> Result<String> {
        let dir = ground.scratch.join("rehearsal");
        let asking = Asking { quietly: true, ..Asking::default() };
        let built = self.build(entry, ground.binary, dir, Some(restore::DEFAULT_BUMP), &asking).await?;
        let (path, notes) = (built.dir.join("member/snap/db"), ground.scratch.to_owned());
        let checked = tokio::task::spawn_blocking(move || {
            let db = std::fs::File::open(&path).map_err(|source| Error::io("open", path.display(), source))?;
            etcdfile::check_file(&db, Notes::new(&notes), NOTES_BUDGET_BYTES)
                .map_err(|source| Error::new(Reason::HostIo, "the rehearsed database cannot be read").because(source))
        });
        let report =
            checked.await.map_err(|stopped| Error::new(Reason::Internal, "a check stopped").because(stopped))??;
        if !report.sound() || report.keys != entry.manifest.db.keys {
            let text = "the database of a restore with a bump is not the backup's: please report this";
            return Err(Error::new(Reason::Internal, text));
        }
        let hash = report.hash_kv.as_ref().map(story::hash);
        boot::rehearse(ground, &built.dir, &entry.manifest, built.committed.revision, hash).await
    }

    /// Restores into the scratch; users and roles are off there, for nobody knows their passwords.
    async fn build(
        &self,
        entry: &Trusted,
        binary: &EtcdBinary,
        dir: PathBuf,
        bump: Option<u64>,
        asking: &Asking,
    ) -> Result<Built> {
        let manifest = &entry.manifest;
        let target = Target { dir, bump, compact_file: false, server: Some(binary.line) };
        let members = Members::Given {
            name: "proof".to_owned(),
            initial_cluster: vec![etcdfile::MemberSpec {
                name: "proof".to_owned(),
                peer_urls: vec!["http://127.0.0.1:2380".to_owned()], // recorded, never listened on
            }],
        };
        let token = format!("lifeboat-proof-{}", manifest.id);
        let plan = restore::plan(&Origin::of_manifest(manifest), target, members, token)?.without_auth();
        let identities = (self.identities)()?;
        restore::build(self.store, self.layout, entry, identities, plan, asking, &|_| {}).await
    }

    /// One proof at a time on a host: another one's end is waited for, as long as this one may take.
    async fn claim(&self) -> Result<Scratch> {
        loop {
            match Scratch::claim(&self.scratch_dir) {
                Err(error) if error.reason == Reason::Budget => {
                    tracing::info!(%error, "waiting for it");
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                claimed => return claimed,
            }
        }
    }

    async fn record(&self, entry: &Trusted, outcome: Outcome, story: Story, took_seconds: f64) -> Result<Verdict> {
        let at = self.clock.now();
        let random = scratch::random_u32().map_err(|source| Error::io("name", "the verdict", source))?;
        let key = self.layout.verdict(entry.id(), at, random);
        let verdict = Verdict {
            binding: note::binding::<Verdict>(self.layout, &key, self.signer),
            id: entry.id().clone(),
            manifest_sha256: entry.manifest_sha256,
            at,
            level: self.level,
            outcome,
            steps: story.steps,
            took_seconds,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            etcd_version: story.etcd_version,
            learnt: Learnt { catalog: self.witness.seen.clone(), late: self.witness.late, ..story.learnt },
        };
        note::prepare(&verdict, &key, self.signer)?.store(self.store).await?;
        Ok(verdict)
    }
}

/// Reads the plaintext to its end, on a thread of its own.
struct Reading {
    notes_dir: PathBuf,
    /// What to count; `None` where the pages are not to be understood at all.
    ask: Option<Ask>,
    sha256: Digest,
    laps: Arc<Laps>,
}

impl Reading {
    fn read(self, plaintext: &mut dyn Read) -> Result<Option<CaptureReceipt>> {
        let understands = self.ask.is_some();
        let observer = Observer::new(&self.notes_dir).asking(&self.notes_dir, self.ask.unwrap_or_default());
        let (mut summing, mut understanding) = observer.halves();
        let mut piece = Vec::new();
        loop {
            piece.resize(PIECE_BYTES, 0);
            let read = plaintext.read(&mut piece).map_err(|source| {
                Error::new(Reason::Damaged, "the backup cannot be opened to its end").because(source).at(Level::Opened)
            })?;
            if read == 0 {
                break;
            }
            piece.truncate(read);
            let summed = summing.take(piece);
            if understands {
                summed.database().into_iter().try_for_each(|bytes| understanding.feed(bytes))?;
            }
            piece = summed.into_buffer();
        }
        let verified = summing.finish().verified()?;
        if Digest::from_bytes(verified.stream_sha256) != self.sha256 {
            let text = "the opened bytes are not those the manifest signed";
            return Err(Error::new(Reason::Damaged, text).at(Level::Opened));
        }
        self.laps.lap("opened");
        if !understands {
            return Ok(None);
        }
        let receipt = understanding.finish(Trailer::Matches(verified))?.receipt()?;
        self.laps.lap("sound");
        Ok(Some(receipt))
    }
}

/// What a proof that boots a database of this size takes: the copy, what etcd adds to it, and its write-ahead log.
pub fn scratch_needed(db_bytes: u64) -> u64 {
    db_bytes.saturating_mul(2).saturating_add(256 << 20)
}

/// What a person has to mend where the prover runs; a store that is away or a signal is no state of things.
fn is_the_provers(reason: Reason) -> bool {
    use Reason::*;
    matches!(reason, NoSpace | Budget | KeyWrong | NoEtcdBinary | HostPermission | HostIo)
}

/// Only what speaks against the backup itself condemns it; a prover's own trouble is inconclusive.
fn condemns(reason: Reason) -> bool {
    matches!(reason, Reason::Damaged | Reason::ObjectMissing | Reason::ProofFailed)
}
