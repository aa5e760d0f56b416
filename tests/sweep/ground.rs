//! Where a sweep begins: a store in memory with three proven backups, the oldest marked for deletion long ago; an upload of
//! backup 0 that was never finished and was marked as such; and keys.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt as _;
use lifeboat::capture::{CaptureReceipt, Member, Observer};
use lifeboat::catalog::manifest::{Compared, Equality, Step, Tombstone, Verdict};
use lifeboat::catalog::{Captured, Catalog, Draft, Reader, Trusted, note, place, prepare, read_back};
use lifeboat::config::{ClusterName, NamedKey, Role};
use lifeboat::digest::Digest;
use lifeboat::error::{Error, Reason, Result};
use lifeboat::keys::Comments;
use lifeboat::keys::generate::{KeyRole, generate};
use lifeboat::keys::{Identities, Recipients, Signer, Trust};
use lifeboat::prune::{self, Pruner};
use lifeboat::seal::{SealReceipt, Sealer};
use lifeboat::store::{Layout, Store};
use lifeboat::summary::{self, Yardstick};
use lifeboat::{fetch, wish};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::{Level, Outcome};
use lifeboat_policy::retention::{Keep, Rules};
use lifeboat_tests::fault_store::FaultStore;
use lifeboat_tests::tools;
use object_store::ObjectStore as _;
use tempfile::TempDir;

/// A small snapshot by a real server.
const SNAPSHOT: &str = "tests/vectors/3.6-compacted.db.zst";

pub(super) struct Ground {
    pub(super) base: FaultStore,
    pub(super) layout: Layout,
    dir: TempDir,
    trust: Trust,
    capture: CaptureReceipt,
    sealed: Vec<Bytes>,
    seal: SealReceipt,
    pub(super) snapshot_sha256: Digest,
    begun: DateTime<Utc>,
}

impl Ground {
    pub(super) async fn prepare() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        generate(KeyRole::All, dir.path(), Comments::default(), None).expect("keys can be made");
        let mut trust = Trust::default();
        for (role, name) in
            [(Role::Backup, "backup"), (Role::Prove, "prove"), (Role::Prune, "prune"), (Role::Operator, "operator")]
        {
            trust.add(role, signer(dir.path().join(format!("{name}.sign.key"))).public().clone());
        }
        let packed = std::fs::read(tools::repository().join(SNAPSHOT)).expect("the vector is there");
        let snapshot = zstd::decode_all(packed.as_slice()).expect("the vector is whole");
        let mut observer = Observer::new(dir.path());
        observer.push(&snapshot, |_| Ok(())).expect("the vector is sound");
        let capture = observer.finish().expect("the vector is sound");
        let recipients = [dir.path().join("prove.pub").display().to_string()];
        let recipients = Recipients::load(&recipients.map(NamedKey::bare)).expect("keygen made it");
        let mut sealed = Vec::new();
        let mut sealer = Sealer::new(&recipients, |piece| {
            sealed.push(piece);
            Ok(())
        })
        .expect("it can be sealed");
        sealer.push(&snapshot).expect("it can be sealed");
        let seal = sealer.finish().expect("it can be sealed");
        let layout = Layout::new(&ClusterName::parse("prod").expect("a name"));
        let (base, snapshot_sha256, begun) = (FaultStore::default(), Digest::of(&snapshot), Utc::now());
        let mut ground = Self { base, layout, dir, trust, capture, sealed, seal, snapshot_sha256, begun };
        ground.fill().await;
        ground
    }

    /// Backups 1, 2 and 3, each proven; 1 is marked. What a crash left of backup 0 was seen and marked.
    async fn fill(&mut self) {
        let objects = std::sync::Arc::new(std::mem::take(&mut self.base));
        let store = super::store(objects.clone());
        for number in 1..=3 {
            let entry = self.publish(&store, number).await.expect("a store without faults takes it");
            self.prove(&store, &entry).await;
            if number == 1 {
                self.mark(&store, &entry).await;
            }
        }
        let orphan = self.id(0);
        for key in [self.layout.blob(&orphan), self.layout.sums(&orphan)] {
            store.create(&key, Bytes::from_static(b"cut")).await.expect("a store without faults takes it");
        }
        self.tombstone(&store, &orphan, None, Utc::now()).await;
        drop(store);
        self.base = objects.fork();
    }

    pub(super) fn id(&self, number: i64) -> BackupId {
        BackupId::new(self.at(number), number.unsigned_abs())
    }

    fn at(&self, number: i64) -> DateTime<Utc> {
        self.begun - TimeDelta::days(10 - number)
    }

    pub(super) async fn objects(&self) -> usize {
        let listed: Vec<_> = self.base.sound().list(None).try_collect().await.expect("memory lists");
        listed.len()
    }

    pub(super) fn signer(&self, role: &str) -> Signer {
        signer(self.dir.path().join(format!("{role}.sign.key")))
    }

    pub(super) async fn read(&self, store: &Store) -> Result<Catalog> {
        self.reader(store).read(Utc::now()).await
    }

    /// As a backup does it, from the first look at the catalog to the manifest.
    pub(super) async fn publish(&self, store: &Store, number: i64) -> Result<Trusted> {
        let (id, captured_at) = (self.id(number), self.at(number));
        let before = self.read(store).await?;
        let mut upload = store.upload(&self.layout.blob(&id)).await?;
        for piece in &self.sealed {
            upload.write(piece.clone()).await?;
        }
        upload.finish().await?;
        let captured = Captured { capture: self.capture.clone(), seal: self.seal.clone() };
        let uploaded = read_back(store, &self.layout, &id, captured.clone()).await?;
        let equality = Equality::NotCompared { because: "a test".to_owned() };
        let compared = Compared { equality, unprovable: None, answers: Vec::new() };
        let draft = Draft { id, slot: None, slot_seconds: None, captured_at, member: member(), compared };
        let signer = self.signer("backup");
        let prepared = prepare(&self.layout, &signer, draft, captured, &before, captured_at)?;
        place(store, &self.layout, uploaded, &prepared).await?;
        Ok(prepared.entry)
    }

    async fn prove(&self, store: &Store, entry: &Trusted) {
        let (signer, at) = (self.signer("prove"), entry.manifest.captured_at);
        let key = self.layout.verdict(entry.id(), at, 1);
        let verdict = Verdict {
            binding: note::binding::<Verdict>(&self.layout, &key, &signer),
            id: entry.id().clone(),
            manifest_sha256: entry.manifest_sha256,
            at,
            level: Level::Booted,
            outcome: Outcome::Passed,
            steps: vec![Step { name: "booted".to_owned(), took_seconds: 1.0, found: String::new() }],
            took_seconds: 1.0,
            agent_version: "0".to_owned(),
            etcd_version: None,
            learnt: Default::default(),
        };
        let prepared = note::prepare(&verdict, &key, &signer).expect("it can be signed");
        prepared.store(store).await.expect("a store without faults takes it");
    }

    async fn mark(&self, store: &Store, entry: &Trusted) {
        self.tombstone(store, entry.id(), Some(entry.manifest_sha256), entry.manifest.captured_at).await;
    }

    async fn tombstone(&self, store: &Store, id: &BackupId, manifest_sha256: Option<Digest>, at: DateTime<Utc>) {
        let signer = self.signer("prune");
        let key = self.layout.tombstone(id, at, 1);
        let tombstone = Tombstone {
            binding: note::binding::<Tombstone>(&self.layout, &key, &signer),
            id: id.clone(),
            manifest_sha256,
            at,
            reason: "a test".to_owned(),
            asked: false,
            agent_version: "0".to_owned(),
        };
        let prepared = note::prepare(&tombstone, &key, &signer).expect("it can be signed");
        prepared.store(store).await.expect("a store without faults takes it");
    }

    pub(super) async fn hold(&self, store: &Store, number: i64) -> Result<()> {
        let reader = self.reader(store);
        let catalog = reader.read(Utc::now()).await?;
        let entry = catalog.find(&self.id(number)).ok_or_else(|| Error::new(Reason::NoBackup, "it is not listed"))?;
        wish::hold(&reader, &self.signer("operator"), entry, "a test", None, Utc::now()).await.map(drop)
    }

    pub(super) async fn release(&self, store: &Store, number: i64) -> Result<()> {
        let reader = self.reader(store);
        let catalog = reader.read(Utc::now()).await?;
        let entry = catalog.find(&self.id(number)).ok_or_else(|| Error::new(Reason::NoBackup, "it is not listed"))?;
        wish::release(&reader, &self.signer("operator"), entry, Utc::now()).await.map(drop)
    }

    /// A person wants it gone.
    pub(super) async fn ask(&self, store: &Store, number: i64) -> Result<()> {
        let reader = self.reader(store);
        let catalog = reader.read(Utc::now()).await?;
        let entry = catalog.find(&self.id(number)).ok_or_else(|| Error::new(Reason::NoBackup, "it is not listed"))?;
        prune::ask(&reader, &self.signer("operator"), entry, "a test", Utc::now()).await
    }

    pub(super) fn reader(&self, store: &Store) -> Reader {
        Reader::new(store.clone(), self.layout.clone(), self.trust.clone())
    }

    /// As a slot of prune does it, an hour from now: 1 and what is left of 0 are deleted, 2 is marked, 3 is the newest proven.
    pub(super) async fn prune(&self, store: &Store) -> Result<prune::Done> {
        let catalog = self.read(store).await?;
        self.prune_from(store, &catalog).await
    }

    /// The same from a catalog that was read before.
    pub(super) async fn prune_from(&self, store: &Store, catalog: &Catalog) -> Result<prune::Done> {
        let reader = self.reader(store);
        let rules = Rules {
            keep: Some(Keep { last: 1, min_proven: 1, ..Keep::default() }),
            time_zone: chrono_tz::Tz::UTC,
            grace: Duration::from_secs(60),
            min_age: Duration::ZERO,
            max_deletions: 10,
            freeze_if_shrunk: Some(50),
        };
        let now = Utc::now() + TimeDelta::hours(1);
        let plan = summary::plan(catalog, &Yardstick::bare(Level::Booted), &rules, now);
        let signer = self.signer("prune");
        let pruner = Pruner { reader: &reader, signer: &signer, rules: &rules, orphan_grace: rules.grace, now };
        pruner.apply(catalog, &plan).await
    }

    /// As a restore does it: the newest proven backup, opened; its digest.
    pub(super) async fn fetch(&self, store: &Store) -> Result<Digest> {
        let catalog = self.read(store).await?;
        let entry =
            catalog.newest_proven(Level::Booted).ok_or_else(|| Error::new(Reason::NotUsable, "none is proven"))?;
        self.opened(store, entry).await
    }

    pub(super) async fn opened(&self, store: &Store, entry: &Trusted) -> Result<Digest> {
        let identities = Identities::from_file(&self.dir.path().join("prove.key")).expect("keygen made it");
        let sink = |plaintext: &mut dyn Read| {
            let mut whole = Vec::new();
            plaintext.read_to_end(&mut whole).map_err(|source| Error::new(Reason::Damaged, "cut").because(source))?;
            Ok(Digest::of(&whole))
        };
        fetch::opened(store, &self.layout, entry, identities, sink, false, &|_| {}).await
    }
}

fn signer(path: PathBuf) -> Signer {
    Signer::from_file(&path).expect("keygen made it")
}

fn member() -> Member {
    Member {
        endpoint: "http://127.0.0.1:2379".to_owned(),
        member_id: 1,
        cluster_id: 0xabc,
        name: "cp-1".to_owned(),
        version: "3.6.14".to_owned(),
        is_leader: true,
        is_learner: false,
        db_bytes: 0,
        revision: 0,
        raft_term: 2,
        alarms: Vec::new(),
    }
}
