//! The few ways in which this crate touches files: positioned reads, positioned writes, and a scratch file for notes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::num::{narrow, wide};

/// Reads at a position, without a cursor.
pub trait ReadAt {
    /// Fills `buf` from `offset` on; an end of file before that is [`io::ErrorKind::UnexpectedEof`].
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether there are no bytes at all.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Writes at a position, without a cursor; writing past the end makes the file longer.
pub trait WriteAt {
    /// Writes all of `buf` from `offset` on.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
}

/// Scratch space for what a check has to remember beyond its memory budget.
///
/// It receives revisions, keyed hashes and sums, and the pages of small buckets (members, users, leases); never a
/// value of the user's. Whoever makes it decides where it lives and removes it afterwards.
pub trait Spill {
    /// Adds bytes at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Fills `buf` with bytes appended before, counted from the first one ever appended.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl WriteAt for File {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, buf, offset)
    }
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let found = self.get(narrow(offset)..).and_then(|rest| rest.get(..buf.len()));
        let found = found.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        buf.copy_from_slice(found);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(wide(<[u8]>::len(self)))
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.as_slice().read_exact_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(self.as_slice())
    }
}

/// No scratch space: a check that needs more than its memory budget fails and says so.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSpill;

impl Spill for NoSpill {
    fn append(&mut self, _: &[u8]) -> io::Result<()> {
        Err(io::Error::other("there is no scratch file to continue in; raise the budget or give one"))
    }

    fn read_exact_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
        Err(io::Error::other("nothing was spilled"))
    }
}

/// A scratch file, written from its start. The caller makes it (unlinked, mode 0600) and drops it.
#[derive(Debug)]
pub struct FileSpill {
    file: File,
    end: u64,
}

impl FileSpill {
    /// Uses `file`, overwriting what it holds from its first byte on.
    pub fn new(file: File) -> Self {
        FileSpill { file, end: 0 }
    }
}

impl Spill for FileSpill {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        WriteAt::write_all_at(&self.file, bytes, self.end)?;
        self.end = self.end.saturating_add(wide(bytes.len()));
        Ok(())
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        ReadAt::read_exact_at(&self.file, buf, offset)
    }
}
