//! A file in memory.

use std::cell::RefCell;
use std::io;

use etcdfile::{ReadAt, WriteAt};

/// A file in memory that remembers where it was written, in order.
#[derive(Default)]
pub struct Memory {
    pub bytes: RefCell<Vec<u8>>,
    pub writes: RefCell<Vec<u64>>,
}

impl Memory {
    pub fn new(bytes: Vec<u8>) -> Self {
        Memory { bytes: RefCell::new(bytes), writes: RefCell::default() }
    }
}

impl ReadAt for Memory {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.bytes.borrow().read_exact_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(&*self.bytes.borrow())
    }
}

impl WriteAt for Memory {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let (start, mut bytes) = (offset as usize, self.bytes.borrow_mut());
        let end = bytes.len().max(start + buf.len());
        bytes.resize(end, 0);
        bytes[start..start + buf.len()].copy_from_slice(buf);
        self.writes.borrow_mut().push(offset);
        Ok(())
    }
}
