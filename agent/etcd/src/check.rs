//! A database understood in one pass, while its bytes go by.
//!
//! A bbolt file is written by copy-on-write, so a page on the way may be live, or stale and about to be reused, and
//! only the root tells which; the root's tree, in turn, may live anywhere. So every page whose header names its own
//! place is *noted*: its children, its records' revisions and sums, or, for the small buckets, its bytes. When the
//! stream ends the newest valid meta page gives the root, and walking the notes from there checks the tree. What the
//! walk does not reach was free, and does not count.
//!
//! Memory: 12 bytes a page, 4 bytes a leaf of revisions and one bit a record always; notes (28 bytes a record, and
//! small pages as they are) up to the budget and beyond it in a [`Spill`]; as much as the budget again to tell which
//! records are the newest of their key, with 16 more bytes a record in the [`Spill`] where that is not enough for all;
//! and what is left of a page that spans several, 64 MiB at most.

mod buckets;
mod count;
mod notes;
mod report;
mod stream;
mod walk;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::RandomState;
use std::io;

pub use report::{Finding, HashKv, Member, NoHash, Report};

use crate::bolt::Meta;
use crate::io::{ReadAt, Spill};
use crate::trailer::{Trailed, TrailerError, has_trailer, read_size};
use count::{Alive, Records};
use notes::Notes;
use stream::Stream;

/// Why nothing can be said about a database at all. What is wrong *in* one is a [`Finding`].
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Neither of the two meta pages is valid, so there is no root to start from.
    #[error("this is no etcd database: neither of its two meta pages is valid ({db_bytes} bytes were read)")]
    NoMeta {
        /// Bytes that were read.
        db_bytes: u64,
    },
    /// The scratch space failed, or was needed and not given.
    #[error("cannot keep notes on the database: {0}")]
    Spill(io::Error),
    /// The file under check could not be read.
    #[error("cannot read the database: {0}")]
    Read(io::Error),
}

/// Reads a database once, in order, in chunks of any size.
pub struct StreamCheck<S: Spill> {
    stream: Stream<S>,
}

impl<S: Spill> StreamCheck<S> {
    /// Starts a check that keeps `budget_bytes` of notes in memory and the rest in `spill`.
    pub fn new(spill: S, budget_bytes: usize) -> Self {
        StreamCheck { stream: Stream::new(Notes::new(spill, budget_bytes), Classes { of: None }) }
    }

    /// As [`StreamCheck::new`], and puts every record into the class that `of` gives for its key and value, 0 for none:
    /// [`Checked::keys_by_class`] then counts the living ones. `of` also sees records that turn out to be stale, and costs 8
    /// bytes of notes for each record in a class.
    pub fn classifying(spill: S, budget_bytes: usize, of: impl FnMut(&[u8], &[u8]) -> u32 + Send + 'static) -> Self {
        StreamCheck { stream: Stream::new(Notes::new(spill, budget_bytes), Classes { of: Some(Box::new(of)) }) }
    }

    /// Takes the next bytes of the database. The only possible error is the scratch space's; after one the check
    /// cannot be finished.
    pub fn feed(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.feed(bytes)
    }

    /// Ends the database and says what it is.
    pub fn finish(self) -> Result<Report, CheckError> {
        Ok(self.into_checked()?.into_report())
    }

    /// As [`StreamCheck::finish`], and stays ready for questions about HashKV.
    pub fn into_checked(self) -> Result<Checked<S>, CheckError> {
        let read = self.stream.finish()?;
        buckets::checked(read).map_err(CheckError::Spill)
    }
}

/// A database that was read to its end and understood.
pub struct Checked<S: Spill> {
    report: Report,
    records: Records<S>,
    /// At the database's own revision.
    alive: Alive,
}

impl<S: Spill> Checked<S> {
    /// What the database is.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What the database is, when nothing more is to be asked.
    pub fn into_report(self) -> Report {
        self.report
    }

    /// Keys alive at the database's own revision by the class of their newest record, where
    /// [`StreamCheck::classifying`] was told one. The only possible error is the scratch space's.
    pub fn keys_by_class(&self) -> Result<BTreeMap<u32, u64>, CheckError> {
        self.records.by_class(&self.alive).map_err(CheckError::Spill)
    }

    /// Adds findings for what holds of a snapshot as a server sends it, and not of every database; `trailer` is what is
    /// wrong with the digest behind it.
    pub fn hold_to_snapshot(&mut self, trailer: Option<&TrailerError>) {
        self.report.hold_to_snapshot(trailer);
    }

    /// What a live member answers to HashKV at `revision` when it is compacted at `compact_revision` (-1: never), or why
    /// the database cannot tell. The only possible error is the scratch space's.
    pub fn hash_kv(&self, revision: i64, compact_revision: i64) -> Result<Result<HashKv, NoHash>, CheckError> {
        let own = (self.report.revision, self.report.compact_revision);
        if !self.report.sound() {
            return Ok(Err(NoHash::NotSound));
        }
        if let Err(why) = NoHash::check((revision, compact_revision), own) {
            return Ok(Err(why));
        }
        let hash = if revision == own.0 {
            self.records.hash_kv(&self.alive, revision, compact_revision)
        } else {
            self.records.alive(revision).and_then(|alive| self.records.hash_kv(&alive, revision, compact_revision))
        };
        hash.map(Ok).map_err(CheckError::Spill)
    }
}

/// Checks a database file, or a snapshot file: a database with its digest behind it, which is then checked as well.
pub fn check_file<S: Spill>(
    file: &(impl ReadAt + ?Sized),
    spill: S,
    budget_bytes: usize,
) -> Result<Report, CheckError> {
    let len = file.len().map_err(CheckError::Read)?;
    let mut check = StreamCheck::new(spill, budget_bytes);
    let mut trailed = has_trailer(len).then(Trailed::new);
    let mut buf = vec![0; read_size(len)];
    let mut at = 0u64;
    while at < len {
        let want = read_size(len.saturating_sub(at)).min(buf.len());
        let Some(part) = buf.get_mut(..want) else { break };
        file.read_exact_at(part, at).map_err(CheckError::Read)?;
        let mut fed = Ok(());
        match &mut trailed {
            Some(trailed) => trailed.push(part, |bytes| {
                if fed.is_ok() {
                    fed = check.feed(bytes);
                }
            }),
            None => fed = check.feed(part),
        }
        fed.map_err(CheckError::Spill)?;
        at = at.saturating_add(crate::num::wide(want));
    }
    let mut report = check.finish()?;
    if let Some(trailed) = trailed {
        report.hold_to_snapshot(trailed.finish().err().as_ref());
    }
    Ok(report)
}

/// The caller's own classes of records.
struct Classes {
    of: Option<Box<ClassOf>>,
}

type ClassOf = dyn FnMut(&[u8], &[u8]) -> u32 + Send;

impl Classes {
    fn of(&mut self, key: &[u8], value: &[u8]) -> u32 {
        self.of.as_mut().map_or(0, |of| of(key, value))
    }
}

/// Everything the stream left behind, for the walk.
struct Read<S: Spill> {
    notes: Notes<S>,
    keys: RandomState,
    classes: RefCell<Classes>,
    /// The two meta pages, as far as they are valid.
    metas: [Option<Meta>; 2],
    newest: Meta,
    db_bytes: u64,
    /// Whole pages that arrived.
    pages: u64,
    hash_of_empty: u64,
}
