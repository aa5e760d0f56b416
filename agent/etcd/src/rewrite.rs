//! Gives a restored database its new members, as bbolt itself would commit them.
//!
//! Nothing that is there is changed but the two meta pages: new pages go behind the high-water mark, for the few small
//! buckets that change and, with a bump, for the right edge of the `key` bucket; then a new root, and at last both
//! metas, with higher transaction ids and without a stored freelist. What the old root alone referred to is free space
//! from then on. The user's records are not read again.

mod edits;

use std::io;

use crate::check::Report;
use crate::identity::NewMember;
use crate::io::{ReadAt, WriteAt};

/// What to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edits {
    /// The members of the new cluster, in place of all there are.
    pub members: Vec<NewMember>,
    /// The raft index to record as applied: the number of members, which the new log adds one by one.
    pub consistent_index: u64,
    /// The raft term of that index.
    pub term: u64,
    /// Revisions to skip. The database then is at `revision + bump`, and compacted there, so that every watch on the
    /// lost future fails with "compacted" and clients list again instead of believing it.
    pub bump: Option<u64>,
    /// Whether users and roles are to be enforced no longer.
    pub disable_auth: bool,
}

/// What was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The revision that etcd will start with.
    pub revision: i64,
    /// Bytes of the database now: what the file must be at least as long as.
    pub db_bytes: u64,
    /// Members of the old cluster that were taken out.
    pub dropped_members: usize,
    /// Alarms that were taken out; an alarm would make the restored cluster refuse writes.
    pub dropped_alarms: usize,
    /// Whether a pending downgrade was taken out; etcd 3.6 would silently carry it out on the restored cluster.
    pub dropped_downgrade: bool,
}

/// Why a database was not rewritten. Its meta pages, and so its content, are then as they were.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The file could not be read or written.
    #[error("cannot {doing} the database at byte {offset}: {source}")]
    Io {
        /// `read` or `write`.
        doing: &'static str,
        /// Where in the file.
        offset: u64,
        /// The cause.
        source: io::Error,
    },
    /// The report has findings, so there is no telling what a commit would build on.
    #[error("the database is not sound ({findings} findings), so nothing can be built on it; restore another backup")]
    NotSound {
        /// How many.
        findings: usize,
    },
    /// The file is not the one that was checked.
    #[error("page {page} of the database changed since it was checked: {what}; restore again into an empty directory")]
    Changed {
        /// The page.
        page: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The bump leads beyond the last revision there can be.
    #[error("revision {revision} cannot be raised by {bump}: choose a bump of at least 1 that stays below 2^63")]
    Bump {
        /// The database's revision.
        revision: i64,
        /// The bump asked for.
        bump: u64,
    },
    /// No member to restore.
    #[error("a cluster needs at least one member; name the members to restore")]
    NoMembers,
}

/// Commits `edits` to the database in `file`, which must hold the bytes that `report` describes, without a trailer.
///
/// Pages are written first and the metas last; syncing is the caller's. The file must not be open in etcd.
pub fn commit<F: ReadAt + WriteAt>(file: &F, report: &Report, edits: &Edits) -> Result<Committed, RewriteError> {
    edits::commit(file, report, edits)
}
