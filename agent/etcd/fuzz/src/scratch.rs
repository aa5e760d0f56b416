//! Scratch space in memory, which fails when it is full.

use std::io;

use etcdfile::Spill;

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
