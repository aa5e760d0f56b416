//! The signed JSON objects: what a backup is, what a proof found, what is to be deleted. Fields: `agent/docs/objects.md`.

use super::seen::{Late, Seen};
use crate::capture::{EncryptionKey, KeyCount};
use crate::config::Role;
use crate::digest::Digest;
use chrono::{DateTime, Utc};
use lifeboat_policy::id::BackupId;
use lifeboat_policy::proof::{Level, Outcome};
use serde::{Deserialize, Serialize};

/// Binds a signed object to its place: verified before anything else in it is believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// `lifeboat/manifest/v1` and its like.
    pub kind: String,
    pub cluster: String,
    /// The object's own name below the store's prefix.
    pub path: String,
    /// SHA-256 of the signer's public key line.
    pub signer: Digest,
}

/// What can be signed: each kind has one name and the roles that may sign it.
pub trait Signed: Serialize + for<'de> Deserialize<'de> {
    const KIND: &'static str;
    const ROLES: &'static [Role];
    fn binding(&self) -> &Binding;
    /// The backup it is or speaks of, which its path must name; an acknowledgement speaks of a finding.
    fn id(&self) -> Option<&BackupId>;

    /// Its own date, which is its signer's claim.
    fn at(&self) -> DateTime<Utc>;

    /// Whether others can vouch for it, so that it counts when its signer's key is revoked.
    const OUTLIVES_ITS_KEY: bool = false;

    /// Whether one of those roles may say just this.
    fn may(&self, _role: Role) -> bool {
        true
    }

    /// Its date, where it must not lie in the future for it to count.
    fn dated(&self) -> Option<DateTime<Utc>> {
        None
    }
}

/// The commit point of a backup: it exists when this object exists, and not before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    #[serde(flatten)]
    pub binding: Binding,
    pub id: BackupId,
    /// The history it belongs to: etcd's cluster id in hex; after a fall back under the same id, with `-` and the id of the
    /// first backup after it.
    pub lineage: String,
    /// The scheduled time this backup serves; absent for one that a person asked for.
    pub slot: Option<DateTime<Utc>>,
    /// Time between slots, so that a restore can say that newer backups may be missing.
    pub slot_seconds: Option<u64>,
    /// When the stream was opened: the state is of this moment.
    pub captured_at: DateTime<Utc>,
    pub finished_at: DateTime<Utc>,
    pub etcd: EtcdFacts,
    pub db: DbFacts,
    /// The keys of the API server's encryption at rest that living values need; absent where nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_at_rest: Option<Vec<EncryptionKey>>,
    pub equality: Equality,
    /// Why no proof can make this backup proven: it stands against most of its cluster, or against its own source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unprovable: Option<String>,
    /// What every member answered when it was asked for HashKV, and what the captured bytes say there.
    #[serde(default)]
    pub answers: Vec<HashAnswer>,
    /// The database and its 32-byte trailer.
    pub plaintext: Blob,
    pub sealed: Blob,
    pub sums: Blob,
    /// SHA-256 of each recipient: which keys open this.
    pub recipients: Vec<Digest>,
    pub agent_version: String,
    /// Every trusted head that the writer saw.
    pub parents: Vec<Parent>,
    /// The backup that the operator opened and sealed again for other recipients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resealed_from: Option<Parent>,
    /// The trust list that the writer saw, where there was one: one that is gone later was taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_list: Option<u32>,
}

/// Whom the snapshot was taken from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdFacts {
    /// Hex, as etcdctl prints it.
    pub cluster_id: String,
    pub member_id: String,
    pub member_name: String,
    /// Of the server binary.
    pub version: String,
    pub raft_term: u64,
    pub members: Vec<MemberFacts>,
    /// `NOSPACE`, `CORRUPT`: raised against the source, or against nobody in particular.
    #[serde(default)]
    pub alarms: Vec<String>,
}

/// A member as the snapshot itself records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberFacts {
    pub id: String,
    pub name: String,
    pub peer_urls: Vec<String>,
    pub is_learner: bool,
}

/// What the captured bytes say, read while they passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DbFacts {
    pub revision: i64,
    /// -1 where etcd never compacted.
    pub compact_revision: i64,
    pub scheduled_compact_revision: i64,
    pub records: u64,
    /// Keys alive at `revision`.
    pub keys: u64,
    pub tombstones: u64,
    pub bytes: u64,
    pub free_bytes: u64,
    pub page_bytes: u32,
    pub storage_version: Option<String>,
    pub cluster_version: Option<String>,
    pub hash_kv: Option<Hash>,
}

/// etcd's HashKV and the two revisions that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hash {
    pub hash: u32,
    pub revision: i64,
    pub compact_revision: i64,
}

/// Whether the live members agreed with the captured bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Equality {
    /// So many members gave the captured bytes' own hash at this revision, and nobody differs.
    Equal {
        revision: i64,
        members: usize,
    },
    Differs {
        found: String,
    },
    NotCompared {
        because: String,
    },
}

/// One question for HashKV: `hash` and `compact_revision`, or `because`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashAnswer {
    pub member_id: String,
    pub name: String,
    /// The revision asked for; 0 where the member could not even be asked.
    pub revision: i64,
    pub compact_revision: Option<i64>,
    pub hash: Option<u32>,
    /// What the captured bytes say at the same revision and compact revision, where they can tell.
    pub file_hash: Option<u32>,
    pub because: Option<String>,
}

/// What asking the live members came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    pub equality: Equality,
    pub unprovable: Option<String>,
    pub answers: Vec<HashAnswer>,
}

impl Equality {
    pub fn name(&self) -> &'static str {
        match self {
            Equality::Equal { .. } => "equal",
            Equality::Differs { .. } => "differs",
            Equality::NotCompared { .. } => "not_compared",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    pub bytes: u64,
    pub sha256: Digest,
}

impl Blob {
    pub fn of(bytes: &[u8]) -> Blob {
        Blob { bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX), sha256: Digest::of(bytes) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    pub id: BackupId,
    pub manifest_sha256: Digest,
}

impl Signed for Manifest {
    const KIND: &'static str = "lifeboat/manifest/v1";
    const ROLES: &'static [Role] = &[Role::Backup, Role::Operator];
    const OUTLIVES_ITS_KEY: bool = true;
    fn at(&self) -> DateTime<Utc> {
        self.finished_at
    }
    fn binding(&self) -> &Binding {
        &self.binding
    }
    fn id(&self) -> Option<&BackupId> {
        Some(&self.id)
    }

    /// A backup is the agent's; one that was sealed anew out of another the operator's.
    fn may(&self, role: Role) -> bool {
        self.resealed_from.is_some() == (role == Role::Operator)
    }
}

/// What one proof found, for good or ill.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    #[serde(flatten)]
    pub binding: Binding,
    pub id: BackupId,
    /// The manifest that was proven, to the bit.
    pub manifest_sha256: Digest,
    pub at: DateTime<Utc>,
    /// The deepest level that was asked for and, when passed, reached.
    pub level: Level,
    pub outcome: Outcome,
    pub steps: Vec<Step>,
    pub took_seconds: f64,
    pub agent_version: String,
    /// The etcd that was booted, where one was.
    pub etcd_version: Option<String>,
    #[serde(flatten)]
    pub learnt: Learnt,
}

/// What else a proof learnt; older agents did not look.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Learnt {
    /// The keys of the API server's encryption at rest that a restore will need, as the opened bytes say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_at_rest: Option<Vec<EncryptionKey>>,
    /// Living keys by the first segments of their path, the most frequent first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_counts: Vec<KeyCount>,
    /// Of a failure the level that the backup did not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<Level>,
    /// Seconds from the start of the restore to etcd's first answer, where an etcd was booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_seconds: Option<f64>,
    /// What a person should know of a backup that is nevertheless good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The store's catalog as the prover saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<Seen>,
    /// That the backup came into this store long after the time it claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<Late>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub name: String,
    pub took_seconds: f64,
    pub found: String,
}

impl Signed for Verdict {
    const KIND: &'static str = "lifeboat/verdict/v1";
    const ROLES: &'static [Role] = &[Role::Prove];
    fn at(&self) -> DateTime<Utc> {
        self.at
    }
    fn binding(&self) -> &Binding {
        &self.binding
    }
    fn id(&self) -> Option<&BackupId> {
        Some(&self.id)
    }
}

/// A planned deletion: it stays when the backup is gone, and says why.
///
/// Of an upload without a manifest it says that the manifest was asked for and was not there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tombstone {
    #[serde(flatten)]
    pub binding: Binding,
    pub id: BackupId,
    /// The manifest that is to go, to the bit; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_sha256: Option<Digest>,
    pub at: DateTime<Utc>,
    pub reason: String,
    /// A person asked for it, so no keep rule saves the backup. Only the operator's key may say so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asked: bool,
    pub agent_version: String,
}

impl Signed for Tombstone {
    const KIND: &'static str = "lifeboat/tombstone/v1";
    const ROLES: &'static [Role] = &[Role::Prune, Role::Operator];
    fn at(&self) -> DateTime<Utc> {
        self.at
    }
    fn binding(&self) -> &Binding {
        &self.binding
    }
    fn id(&self) -> Option<&BackupId> {
        Some(&self.id)
    }

    /// A plan's deletions are the pruner's, a person's the operator's: neither speaks for the other.
    fn may(&self, role: Role) -> bool {
        self.asked == (role == Role::Operator)
    }
}
