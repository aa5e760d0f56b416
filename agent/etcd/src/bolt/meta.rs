//! The two meta pages. The valid one with the higher transaction id rules.

use crate::num::{le_u32, le_u64};

use super::page::{HEADER_BYTES, Header, META};

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;

/// The freelist's page when none is stored, as etcd on Linux always has it.
pub(crate) const NO_FREELIST: u64 = u64::MAX;

/// The largest page size there is.
pub(crate) const MAX_PAGE_BYTES: usize = 65_536;

const META_BYTES: usize = 64;

/// Where a meta ends, counted from the start of its page.
pub(crate) const META_END: usize = HEADER_BYTES + META_BYTES;

/// A meta page's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) page_size: u32,
    pub(crate) root: u64,
    pub(crate) freelist: u64,
    /// The first page never used: the database's size in pages.
    pub(crate) high_water: u64,
    pub(crate) txid: u64,
}

impl Meta {
    /// Parses a meta page from its first byte on; the reason when it is not one.
    pub(crate) fn parse(page: &[u8]) -> Result<Meta, &'static str> {
        let short = "is cut off";
        let meta = page.get(HEADER_BYTES..META_END).ok_or(short)?;
        let (summed, _) = meta.split_at_checked(56).ok_or(short)?;
        if le_u32(meta, 0) != Some(MAGIC) {
            return Err("does not carry bbolt's magic number");
        }
        if le_u32(meta, 4) != Some(VERSION) {
            return Err("is of another bbolt version than 2");
        }
        if le_u64(meta, 56) != Some(fnv1a(summed)) {
            return Err("does not match its checksum");
        }
        let page_size = le_u32(meta, 8).ok_or(short)?;
        if !page_size.is_power_of_two() || !(512..=65_536).contains(&page_size) {
            return Err("names a page size that is no power of two from 512 to 65536");
        }
        Ok(Meta {
            page_size,
            root: le_u64(meta, 16).ok_or(short)?,
            freelist: le_u64(meta, 32).ok_or(short)?,
            high_water: le_u64(meta, 40).ok_or(short)?,
            txid: le_u64(meta, 48).ok_or(short)?,
        })
    }

    /// The page size of a database by its first bytes: from its first meta page, else from the second, which stands
    /// at one of eight places.
    pub(crate) fn find_page_size(head: &[u8]) -> Option<u32> {
        if let Ok(meta) = Meta::parse(head) {
            return Some(meta.page_size);
        }
        let sizes = (9..=16).map(|shift| 1usize << shift);
        sizes
            .filter_map(|size| Some((size, Meta::parse(head.get(size..)?).ok()?)))
            .find_map(|(size, meta)| (usize::try_from(meta.page_size) == Ok(size)).then_some(meta.page_size))
    }

    /// The one of the two that rules.
    pub(crate) fn newest(metas: &[Option<Meta>; 2]) -> Option<Meta> {
        metas.iter().flatten().max_by_key(|meta| meta.txid).copied()
    }

    /// Writes the page, padded to its size.
    pub(crate) fn encode(&self, id: u64) -> Vec<u8> {
        let mut page = Header { id, flags: META, count: 0, overflow: 0 }.encode().to_vec();
        let mut meta = Vec::with_capacity(META_BYTES);
        meta.extend_from_slice(&MAGIC.to_le_bytes());
        meta.extend_from_slice(&VERSION.to_le_bytes());
        meta.extend_from_slice(&self.page_size.to_le_bytes());
        meta.extend_from_slice(&[0; 4]);
        meta.extend_from_slice(&self.root.to_le_bytes());
        meta.extend_from_slice(&[0; 8]);
        meta.extend_from_slice(&self.freelist.to_le_bytes());
        meta.extend_from_slice(&self.high_water.to_le_bytes());
        meta.extend_from_slice(&self.txid.to_le_bytes());
        let sum = fnv1a(&meta);
        meta.extend_from_slice(&sum.to_le_bytes());
        page.extend_from_slice(&meta);
        page.resize(crate::num::size(self.page_size), 0);
        page
    }
}

/// FNV-1a, 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksums_of_a_real_snapshot_are_reproduced() {
        let meta = Meta { page_size: 4096, root: 4, freelist: NO_FREELIST, high_water: 5, txid: 11 };
        assert_eq!(le_u64(&meta.encode(0), 72), Some(0x4047_9922_d41b_10a9));
        let older = Meta { txid: 10, ..meta };
        assert_eq!(le_u64(&older.encode(1), 72), Some(0x214c_d219_c92b_c688));
        assert_eq!(Meta::parse(&older.encode(1)), Ok(older));
    }

    #[test]
    fn any_flipped_bit_of_a_meta_is_noticed() {
        let page = Meta { page_size: 512, root: 4, freelist: NO_FREELIST, high_water: 5, txid: 11 }.encode(0);
        for bit in 16 * 8..80 * 8 {
            let mut page = page.clone();
            page[bit / 8] ^= 1 << (bit % 8);
            assert!(Meta::parse(&page).is_err(), "bit {bit}");
        }
    }
}
