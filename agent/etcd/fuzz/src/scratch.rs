//! Files in memory: scratch space that fails when it is full, and a database to write.

use std::cell::RefCell;
use std::io;

use etcdfile::{ReadAt, Spill, WriteAt};

/// Holds so many bytes.
#[derive(Debug)]
pub struct Scratch {
    bytes: Vec<u8>,
    limit: usize,
}

impl Scratch {
    /// Scratch space of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Scratch { bytes: Vec::new(), limit }
    }
}

impl Spill for Scratch {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.bytes.len() + bytes.len() > self.limit {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).expect("an offset within memory");
        // Whoever reads what was never written has lost count: that is a bug, not a full disk.
        buf.copy_from_slice(&self.bytes[from..from + buf.len()]);
        Ok(())
    }
}

/// A file that can be written anywhere and read.
#[derive(Debug, Default)]
pub struct Memory(pub RefCell<Vec<u8>>);

impl ReadAt for Memory {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.borrow().read_exact_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.borrow().len() as u64)
    }
}

impl WriteAt for Memory {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.0.borrow_mut();
        let from = usize::try_from(offset).expect("an offset within memory");
        let end = from + buf.len();
        let len = bytes.len().max(end);
        bytes.resize(len, 0);
        bytes[from..end].copy_from_slice(buf);
        Ok(())
    }
}
