//! The end of a snapshot: 32 bytes of SHA-256 over the database that came before them.
//!
//! etcd's `Maintenance.Snapshot` sends the bbolt file and then its digest as the last message; `etcdctl snapshot save`
//! stores both. The digest proves the transfer, not the database. A stream does not say where the database ends, so
//! the last 32 bytes seen so far are held back until more arrive.

use sha2::{Digest, Sha256};

use crate::num::{narrow, wide};

/// Bytes of SHA-256 behind the database.
pub const TRAILER_BYTES: usize = 32;

/// Every bbolt page size is a multiple of this, so a database is as well.
const SECTOR: u64 = 512;

/// Splits a snapshot stream, in whatever chunks it comes, into the database and its trailer.
#[derive(Debug, Clone, Default)]
pub struct Trailed {
    hasher: Sha256,
    emitted: u64,
    held: Vec<u8>,
}

/// What a snapshot stream turned out to be, once its trailer matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Bytes of the database, without the trailer.
    pub db_bytes: u64,
    /// SHA-256 of the database, which is also the trailer.
    pub sha256: [u8; 32],
    /// SHA-256 of the database and its trailer together: the file that `etcdctl snapshot save` would have written.
    pub stream_sha256: [u8; 32],
}

/// Why a stream is not a whole snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrailerError {
    /// Not even a page and a trailer.
    #[error(
        "the snapshot ended after {bytes} bytes, too few for a database and its 32-byte digest; use another copy, or \
         take it again"
    )]
    TooShort {
        /// Bytes that arrived.
        bytes: u64,
    },
    /// Not a database followed by 32 bytes.
    #[error(
        "the snapshot has {bytes} bytes, which is not a whole number of pages and a 32-byte digest: it was cut \
         off, or it is a copy of a database file and not a snapshot; use another copy, or take it again"
    )]
    NotWholePages {
        /// Bytes that arrived.
        bytes: u64,
    },
    /// The digest does not match.
    #[error(
        "the snapshot's digest says {expected}, its bytes have {actual}: it was damaged on its way; use another copy, or \
         take it again"
    )]
    Differs {
        /// The trailer, in hex.
        expected: String,
        /// The SHA-256 of the bytes before it, in hex.
        actual: String,
    },
}

impl Trailed {
    /// Starts at the first byte of a snapshot.
    pub fn new() -> Self {
        Trailed::default()
    }

    /// Takes the next bytes and hands on those that are certain not to be the trailer: one or two slices.
    pub fn push(&mut self, chunk: &[u8], mut emit: impl FnMut(&[u8])) {
        let (held, sure) = self.take(chunk);
        for bytes in [held.as_slice(), chunk.get(..sure).unwrap_or(chunk)] {
            if !bytes.is_empty() {
                emit(bytes);
            }
        }
    }

    /// As [`Trailed::push`], for who keeps the chunk: gives the bytes that were held back before and now are certain not to
    /// be the trailer, and how many bytes of the chunk are.
    pub fn take(&mut self, chunk: &[u8]) -> (Vec<u8>, usize) {
        let total = self.held.len().saturating_add(chunk.len());
        let sure = total.saturating_sub(TRAILER_BYTES);
        let from_held = sure.min(self.held.len());
        let from_chunk = sure.saturating_sub(from_held);
        let (now, later) = chunk.split_at_checked(from_chunk).unwrap_or((chunk, &[]));
        let held: Vec<u8> = self.held.drain(..from_held).collect();
        self.hasher.update(&held);
        self.hasher.update(now);
        self.held.extend_from_slice(later);
        self.emitted = self.emitted.saturating_add(wide(sure));
        (held, from_chunk)
    }

    /// Ends the stream: its last 32 bytes must be the SHA-256 of all before them.
    pub fn finish(self) -> Result<Verified, TrailerError> {
        let bytes = self.emitted.saturating_add(wide(self.held.len()));
        let Ok(trailer) = <[u8; TRAILER_BYTES]>::try_from(self.held.as_slice()) else {
            return Err(TrailerError::TooShort { bytes });
        };
        if self.emitted < SECTOR {
            return Err(TrailerError::TooShort { bytes });
        }
        if !self.emitted.is_multiple_of(SECTOR) {
            return Err(TrailerError::NotWholePages { bytes });
        }
        let mut whole = self.hasher.clone();
        whole.update(trailer);
        let sha256: [u8; 32] = self.hasher.finalize().into();
        if sha256 != trailer {
            return Err(TrailerError::Differs { expected: hex(&trailer), actual: hex(&sha256) });
        }
        Ok(Verified { db_bytes: self.emitted, sha256, stream_sha256: whole.finalize().into() })
    }
}

/// Whether a file of this length ends in a trailer, by the rule that etcd's own tools use.
pub fn has_trailer(len: u64) -> bool {
    len % SECTOR == wide(TRAILER_BYTES)
}

/// Room for `n` bytes, no more than a sane read at once.
pub(crate) fn read_size(n: u64) -> usize {
    narrow(n.min(1 << 20))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
