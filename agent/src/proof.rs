//! Proof: a backup is fetched from the store, opened, checked, restored into scratch, and a real etcd is booted on it.

pub mod binary;
mod boot;

use crate::capture::{CaptureReceipt, Observer};
use crate::catalog::manifest::{Hash, Manifest, Step, Verdict};
use crate::catalog::{Trusted, note};
use crate::clock::{Clock, Stopwatch};
use crate::error::{Error, Reason, Result};
use crate::fetch;
use crate::keys::{Identities, Signer};
use crate::restore::{self, Members, Origin, Target};
use crate::scratch::{self, Scratch};
use crate::store::{Layout, Store};
use binary::EtcdBinary;
use lifeboat_policy::proof::{Level, Outcome};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

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
}

/// The steps made so far, with what each found and how long it took.
#[derive(Default)]
struct Steps(Vec<Step>);

impl Steps {
    fn add(&mut self, name: &str, watch: Stopwatch, found: String) {
        self.0.push(Step { name: name.to_owned(), took_seconds: watch.seconds(), found });
    }
}

impl Proving<'_> {
    /// Proves one backup and records the verdict. An error means inconclusive: nothing was learnt of the backup, nothing recorded.
    pub async fn prove(&self, entry: &Trusted) -> Result<Verdict> {
        let watch = Stopwatch::start();
        let mut steps = Steps::default();
        let reached = match tokio::time::timeout(self.limit, self.climb(entry, &mut steps)).await {
            Ok(reached) => reached,
            Err(_) => Err(Error::new(Reason::Budget, format!("the proof took longer than {} s", self.limit.as_secs()))
                .hint("raise limits.prove, or give the prover more processor")),
        };
        let took_seconds = watch.seconds();
        let (outcome, etcd_version) = match reached {
            Ok(etcd_version) => (Outcome::Passed, etcd_version),
            Err(error) if condemns(error.reason) => {
                steps.add("failed", watch, error.to_string());
                (Outcome::Failed, None)
            }
            Err(error) => return Err(error),
        };
        self.record(entry, outcome, steps, took_seconds, etcd_version).await
    }

    async fn climb(&self, entry: &Trusted, steps: &mut Steps) -> Result<Option<String>> {
        match self.level {
            Level::Stored => self.stored(entry, steps).await.map(|()| None),
            Level::Opened | Level::Sound => self.streamed(entry, steps).await.map(|()| None),
            Level::Booted => self.booted(entry, steps).await.map(Some),
        }
    }

    async fn stored(&self, entry: &Trusted, steps: &mut Steps) -> Result<()> {
        let watch = Stopwatch::start();
        fetch::sealed(self.store, self.layout, entry, None, &|_| {}).await?;
        steps.add("stored", watch, format!("{} bytes, digests equal the signed ones", entry.manifest.sealed.bytes));
        Ok(())
    }

    /// Opens and understands the backup without writing any plaintext.
    async fn streamed(&self, entry: &Trusted, steps: &mut Steps) -> Result<()> {
        let watch = Stopwatch::start();
        let notes_dir = self.scratch_dir.clone();
        let sink = move |plaintext: &mut dyn Read| {
            let mut observer = Observer::new(&notes_dir);
            let mut piece = vec![0; 256 << 10];
            loop {
                let read = plaintext.read(&mut piece).map_err(|source| {
                    Error::new(Reason::Damaged, "the backup cannot be opened to its end").because(source)
                })?;
                if read == 0 {
                    return observer.finish();
                }
                observer.push(&piece[..read], |_| Ok(()))?;
            }
        };
        let identities = (self.identities)()?;
        let receipt = fetch::opened(self.store, self.layout, entry, identities, sink, &|_| {}).await?;
        compare(&entry.manifest, &receipt)?;
        steps.add("sound", watch, describe(&receipt));
        Ok(())
    }

    async fn booted(&self, entry: &Trusted, steps: &mut Steps) -> Result<String> {
        let manifest = &entry.manifest;
        let binary = binary::choose(self.binaries, manifest)?;
        let scratch = Scratch::claim(&self.scratch_dir)?;
        let needed = scratch_needed(manifest.db.bytes);
        if needed > self.scratch_max_bytes {
            let text =
                format!("the proof needs {needed} bytes of scratch, proof.scratch.max is {}", self.scratch_max_bytes);
            return Err(Error::new(Reason::NoSpace, text).hint("raise proof.scratch.max, or prove to `sound`"));
        }
        scratch::require_space(scratch.dir(), needed, "the proof's scratch dir")?;
        let watch = Stopwatch::start();
        let dir = scratch.dir().join("data");
        let target = Target { dir, bump: None, compact_file: false, server: Some(binary.line) };
        let members = Members::Given {
            name: "proof".to_owned(),
            initial_cluster: vec![etcdfile::MemberSpec {
                name: "proof".to_owned(),
                peer_urls: vec!["http://127.0.0.1:2380".to_owned()], // recorded, never listened on
            }],
        };
        let plan =
            restore::plan(&Origin::of_manifest(manifest), target, members, format!("lifeboat-proof-{}", manifest.id))?;
        let identities = (self.identities)()?;
        let built = restore::build(self.store, self.layout, entry, identities, plan, &|_| {}).await?;
        compare_report(manifest, &built.report)?;
        steps.add("restored", watch, format!("{} keys at revision {}", built.report.keys, built.report.revision));
        let found = boot::boot(binary, scratch.dir(), &built.dir, manifest).await?;
        steps.0.extend(found.steps);
        scratch.wipe()?;
        Ok(found.version)
    }

    async fn record(
        &self,
        entry: &Trusted,
        outcome: Outcome,
        steps: Steps,
        took_seconds: f64,
        etcd_version: Option<String>,
    ) -> Result<Verdict> {
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
            steps: steps.0,
            took_seconds,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            etcd_version,
        };
        note::prepare(&verdict, &key, self.signer)?.store(self.store).await?;
        Ok(verdict)
    }
}

/// What a proof that boots a database of this size takes: the copy, what etcd adds to it, and its write-ahead log.
pub fn scratch_needed(db_bytes: u64) -> u64 {
    db_bytes.saturating_mul(2).saturating_add(256 << 20)
}

/// Only what speaks against the backup itself condemns it; a prover's own trouble is inconclusive.
fn condemns(reason: Reason) -> bool {
    matches!(reason, Reason::Damaged | Reason::ObjectMissing | Reason::ProofFailed)
}

fn compare(manifest: &Manifest, receipt: &CaptureReceipt) -> Result<()> {
    if receipt.stream_sha256 != manifest.plaintext.sha256 {
        return Err(Error::new(Reason::Damaged, "the opened bytes are not those the manifest signed"));
    }
    compare_report(manifest, &receipt.report)
}

fn compare_report(manifest: &Manifest, report: &etcdfile::Report) -> Result<()> {
    let db = &manifest.db;
    let hash = report.hash_kv.as_ref().map(|hash| Hash {
        hash: hash.hash,
        revision: hash.revision,
        compact_revision: hash.compact_revision,
    });
    let pairs = [
        ("revision", report.revision.to_string(), db.revision.to_string()),
        ("compact revision", report.compact_revision.to_string(), db.compact_revision.to_string()),
        ("keys", report.keys.to_string(), db.keys.to_string()),
        ("records", report.records.to_string(), db.records.to_string()),
        ("HashKV", format!("{hash:?}"), format!("{:?}", db.hash_kv)),
    ];
    for (what, found, wanted) in pairs {
        if found != wanted {
            return Err(Error::new(Reason::ProofFailed, format!("{what} is {found}, the manifest says {wanted}")));
        }
    }
    Ok(())
}

fn describe(receipt: &CaptureReceipt) -> String {
    let report = &receipt.report;
    let hash = report.hash_kv.as_ref().map_or(String::new(), |hash| format!(", HashKV {}", hash.hash));
    format!("page tree sound, {} keys at revision {}{hash}", report.keys, report.revision)
}
