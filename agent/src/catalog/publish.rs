//! Publishing: read back what was uploaded, then sign, look once more, and write the manifest last.

use super::manifest::{Binding, Blob, Compared, DbFacts, EtcdFacts, Hash, Manifest, MemberFacts, Parent};
use super::{Catalog, Trusted, note};
use crate::capture::{CaptureReceipt, Member};
use crate::error::{Error, Reason, Result};
use crate::keys::Signer;
use crate::seal::{CHUNK_BYTES, SealReceipt};
use crate::store::{Layout, ObjectKey, Store};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use lifeboat_policy::id::BackupId;

/// What is known of a backup apart from its bytes.
#[derive(Clone, Debug)]
pub struct Draft {
    pub id: BackupId,
    pub slot: Option<DateTime<Utc>>,
    pub slot_seconds: Option<u64>,
    pub captured_at: DateTime<Utc>,
    pub member: Member,
    pub compared: Compared,
}

/// Both receipts: a manifest cannot be made without them.
#[derive(Clone, Debug)]
pub struct Captured {
    pub capture: CaptureReceipt,
    pub seal: SealReceipt,
}

/// A signed manifest that may be placed: the same bytes in every store.
pub struct Prepared {
    /// As the catalog will show it.
    pub entry: Trusted,
    /// Set where this backup begins a new history, with the reason.
    pub new_lineage: Option<String>,
    signed: note::Prepared,
}

/// What was uploaded and came back from the store as it was sent. Only `read_back` makes one.
#[derive(Debug)]
pub struct Uploaded {
    captured: Captured,
}

/// Stores the sums of an uploaded blob and reads both back.
pub async fn read_back(store: &Store, layout: &Layout, id: &BackupId, captured: Captured) -> Result<Uploaded> {
    came_back_whole(store, layout, id, &captured.seal).await?;
    Ok(Uploaded { captured })
}

/// Stores the sums of an uploaded blob and reads both back.
pub(crate) async fn came_back_whole(store: &Store, layout: &Layout, id: &BackupId, seal: &SealReceipt) -> Result<()> {
    let sums = Bytes::from(seal.sums.to_text());
    store.create(&layout.sums(id), sums.clone()).await?;
    compare_with_sent(store, layout, id, seal, &sums).await
}

/// Writes and signs the manifest of a captured backup, once for all stores. `before` is the catalog, of all stores that
/// could be read, as the writer saw it when it began.
pub fn prepare(
    layout: &Layout,
    signer: &Signer,
    draft: Draft,
    captured: Captured,
    before: &Catalog,
    finished_at: DateTime<Utc>,
) -> Result<Prepared> {
    let key = layout.manifest(&draft.id);
    let sums = Bytes::from(captured.seal.sums.to_text());
    let (lineage, new_lineage) = lineage(&draft, captured.capture.report.revision, before);
    let binding = note::binding::<Manifest>(layout, &key, signer);
    let manifest = manifest(binding, draft, captured, &sums, lineage, before, finished_at);
    let signed = note::prepare(&manifest, &key, signer)?;
    let entry = Trusted {
        manifest,
        manifest_sha256: signed.sha256,
        stored_at: finished_at,
        present: true,
        amiss: Vec::new(),
        verdicts: Vec::new(),
        tombstones: Vec::new(),
        holds: Vec::new(),
        late_accepted: false,
    };
    Ok(Prepared { entry, new_lineage, signed })
}

/// Makes an uploaded blob a backup of this store.
pub async fn place(store: &Store, layout: &Layout, uploaded: Uploaded, prepared: &Prepared) -> Result<()> {
    let manifest = &prepared.entry.manifest;
    if uploaded.captured.seal.sha256 != manifest.sealed.sha256 {
        return Err(Error::new(Reason::Internal, format!("{} is not what was uploaded", prepared.signed.key)));
    }
    let json = prepared.signed.json.clone();
    commit(store, layout, &manifest.id, manifest.sealed.bytes, json, prepared.signed.signature.clone()).await
}

/// The last steps for a blob that was read back: the signature, a last look, the manifest.
pub(crate) async fn commit(
    store: &Store,
    layout: &Layout,
    id: &BackupId,
    sealed_bytes: u64,
    json: Bytes,
    signature: Bytes,
) -> Result<()> {
    let key = layout.manifest(id);
    store.create(&key.signature(), signature.clone()).await?;
    came_back(store, &key.signature(), &signature).await?;
    // Looked at once more: a sweeper that took the blob for an orphan must not leave a manifest without data.
    let blob = layout.blob(id);
    if store.head(&blob).await?.is_none_or(|found| found.bytes != sealed_bytes) {
        return Err(Error::new(Reason::ObjectMissing, format!("{blob} vanished before its manifest was written"))
            .on("publish", &blob)
            .hint("something else deletes in this prefix; the backup was not published and will be made anew"));
    }
    store.create(&key, json.clone()).await?;
    came_back(store, &key, &json).await
}

/// What the store gives back must be what was sealed: size, every chunk, the whole.
async fn compare_with_sent(
    store: &Store,
    layout: &Layout,
    id: &BackupId,
    seal: &SealReceipt,
    sums: &Bytes,
) -> Result<()> {
    let key = layout.blob(id);
    let found = store.head(&key).await?.map(|found| found.bytes);
    if found != Some(seal.bytes) {
        return Err(differs(&key));
    }
    if store.reads_back_all() {
        let sums = seal.sums.clone();
        let mut chunks = std::pin::pin!(
            store.read_checked(&key, seal.bytes, CHUNK_BYTES, move |index, chunk| sums.matches(index, chunk))
        );
        while let Some(chunk) = chunks.next().await {
            chunk.map_err(
                |error| {
                    if error.reason == Reason::Damaged { differs(&key).because(error) } else { error }
                },
            )?;
        }
    }
    came_back(store, &layout.sums(id), sums).await
}

/// A small object must be in the store as it was sent: a manifest or signature that is another makes no backup.
async fn came_back(store: &Store, key: &ObjectKey, sent: &Bytes) -> Result<()> {
    if store.read(key, note::JSON_CAP.max(Blob::of(sent).bytes)).await? != *sent {
        return Err(differs(key));
    }
    Ok(())
}

fn differs(key: &ObjectKey) -> Error {
    Error::new(Reason::Damaged, format!("{key} came back from the store different from what was sent"))
        .on("read back", key)
        .hint("the store or the path to it damages data; this backup does not count and is made anew")
}

/// The history this backup belongs to, and the reason if it begins one.
///
/// A history is named after etcd's cluster id, so that agents that begin at the same moment begin the same one. Only a
/// cluster that fell back under its old id (restored with the old token) needs more: the id of the first backup after it.
fn lineage(draft: &Draft, revision: i64, before: &Catalog) -> (String, Option<String>) {
    let cluster_id = format!("{:x}", draft.member.cluster_id);
    let Some(known) =
        before.trusted.iter().map(|entry| &entry.manifest).find(|known| known.etcd.cluster_id == cluster_id)
    else {
        let why = before.newest().map(|newest| {
            format!("etcd's cluster id changed from {} to {cluster_id}", newest.manifest.etcd.cluster_id)
        });
        return (cluster_id, why);
    };
    if revision < known.db.revision && draft.member.raft_term < known.etcd.raft_term {
        let why = format!("etcd's revision fell from {} to {revision} and its raft term too", known.db.revision);
        return (format!("{cluster_id}-{}", draft.id), Some(why));
    }
    (known.lineage.clone(), None)
}

fn manifest(
    binding: Binding,
    draft: Draft,
    captured: Captured,
    sums: &Bytes,
    lineage: String,
    before: &Catalog,
    finished_at: DateTime<Utc>,
) -> Manifest {
    let Captured { capture, seal } = captured;
    Manifest {
        binding,
        id: draft.id,
        lineage,
        slot: draft.slot,
        slot_seconds: draft.slot_seconds,
        captured_at: draft.captured_at,
        finished_at,
        etcd: etcd_facts(&draft.member, &capture),
        db: db_facts(&capture),
        encryption_at_rest: Some(capture.counted.encryption.clone()),
        equality: draft.compared.equality,
        unprovable: draft.compared.unprovable,
        answers: draft.compared.answers,
        plaintext: Blob { bytes: capture.stream_bytes, sha256: capture.stream_sha256 },
        sealed: Blob { bytes: seal.bytes, sha256: seal.sha256 },
        sums: Blob::of(sums),
        recipients: seal.recipients,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        parents: before
            .heads()
            .into_iter()
            .map(|head| Parent { id: head.id().clone(), manifest_sha256: head.manifest_sha256 })
            .collect(),
        resealed_from: None,
        trust_list: before.trust_list.as_ref().map(|list| list.n),
    }
}

fn etcd_facts(member: &Member, capture: &CaptureReceipt) -> EtcdFacts {
    let facts = |member: &etcdfile::Member| MemberFacts {
        id: format!("{:x}", member.id),
        name: member.name.clone(),
        peer_urls: member.peer_urls.clone(),
        is_learner: member.is_learner,
    };
    EtcdFacts {
        cluster_id: format!("{:x}", member.cluster_id),
        member_id: format!("{:x}", member.member_id),
        member_name: member.name.clone(),
        version: member.version.clone(),
        raft_term: member.raft_term,
        members: capture.report.members.iter().map(facts).collect(),
        alarms: member.alarms.clone(),
    }
}

fn db_facts(capture: &CaptureReceipt) -> DbFacts {
    let report = &capture.report;
    DbFacts {
        revision: report.revision,
        compact_revision: report.compact_revision,
        scheduled_compact_revision: report.scheduled_compact_revision,
        records: report.records,
        keys: report.keys,
        tombstones: report.tombstones,
        bytes: report.db_bytes,
        free_bytes: report.free_bytes,
        page_bytes: report.page_bytes,
        storage_version: report.storage_version.clone(),
        cluster_version: report.cluster_version.clone(),
        hash_kv: report.hash_kv.as_ref().map(|hash| Hash {
            hash: hash.hash,
            revision: hash.revision,
            compact_revision: hash.compact_revision,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::Equality;
    use super::super::sample;
    use super::*;

    fn draft(cluster_id: u64, raft_term: u64) -> Draft {
        let captured_at = DateTime::from_timestamp(2_000_000, 0).unwrap();
        let member = Member {
            endpoint: "http://127.0.0.1:2379".to_owned(),
            member_id: 1,
            cluster_id,
            name: "cp-1".to_owned(),
            version: "3.6.14".to_owned(),
            is_leader: true,
            is_learner: false,
            db_bytes: 0,
            revision: 0,
            raft_term,
            alarms: Vec::new(),
        };
        let id = BackupId::new(captured_at, 9);
        let equality = Equality::NotCompared { because: "a test".to_owned() };
        let compared = Compared { equality, unprovable: None, answers: Vec::new() };
        Draft { id, slot: None, slot_seconds: None, captured_at, member, compared }
    }

    #[test]
    fn agents_that_begin_at_once_begin_one_history() {
        let nothing = sample::catalog(Vec::new());
        assert_eq!(lineage(&draft(0xabc, 2), 10, &nothing), ("abc".to_owned(), None));
    }

    #[test]
    fn a_history_goes_on_until_the_cluster_is_another_or_fell_back() {
        let before = sample::catalog(vec![sample::trusted("abc", "abc", 1_000_000, 100, 7)]);
        assert_eq!(lineage(&draft(0xabc, 7), 120, &before), ("abc".to_owned(), None));
        // A follower behind the others is not a fall back: the term tells.
        assert_eq!(lineage(&draft(0xabc, 7), 90, &before), ("abc".to_owned(), None));
        let (fell, why) = lineage(&draft(0xabc, 2), 90, &before);
        assert_eq!(fell, format!("abc-{}", draft(0xabc, 2).id));
        assert!(why.unwrap().contains("from 100 to 90"));
        let (another, why) = lineage(&draft(0xdef, 2), 5, &before);
        assert_eq!(another, "def");
        assert!(why.unwrap().contains("from abc to def"));
    }

    #[test]
    fn a_cluster_that_comes_back_goes_on_with_its_own_history() {
        let before = sample::catalog(vec![
            sample::trusted("def", "def", 1_500_000, 5, 2),
            sample::trusted("abc", "abc", 1_000_000, 100, 7),
        ]);
        assert_eq!(lineage(&draft(0xabc, 8), 120, &before), ("abc".to_owned(), None));
    }
}
