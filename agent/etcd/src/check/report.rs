//! What a check found out.

use serde::Serialize;

use crate::trailer::TrailerError;

/// What a database holds, and what is wrong with it.
///
/// Numbers are exact when [`Report::sound`]; otherwise they cover what could still be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Everything that is wrong, the first hundred of it; empty in a sound database.
    pub findings: Vec<Finding>,
    /// Findings beyond the first hundred.
    pub more_findings: u64,
    /// The revision that etcd will have when it starts from this database; 1 when nothing was ever written.
    pub revision: i64,
    /// The revision up to which history is compacted once etcd has started: the greater of the finished and the
    /// scheduled compaction; -1 when never compacted.
    pub compact_revision: i64,
    /// The last compaction that was begun (`meta/scheduledCompactRev`), -1 when none.
    pub scheduled_compact_revision: i64,
    /// The last compaction that was completed (`meta/finishedCompactRev`), -1 when none.
    pub finished_compact_revision: i64,
    /// Revision records, tombstones among them.
    pub records: u64,
    /// User keys alive at `revision`.
    pub keys: u64,
    /// Records that are deletions.
    pub tombstones: u64,
    /// Bytes of the database, without a trailer.
    pub db_bytes: u64,
    /// The database's page size.
    pub page_bytes: u32,
    /// Bytes of pages below the high-water mark that nothing refers to: what a defragmentation would give back.
    pub free_bytes: u64,
    /// Bytes behind the high-water mark: 0 in a snapshot, more in a file that a server had open.
    pub beyond_bytes: u64,
    /// Whether both meta pages name the same root: always so in a snapshot.
    pub metas_agree: bool,
    /// The id of the cluster, where its members tell: a database does not record it. See
    /// [`bootstrap_cluster_id`](crate::identity::bootstrap_cluster_id).
    pub cluster_id: Option<u64>,
    /// Members as the database lists them, ascending by id.
    pub members: Vec<Member>,
    /// Leases granted and not yet expired or revoked.
    pub leases: u64,
    /// Keys whose newest record names a lease that is not there. etcd serves them, but the first `put` on one that
    /// keeps its lease (`--ignore-lease`) crashes every member, at every start from then on.
    pub dangling_leases: u64,
    /// The first hundred of the lease ids that are missing, ascending.
    pub dangling_lease_ids: Vec<i64>,
    /// Active alarms.
    pub alarms: u64,
    /// The raft index up to which this database is applied, 0 when not recorded.
    pub consistent_index: u64,
    /// The raft term of that index; etcd 3.4 does not record it.
    pub term: Option<u64>,
    /// The schema's version as etcd 3.6 and newer record it, such as 3.6.0.
    pub storage_version: Option<String>,
    /// The cluster's version as its members agreed on it, such as 3.5.0.
    pub cluster_version: Option<String>,
    /// Whether users and roles are enforced.
    pub auth_enabled: bool,
    /// What a live member answers to HashKV at `revision`; none when the database is not sound.
    pub hash_kv: Option<HashKv>,
    /// What `etcdutl snapshot status` prints as the hash, over all buckets; none when the database is not sound.
    pub status_hash: Option<u32>,
}

impl Report {
    /// Whether nothing is wrong. Dangling leases and alarms are facts for the caller to weigh, not damage.
    pub fn sound(&self) -> bool {
        self.findings.is_empty()
    }

    /// See [`Checked::hold_to_snapshot`](super::Checked::hold_to_snapshot).
    pub(super) fn hold_to_snapshot(&mut self, trailer: Option<&TrailerError>) {
        let mut find = |what: String| self.findings.push(Finding { what, page: None, offset: None });
        if let Some(error) = trailer {
            find(error.to_string());
        }
        // A server makes both meta pages of a snapshot from one, and ends with the last page in use.
        if !self.metas_agree {
            find("the two meta pages of the snapshot do not name the same root".to_owned());
        }
        if self.beyond_bytes > 0 {
            find(format!("the snapshot has {} bytes behind its last page", self.beyond_bytes));
        }
        if !self.sound() {
            (self.hash_kv, self.status_hash) = (None, None);
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A sentence without a full stop, for a person.
    pub what: String,
    /// The page concerned.
    pub page: Option<u64>,
    /// Where that page begins in the file, in bytes.
    pub offset: Option<u64>,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.page, self.offset) {
            (Some(page), Some(offset)) => write!(f, "page {page} (at byte {offset}): {}", self.what),
            (Some(page), None) => write!(f, "page {page}: {}", self.what),
            _ => f.write_str(&self.what),
        }
    }
}

/// A member of the cluster that the database came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// The member's id; etcd prints it in lowercase hex.
    pub id: u64,
    /// Empty until the member has started once.
    pub name: String,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has started once.
    pub client_urls: Vec<String>,
    /// Whether it has no vote yet.
    pub is_learner: bool,
}

/// An answer of etcd's HashKV: comparable only with one at the same revision and compact revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct HashKv {
    /// CRC-32C over the records.
    pub hash: u32,
    /// The revision up to which records count.
    pub revision: i64,
    /// The revision at or below which only each key's newest record counts; -1 when never compacted.
    pub compact_revision: i64,
}

/// Why a database cannot say what a live member answers to HashKV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoHash {
    /// Something is wrong with the database, so what it would say is worth nothing.
    #[error("the database is not sound, so a hash of it says nothing")]
    NotSound,
    /// The database ends before the revision asked for, or the revision is none.
    #[error("the database has no revision {asked}: it goes up to {newest}")]
    NoRevision {
        /// The revision asked for.
        asked: i64,
        /// The database's own.
        newest: i64,
    },
    /// No member answers for a revision below its compaction.
    #[error("revision {asked} lies below the compaction at {compact_revision}")]
    Compacted {
        /// The revision asked for.
        asked: i64,
        /// The compaction asked for.
        compact_revision: i64,
    },
    /// The database was compacted later than the member in question, and lacks records that the member still has.
    #[error("the database is compacted at {own}, and has no records from before for a compaction at {asked}")]
    CompactedLater {
        /// The compaction asked for.
        asked: i64,
        /// The database's own.
        own: i64,
    },
}

impl NoHash {
    /// Whether a database at `own` (revision, compact revision) can answer for `asked`.
    pub(crate) fn check(asked: (i64, i64), own: (i64, i64)) -> Result<(), NoHash> {
        let (revision, compact) = asked;
        if revision < 1 || revision > own.0 {
            return Err(NoHash::NoRevision { asked: revision, newest: own.0 });
        }
        if compact < own.1 {
            return Err(NoHash::CompactedLater { asked: compact, own: own.1 });
        }
        if revision < compact {
            return Err(NoHash::Compacted { asked: revision, compact_revision: compact });
        }
        Ok(())
    }
}
