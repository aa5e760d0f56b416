//! etcd's own files: bytes in, bytes out.
//!
//! Everything that Lifeboat knows about the shapes on disk lives here: the bbolt database, the revision records inside
//! it, the trailer of a snapshot, the write-ahead log, the `.snap` file and the layout of a data dir. The crate is
//! pure: it starts no threads, opens no files and asks no clock. Where it needs a file it takes the small traits
//! [`ReadAt`], [`WriteAt`] and [`Spill`], which `std::fs::File` satisfies.
//!
//! * [`trailer`] splits a snapshot stream into the database and the SHA-256 that follows it.
//! * [`check`] reads a database once, in order, in bounded memory, and says whether its page tree and records hold.
//! * [`read`] answers questions about a database file: records, keys at a revision, leases, HashKV.
//! * [`build`] writes a new database, compact, from items in order.
//! * [`rewrite`] gives a restored database its new members, as bbolt itself would commit them.
//! * [`line`](mod@line) knows which etcd starts from which database.
//! * [`datadir`] plans the other files of a fresh data dir, from [`wal`], [`snap`] and [`identity`].
//! * [`wal`] and [`snap`] also read a member's own files back.
//!
//! No input makes this crate panic: every length, offset and count in a file is a claim until it is checked.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)
)]

mod bolt;
pub mod build;
pub mod check;
mod crc;
pub mod datadir;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod identity;
pub mod io;
pub mod line;
mod mvcc;
mod num;
mod proto;
pub mod read;
pub mod rewrite;
mod small;
pub mod snap;
pub mod trailer;
pub mod wal;

pub use build::{BucketWriter, BuildError, Built, BulkWriter, CompactError, compact};
pub use check::{CheckError, Checked, Finding, HashKv, Member, NoHash, Report, StreamCheck, check_file};
pub use datadir::{MemberSpec, Plan, PlanError, PlannedDir, PlannedFile};
pub use identity::NewMember;
pub use io::{FileSpill, NoSpill, ReadAt, Spill, WriteAt};
pub use line::Line;
pub use read::{Database, DbError, Index, IndexEntry, KeyValue, Lease, RecordView};
pub use rewrite::{Committed, Edits, RewriteError};
pub use trailer::{Trailed, TrailerError, Verified};
